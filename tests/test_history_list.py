"""The list of conversations: pinned, renamed, deleted and undone; what was typed; and what an older file becomes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from localchat.errors import LocalchatError
from localchat.history.schema import MIGRATIONS
from localchat.history.store import History
from localchat.history.whole import Said, Whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def said(history: History, question: str, reply: str = "a reply", system: str = "") -> int:
    number = history.begin(question, "tiny", system)
    history.ask(number, question)
    history.draft(number, "tiny").finish(reply, "stop")
    return number


def titles(history: History) -> list[str]:
    return [heading.title for heading in history.conversations()]


def test_pinned_conversations_come_first(history: History) -> None:
    assert history.latest() is None
    first = said(history, "first")
    latest = [said(history, name) for name in ("second", "third")][-1]
    history.pin(first, True)
    assert titles(history) == ["first", "third", "second"]
    assert [heading.pinned for heading in history.conversations()] == [True, False, False]
    assert history.latest() == latest
    history.pin(first, False)
    assert titles(history) == ["third", "second", "first"]


def test_one_heading_can_be_asked_for(history: History) -> None:
    number = said(history, "first")
    said(history, "second")
    assert history.heading(number) == history.conversations()[1]
    assert history.heading(99) is None


RENAMED = [
    ("New name", "New name"),
    (" two\n lines ", "two lines"),
    ("\x1b[2J[red]", "␛[2J[red]"),
    ("x" * 99, "x" * 59 + "…"),
]


@pytest.mark.parametrize(("typed", "title"), RENAMED)
def test_a_conversation_is_renamed(history: History, typed: str, title: str) -> None:
    history.rename(said(history, "first"), typed)
    assert titles(history) == [title]


def test_an_empty_title_is_refused(history: History) -> None:
    number = said(history, "first")
    with pytest.raises(LocalchatError, match="needs a title"):
        history.rename(number, " \u200b ")
    assert titles(history) == ["first"]


def test_a_preset_is_kept(history: History) -> None:
    number = said(history, "first")
    history.set_preset(number, "careful")
    assert history.conversations()[0].preset == "careful"


def test_deleting_is_undone_until_it_is_purged(history: History) -> None:
    number = said(history, "first")
    history.delete(number)
    assert titles(history) == []
    with pytest.raises(LocalchatError):
        history.messages(number)
    history.restore(number)
    assert [message.text for message in history.messages(number)] == ["first", "a reply"]
    history.delete(number)
    history.purge()
    with pytest.raises(LocalchatError, match="for good"):
        history.restore(number)


def test_nothing_is_written_into_a_deleted_conversation(history: History, path: Path) -> None:
    number = said(history, "first")
    other = History(path)
    other.delete(number)
    for step in (
        lambda: history.ask(number, "more"), lambda: history.draft(number, "tiny"), lambda: history.pin(number, True),
        lambda: history.rename(number, "name"), lambda: history.set_system(number, "Be kind."),
        lambda: history.set_preset(number, "careful"), lambda: history.erase(number),
    ):  # fmt: skip
        with pytest.raises(LocalchatError, match="was deleted"):
            step()
    other.restore(number)
    other.close()
    assert [message.text for message in history.messages(number)] == ["first", "a reply"]


def test_another_window_does_not_purge_what_this_one_may_still_undo(history: History, path: Path) -> None:
    number = said(history, "first")
    history.delete(number)
    other = History(path)
    other.purge()
    other.close()
    history.restore(number)
    assert titles(history) == ["first"]


def test_what_is_typed_is_kept_for_each_conversation(history: History, path: Path) -> None:
    number = said(history, "first")
    assert (history.unsent(None), history.unsent(number)) == ("", "")
    history.keep_unsent(None, "a new \udcff one")
    history.keep_unsent(number, "more")
    other = History(path)
    assert (other.unsent(None), other.unsent(number)) == ("a new ? one", "more")
    other.keep_unsent(number, "")
    other.keep_unsent(999, "of no conversation")
    assert (history.unsent(number), history.unsent(999)) == ("", "")
    other.close()


def test_earlier_inputs_come_without_repeats_the_latest_last(history: History) -> None:
    for question in ("one", "two", "one", "three"):
        said(history, question)
    history.delete(said(history, "deleted"))
    assert history.inputs() == ["two", "one", "three"]
    assert history.inputs(2) == ["one", "three"]


# Deleted for good


def on_disk(path: Path, word: bytes) -> bool:
    return any(word in file.read_bytes().lower() for file in path.parent.iterdir())


@pytest.mark.parametrize("how", ["purge", "erase", "messages"])
def test_what_is_deleted_for_good_is_not_on_the_disk(path: Path, how: str) -> None:
    """Neither as text nor as a word of the index, in the file and in the log beside it, while the app is open."""
    history = History(path)
    for index in range(40):
        said(history, f"harmless {index}", "word " * 300)
    number = said(history, "Xyzzyplugh?", "The xyzzyplugh " * 500, system="Xyzzyplugh.")
    history.keep_unsent(number, "xyzzyplugh")
    draft = history.draft(number, "tiny")
    for length in range(0, 9000, 500):
        draft.save("xyzzyplugh " * length)
    assert on_disk(path, b"xyzzyplugh")
    if how == "erase":
        history.erase(number)
    else:
        if how == "messages":
            history.set_system(number, "")
            history.rename(number, "first")
            history.keep_unsent(number, "")
            history.remove_message(history.messages(number)[0].id)
        else:
            history.delete(number)
        history.purge()
    assert not on_disk(path, b"xyzzyplugh")
    assert not on_disk(path, b"plugh")
    assert history.search("harmless") != []
    assert history.search("xyzzyplugh") == []
    history.close()


def test_a_long_conversation_is_deleted_for_good(history: History) -> None:
    """Deeper than SQLite follows references."""
    said = (
        Said(index, index - 1 or None, "user", f"question {index}", "said", "", "2026-05-06T10:00:00+00:00")
        for index in range(1, 2501)
    )
    (number,) = history.add([Whole("q", "tiny", "2026-05-06", "2026-05-06", False, "", tuple(said))])
    middle = history.messages(number)[1200].id
    history.remove_message(history.messages(number)[2400].id)
    history.remove_message(middle)
    assert len(history.messages(number)) == 1200
    history.purge()
    assert len(history.messages(number)) == 1200
    history.erase(number)
    assert titles(history) == []


# Older files


def old_file(path: Path) -> None:
    """As the first version wrote it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute("PRAGMA user_version=1")
        connection.execute("INSERT INTO conversation VALUES (7, 'An old talk', 'tiny', '2024-05-05', '2024-05-06')")
        rows = [
            (1, None, "system", "Be kind."),
            (2, 1, "user", "Hello café"),
            (4, 2, "assistant", "Hi"),
            (5, 4, "user", "Bye"),
        ]
        for number, parent, role, text in rows:
            state = "stop" if role == "assistant" else "said"
            connection.execute(
                "INSERT INTO message VALUES (?, 7, ?, ?, ?, ?, '', '2024-05-05')", (number, parent, role, text, state)
            )
        connection.commit()


def test_an_older_file_is_one_branch_and_can_be_searched(path: Path) -> None:
    old_file(path)
    history = History(path)
    messages = history.messages(7)
    assert [(one.text, one.place, one.places, one.pinned) for one in messages] == [
        ("Be kind.", 1, 1, False), ("Hello café", 1, 1, False), ("Hi", 1, 1, False), ("Bye", 1, 1, False),
    ]  # fmt: skip
    assert [hit.message for hit in history.search("cafe")] == [2]
    assert [hit.message for hit in history.search("old talk")] == [0]
    history.ask(7, "instead", instead_of=5)
    history.purge()
    assert [(one.text, one.place) for one in history.messages(7)][-1] == ("instead", 2)
    history.close()


def test_a_migration_that_fails_leaves_the_older_file_as_it_was(path: Path) -> None:
    old_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE title_words (x)")  # stands in the way of one of the last steps
        connection.commit()
    with pytest.raises(LocalchatError, match="cannot be opened"):
        History(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (4,)
        assert len(connection.execute("SELECT * FROM message").fetchone()) == 8
