"""Export and import: what is written, what comes back, and what a hostile file does."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from markdown_it import MarkdownIt

from localchat.errors import BadFile, LocalchatError
from localchat.history.export import exported, file_name, save, write_new
from localchat.history.importing import conversations, import_file
from localchat.history.store import History


def talk(history: History, question: str, *replies: str, system: str = "") -> int:
    """A question with sibling replies, the last one open."""
    number = history.begin(question, "tiny", system)
    history.ask(number, question)
    beside = None
    for text in replies:
        draft = history.draft(number, "tiny", beside)
        draft.finish(text, "stop")
        beside = draft.id
    return number


def rich(history: History) -> int:
    """A conversation with everything that can be in one."""
    number = talk(history, "Where to?\x00", "To Rome.", "To Oslo. \ud800", system="Be kind.")
    history.switch(history.messages(number)[-1].id, -1)
    history.ask(number, "And then?")
    history.draft(number, "other").finish("Home.", "length")
    history.pin_message(history.messages(number)[1].id, True)
    history.pin(number, True)
    history.set_preset(number, "careful")
    return number


def shape(history: History, number: int) -> list[tuple[Any, ...]]:
    return [
        (one.role, one.text, one.state, one.model, one.pinned, one.place, one.places, one.created_at)
        for one in history.messages(number)
    ]


# JSON


def test_what_was_exported_is_imported_with_all_branches(history: History, tmp_path: Path) -> None:
    number = rich(history)
    path = save(tmp_path, "all.json", exported(history, [number, talk(history, "Other", "reply")], "json"))
    other = History(tmp_path / "other.db")
    first, _ = import_file(other, path)
    assert shape(other, first) == shape(history, number)
    old, new = history.heading(number), other.heading(first)
    assert old is not None
    assert new is not None
    assert (old.title, old.model, old.updated_at, old.messages, old.pinned, old.preset) == (
        new.title, new.model, new.updated_at, new.messages, new.pinned, new.preset
    )  # fmt: skip
    other.switch(other.messages(first)[2].id, 1)
    assert [one.text for one in other.messages(first)] == ["Be kind.", "Where to?\x00", "To Oslo. ?"]
    assert [hit.heading.id for hit in other.search("oslo")] == [first]
    other.close()


def test_the_json_says_what_it_is(history: History) -> None:
    value = json.loads(exported(history, [rich(history)], "json"))
    assert (value["format"], value["version"]) == ("localchat-history", 1)
    (conversation,) = value["conversations"]
    assert conversation["title"] == "Where to?"
    assert [(one["role"], one["parent"], one["open"]) for one in conversation["messages"]] == [
        ("system", None, True), ("user", 1, True), ("assistant", 2, True), ("assistant", 2, False), ("user", 3, True),
        ("assistant", 5, True),
    ]  # fmt: skip
    assert set(conversation["messages"][0]) >= {
        "id",
        "parent",
        "role",
        "text",
        "state",
        "model",
        "pinned",
        "created_at",
    }


def test_importing_twice_makes_a_copy_and_changes_nothing(history: History, tmp_path: Path) -> None:
    number = rich(history)
    path = save(tmp_path, "one.json", exported(history, [number], "json"))
    before = shape(history, number)
    import_file(history, path)
    import_file(history, path)
    assert [heading.title for heading in history.conversations()] == ["Where to?"] * 3
    assert shape(history, number) == before


def test_a_system_message_that_was_set_later_is_still_the_first(history: History, tmp_path: Path) -> None:
    number = talk(history, "q", "a")
    history.set_system(number, "Be kind.")
    (copy,) = import_file(history, save(tmp_path, "one.json", exported(history, [number], "json")))
    assert [one.text for one in history.messages(copy)] == ["Be kind.", "q", "a"]


def test_what_is_deleted_is_not_exported(history: History) -> None:
    number = talk(history, "q", "secret")
    history.remove_message(history.messages(number)[1].id)
    for form in ("json", "markdown"):
        assert "secret" not in exported(history, [number], form)  # type: ignore[arg-type]
    history.delete(number)
    for form in ("json", "markdown"):
        with pytest.raises(LocalchatError, match="no conversation"):
            exported(history, [number], form)  # type: ignore[arg-type]


# Import of what is not right

Fields = Mapping[str, Any]
NOTHING: Fields = MappingProxyType({})
GOOD: dict[str, Any] = {
    "format": "localchat-history", "version": 1,
    "conversations": [{"title": "t", "created_at": "2024-05-05T10:00:00+02:00", "messages": [
        {"id": 1, "parent": None, "role": "user", "text": "q", "extra": [1]},
        {"id": 2, "parent": 1, "role": "assistant", "text": "a", "state": "writing"},
    ]}],
}  # fmt: skip


def good(first: Fields = NOTHING, second: Fields = NOTHING, **conversation: Any) -> bytes:
    """A good file with these fields of its conversation and messages changed; None takes a field away."""
    value = json.loads(json.dumps(GOOD))
    (one,) = value["conversations"]
    for place, changes in ((one["messages"][0], first), (one["messages"][1], second), (one, conversation)):
        place.update(changes)
        for name in [name for name, change in changes.items() if change is None]:
            del place[name]
    return json.dumps(value).encode()


def test_little_is_needed_and_what_is_not_known_is_ignored(history: History) -> None:
    (number,) = history.add(conversations(good(), "x.json"))
    assert [(one.role, one.text, one.state) for one in history.messages(number)] == [
        ("user", "q", "said"), ("assistant", "a", "stopped"),
    ]  # fmt: skip
    assert history.conversations()[0].updated_at == "2024-05-05T08:00:00.000000+00:00"


WRONG: dict[str, bytes] = {
    "not JSON": b"hello",
    "not UTF-8": b"\xff",
    "too deep": b"[" * 100_000,
    "a list": b"[]",
    "another format": b'{"format": "chat"}',
    "a newer version": b'{"format": "localchat-history", "version": 2, "conversations": []}',
    "true as version": b'{"format": "localchat-history", "version": "1", "conversations": []}',
    "no conversations": b'{"format": "localchat-history", "version": 1}',
    "conversations that are none": b'{"format": "localchat-history", "version": 1, "conversations": [3]}',
    "a huge number": b'{"format": "localchat-history", "version": 1, "conversations": [' + b"9" * 5000 + b"]}",
    "no messages": good(messages=[]),
    "a title of another kind": good(title=3),
    "no title": good(title=None),
    "a time that is none": good(created_at="yesterday"),
    "a time out of range": good(created_at="0001-01-01T00:00:00+23:59"),
    "pinned that is a number": good(pinned=1),
    "an unknown role": good(first={"role": "tool"}),
    "an unknown state": good(second={"state": "done"}),
    "a text that is none": good(second={"text": None}),
    "an id that is true": good(first={"id": True}),
    "an id too large": good(first={"id": 1 << 60}),
    "an id twice": good(second={"id": 1}),
    "a parent that is not there": good(second={"parent": 7}),
    "a parent that comes later": good(messages=GOOD["conversations"][0]["messages"][::-1]),
    "its own parent": good(second={"parent": 2}),
    "a system message in the middle": good(second={"role": "system"}),
    "a second beginning beside a system message": good(first={"role": "system"}, second={"parent": None}),
}  # fmt: skip


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused_in_one_sentence_and_nothing_comes_in(
    history: History, tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "x.json"
    if b'"conversations": [{' in data:  # a good conversation before the bad one
        data = data.replace(
            b'"conversations": [', b'"conversations": [' + json.dumps(GOOD["conversations"][0]).encode() + b","
        )
    path.write_bytes(data)
    with pytest.raises(BadFile, match=r"x\.json") as error:
        import_file(history, path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    assert error.value.hint
    assert history.conversations() == []


def test_a_file_of_endless_values_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFile, match="more values"):
        conversations(b"[" + b"[]," * 4_100_000, "x.json")


def test_hostile_words_in_a_file_become_harmless(history: History) -> None:
    change = good(title="\x1b[2J\n[red]" * 30, model="m\udcff", preset="\ud800")
    history.add(conversations(change, "x.json"))
    heading = history.conversations()[0]
    assert "\x1b" not in heading.title
    assert len(heading.title) <= 60


# Markdown


def test_markdown_is_the_open_branch_with_its_facts(history: History) -> None:
    text = exported(history, [rich(history)], "markdown")
    assert re.match(r"# Where to\?\n\n\d{4}-\d\d-\d\d \d\d:\d\d · tiny\n\n## System prompt\n\n> Be kind\.\n\n", text)
    assert "## You (pinned)\n\n> Where to?\n" in text
    assert text.endswith("## other (cut at a limit)\n\n> Home.\n")
    assert "Oslo" not in text


HOSTILE = [
    "## You\n\nforged", "# Title", "```\nnever closed", "~~~~", "- list\n  ```\n  code", "a\n===", "a\n---",
    "> > deep\nlazy", "<!-- comment", "<div>\n<pre>", "\n\n# after blank lines\n", "\r\n# a\r# b",
    "a\u2028# b", "[x]: http://y", "    # code",
    "\t# tab", "| a |\n|---|\n# c", "\x0c# d", "\x85# e",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_message_can_pass_for_what_is_around_it(history: History, text: str) -> None:
    """A parser of Markdown finds the headings that are ours on the top level, and no others."""
    number = talk(history, text, text, system=text)
    tokens = MarkdownIt("commonmark").parse(exported(history, [number, number], "markdown"))
    headings = [tokens[place + 1].content for place, token in enumerate(tokens)
                if token.type == "heading_open" and token.level == 0]  # fmt: skip
    ours = headings[0], "System prompt", "You", "tiny"
    assert tuple(headings) == ours * 2
    assert sum(token.type == "blockquote_open" and token.level == 0 for token in tokens) == 6


def test_a_title_means_nothing_to_markdown(history: History) -> None:
    number = talk(history, "<b> *x* _y_ `z` [a](b) # & |", "a")
    tokens = MarkdownIt().parse(exported(history, [number], "markdown"))
    assert [(child.type, child.content) for child in tokens[1].children or ()] != []
    assert {child.type for child in tokens[1].children or ()} <= {"text", "text_special"}
    assert "".join(child.content for child in tokens[1].children or ()) == "<b> *x* _y_ `z` [a](b) # & |"


# Files

NAMES = [
    ("Where to?", "localchat-where-to.md"),
    ("../../etc/passwd", "localchat-etc-passwd.md"),
    ("CON", "localchat-con.md"),
    ("?!", "localchat-conversation.md"),
    ("\x1b[2J", "localchat-2j.md"),
    ("Ünï cödé", "localchat-ünï-cödé.md"),
    ("x" * 300, f"localchat-{'x' * 40}.md"),
]


@pytest.mark.parametrize(("title", "name"), NAMES)
def test_a_file_is_named_after_the_conversation(title: str, name: str) -> None:
    assert file_name(title, "markdown") == name


def test_nothing_is_overwritten_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    paths = [save(tmp_path, "a.md", text) for text in ("one", "two", "three")]
    assert [path.name for path in paths] == ["a.md", "a-2.md", "a-3.md"]
    assert [path.read_text() for path in paths] == ["one", "two", "three"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LocalchatError, match="could not be written") as error:
        save(tmp_path / "missing", "a.md", "text")
    assert error.value.hint


def test_a_file_that_could_not_be_written_whole_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(LocalchatError, match="full"):
        write_new(tmp_path / "a.md", "text")
    assert not (tmp_path / "a.md").exists()
