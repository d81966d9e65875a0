"""How progress, tables and sentences are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest
from made_up import plan

from localchat import printing
from localchat.errors import LocalchatError
from localchat.printing import follow_pull, meter, print_error, print_json, print_table
from localchat.pull.events import Chosen, Progress, PullEvent

Captured = pytest.CaptureFixture[str]
MIB = 1 << 20
PLAN = plan(MIB, "it fits", "it is small")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time by which lines are said; set `clock.now`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(printing, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def lines(capsys: Captured, clock: SimpleNamespace, steps: Sequence[tuple[float, Progress]]) -> list[str]:
    """The lines that are said of progress at these times."""
    with meter() as show:
        for seconds, progress in steps:
            clock.now = 100.0 + seconds
            show(progress)
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def test_progress_is_a_line_now_and_then(capsys: Captured, clock: SimpleNamespace) -> None:
    steps = [(second / 2, Progress("download", "x", second * MIB, 40 * MIB)) for second in range(41)]
    said = lines(capsys, clock, steps)
    assert [line.partition(" of ")[0] for line in said] == [
        "Downloading 0 B", "Downloading 10.0 MiB", "Downloading 20.0 MiB", "Downloading 30.0 MiB",
        "Downloading 40.0 MiB",
    ]  # fmt: skip


def test_the_end_of_a_stage_is_always_told(capsys: Captured, clock: SimpleNamespace) -> None:
    steps = [
        (0.0, Progress("download", "x", 0, 9)),
        (0.1, Progress("download", "x", 9, 9)),
        (0.2, Progress("check", "y", 9, 9)),
    ]
    assert lines(capsys, clock, steps) == ["Downloading 0 B of 9 B", "Downloading 9 B of 9 B", "Checking 9 B of 9 B"]


def test_a_bar_shows_the_name_of_a_file_as_it_is(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printing, "is_interactive", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    with meter() as show:
        show(Progress("download", "[red]evil\x1b[2J.safetensors", 1, 2))
    said = capsys.readouterr()
    assert said.out == ""
    assert "Downloading" in said.err
    assert "[red]evil" in said.err
    assert "\x1b[2J" not in said.err


def test_a_pull_is_followed_to_its_choice_in_a_dry_run(capsys: Captured) -> None:
    events: Iterator[PullEvent] = iter(
        [Chosen("tiny", "acme/tiny", PLAN, 5 * MIB, 3 * MIB), Progress("download", "x", 1, 2)]
    )
    assert follow_pull(events, is_dry_run=True) == (Chosen("tiny", "acme/tiny", PLAN, 5 * MIB, 3 * MIB), None)
    assert next(events, None) is not None, "nothing is done after the choice"
    assert "tiny, from acme/tiny:\n  - it fits\n  - it is small\n" in capsys.readouterr().err


def test_an_error_is_a_sentence_and_a_step(capsys: Captured) -> None:
    print_error(LocalchatError("it\nfailed \x1b[31m", "try\tagain" + "!" * 1000))
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first == "localchat: it failed ␛[31m"
    assert second.startswith("  try again!!!")
    assert len(second) < 520


def test_a_table_shows_markup_and_escapes_as_text(capsys: Captured) -> None:
    print_table(("Name", "Size"), [("[bold]x[/nope]", "\x1b[2J5")], right=(1,))
    out = capsys.readouterr().out
    assert "[bold]x[/nope]" in out
    assert "␛[2J5" in out
    assert "\x1b" not in out


CELLS = ["m" * 40, "m" * 96, "x" * 100_000, "\x1b" * 5000, "模" * 5000]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: ascii(cell[:1]) + str(len(cell)))
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_long_cell_does_not_push_the_others_out(capsys: Captured, cell: str, column: int) -> None:
    long = ["first", "second", "third"]
    long[column] = cell
    print_table(("Name", "Size", "Notes"), [long, ("tiny", "6 MiB", "none")])
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1].split() == ["tiny", "6", "MiB", "none"]
    assert rows[0].split() == ["Name", "Size", "Notes"]


@pytest.mark.parametrize("value", [{"a": "\ud800\x1b😀"}, [], {"b": None, "c": 1.5}])
def test_json_is_plain_and_comes_back(capsys: Captured, value: object) -> None:
    print_json(value)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.endswith("\n")
    assert json.loads(out) == value
