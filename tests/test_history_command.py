"""`localchat history`: what it prints to people and to programs, and what it refuses."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localchat.cli import main
from localchat.history.days import by_day, day_name, when
from localchat.history.saved import Heading
from localchat.history.store import History
from localchat.paths import history_file, sessions_folder

Captured = pytest.CaptureFixture[str]


def said(question: str, reply: str, title: str = "") -> int:
    history = History(history_file())
    number = history.begin(title or question, "tiny")
    history.ask(number, question)
    history.draft(number, "tiny").finish(reply, "stop")
    history.close()
    return number


def printed(capsys: Captured, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["history", *arguments]) == 0
    return capsys.readouterr().out


def facts(capsys: Captured, *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json"))


def refusal(capsys: Captured, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["history", *arguments]) == 1
    answer = capsys.readouterr()
    assert answer.out == ""
    return answer.err


def test_an_empty_history_says_what_to_do(capsys: Captured) -> None:
    assert main(["history"]) == 0
    assert "Begin one: localchat" in capsys.readouterr().err
    assert facts(capsys, "list") == []


@pytest.mark.parametrize("command", [[], ["list"]])
def test_conversations_are_listed_by_day(capsys: Captured, command: list[str]) -> None:
    said("Where to?", "To Rome.")
    said("What now?", "Rest.")
    lines = printed(capsys, *command).splitlines()
    assert lines[0] == "Today"
    assert [line.split()[:3] for line in lines[1:]] == [["2", "What", "now?"], ["1", "Where", "to?"]]
    assert [one["title"] for one in facts(capsys, "list")] == ["What now?", "Where to?"]


def test_what_is_found_is_printed_plain_where_it_is_piped(capsys: Captured) -> None:
    said("Where to?", "To the Café in Rome.")
    assert printed(capsys, "search", "cafe", "rome").splitlines()[1].strip() == "To the Café in Rome."
    (hit,) = facts(capsys, "search", "cafe")
    assert (hit["id"], hit["message"], hit["found"]) == (1, 2, ["Café"])
    assert printed(capsys, "search", "oslo") == ""


def test_what_is_found_is_marked_on_a_terminal(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    said("Where to?", "To Rome \x1b[2J.")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = printed(capsys, "search", "rome")
    assert "\x1b[1;33mRome\x1b[0m" in shown
    assert "\x1b[2J" not in shown


def test_a_conversation_is_shown_without_anything_a_terminal_acts_on(capsys: Captured) -> None:
    said("Where\x1b]0;x\x07 to?\nYou", "To [red]Rome[/].", title="t\x1b[31m")
    shown = printed(capsys, "show", "1")
    assert "\nYou\n  Where␛]0;x to?\n  You\n" in shown
    assert "\ntiny\n  To [red]Rome[/].\n" in shown
    assert "\x1b" not in shown
    assert facts(capsys, "show", "1")["messages"][1]["text"] == "To [red]Rome[/]."


@pytest.mark.parametrize(
    "command", [["show", "9"], ["export", "9"], ["delete", "9", "--yes"], ["show", "99999999999999999999"]]
)
def test_a_number_that_is_not_there_is_one_sentence(capsys: Captured, command: list[str]) -> None:
    said("Where to?", "To Rome.")
    assert "localchat: " in refusal(capsys, *command)


def test_export_to_a_file_goes_by_its_ending_and_never_overwrites(capsys: Captured, tmp_path: Path) -> None:
    said("Where to?", "To Rome.")
    said("What now?", "Rest.")
    for name in ("all.json", "all.md"):
        assert printed(capsys, "export", "--all", "--output", str(tmp_path / name)) == ""
        assert "is there already" in refusal(capsys, "export", "1", "--output", str(tmp_path / name))
    assert len(json.loads((tmp_path / "all.json").read_text())["conversations"]) == 2
    assert (tmp_path / "all.md").read_text().count("\n## You\n") == 2


def test_export_to_standard_output(capsys: Captured) -> None:
    said("Where to?", "To Rome.")
    assert printed(capsys, "export", "1").startswith("# Where to?\n")
    assert json.loads(printed(capsys, "export", "1", "--format", "json"))["format"] == "localchat-history"


@pytest.mark.parametrize(
    "command",
    [["export"], ["export", "1", "--all"], ["export", "1", "--format", "pdf"], ["search"], ["delete"], ["show"]],
)
def test_wrong_usage(capsys: Captured, command: list[str]) -> None:
    assert main(["history", *command]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_import_says_how_many_came_in(capsys: Captured, tmp_path: Path) -> None:
    said("Where to?", "To Rome.")
    path = str(tmp_path / "all.json")
    printed(capsys, "export", "--all", "--output", path)
    assert facts(capsys, "import", path) == {"ids": [2]}
    assert main(["history", "import", path]) == 0
    assert "1 conversation added" in capsys.readouterr().err
    assert len(facts(capsys, "list")) == 3
    (tmp_path / "all.json").write_text("{}")
    assert "is no history" in refusal(capsys, "import", path)


def test_deleting_needs_a_yes(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    said("Where to?", "To Rome.")
    monkeypatch.setattr(sys, "stdin", None)
    assert "--yes" in refusal(capsys, "delete", "1")
    assert len(facts(capsys, "list")) == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 130, 1), ("\n", 130, 1), ("", 130, 1)])
def test_deleting_asks_on_a_terminal(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    said("Where to?", "To Rome.")
    lines = iter(answer.splitlines(keepends=True))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: next(lines, "")))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(lines, None) or _end())
    assert main(["history", "delete", "1"]) == code
    assert "Where to?" in capsys.readouterr().err
    assert len(facts(capsys, "list")) == left


def _end() -> str:
    raise EOFError


def test_what_was_deleted_is_not_on_the_disk(capsys: Captured) -> None:
    said("Xyzzyplugh?", "Harmless.")
    said("Other", "Harmless.")
    for name in ("0.kv", "0.json"):  # its tokens, where the engine keeps what it has read
        (sessions_folder() / name).write_bytes(b"Xyzzyplugh")
    assert main(["history", "delete", "1", "--yes"]) == 0
    assert capsys.readouterr() == ("", "1 is deleted: Xyzzyplugh?\n")
    assert [one["id"] for one in facts(capsys, "list")] == [2]
    files = [path for path in history_file().parent.rglob("*") if path.is_file()]
    assert files
    assert not any(b"xyzzyplugh" in file.read_bytes().lower() for file in files)


# Days

TODAY = date(2026, 5, 6)  # a Wednesday
DAYS = [
    (datetime(2026, 5, 6, 1), "Today"),
    (datetime(2026, 5, 7), "Today"),
    (datetime(2026, 5, 5, 23, 59), "Yesterday"),
    (datetime(2026, 5, 4), "Monday"),
    (datetime(2026, 4, 30), "Thursday"),
    (datetime(2026, 4, 29), "Wednesday, 29 April"),
    (datetime(2025, 5, 6), "6 May 2025"),
    (None, "Some day"),
]


@pytest.mark.parametrize(("time", "name"), DAYS)
def test_days_have_names(time: datetime | None, name: str) -> None:
    assert day_name(time, TODAY) == name


def test_pinned_ones_are_a_group_of_their_own() -> None:
    now = datetime.now().astimezone()
    times = [now - timedelta(days=400), now, now - timedelta(days=1), now - timedelta(days=1)]
    headings = [Heading(number, "t", "m", time.isoformat(), 1, pinned=number == 0) for number, time in enumerate(times)]
    assert [(day, [one.id for one in group]) for day, group in by_day(headings, now.date())] == [
        ("Pinned", [0]), ("Today", [1]), ("Yesterday", [2, 3]),
    ]  # fmt: skip


@pytest.mark.parametrize("written", ["", "never", "0001-01-01T00:00:00+00:00x", "9" * 30])
def test_a_time_that_cannot_be_read_is_no_time(written: str) -> None:
    assert when(written) == ""


def test_a_narrow_terminal_still_has_lines(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    said("A question that is rather long for such a terminal", "a")
    monkeypatch.setenv("COLUMNS", "40")
    assert [len(line) for line in printed(capsys).splitlines()][1:] == [40]
