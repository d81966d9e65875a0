"""Conversations on the disk: what comes back, and what a file must be to be opened."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from localchat.conversation import Conversation, Ending, Message
from localchat.errors import LocalchatError
from localchat.history.store import History, Saved, conversation_of
from localchat.paths import history_file, models_folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    history = History(path)
    yield history
    history.close()


def texts(history: History, conversation: int) -> list[tuple[str, str, str]]:
    return [(message.role, message.text, message.state) for message in history.messages(conversation)]


# What comes back


def test_a_conversation_comes_back_as_it_was_said(history: History) -> None:
    number = history.begin("Hello", "tiny", system="Be kind.")
    history.ask(number, "Hello")
    draft = history.draft(number, "tiny")
    draft.save("Hi th")
    assert texts(history, number)[-1] == ("assistant", "Hi th", "writing")
    draft.finish("Hi there!", "stop")
    history.ask(number, "Bye")
    found = history.messages(number)
    assert [(message.role, message.text, message.state, message.model) for message in found] == [
        ("system", "Be kind.", "said", ""),
        ("user", "Hello", "said", ""),
        ("assistant", "Hi there!", "stop", "tiny"),
        ("user", "Bye", "said", ""),
    ]
    assert [message.id for message in found] == sorted(message.id for message in found)


def test_another_program_sees_it_at_once(history: History, path: Path) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    other = History(path)
    assert texts(other, number) == [("user", "Hello", "said")]
    other.close()


@pytest.mark.parametrize("ending", ["stop", "length", "stopped", "failed"])
def test_a_reply_is_kept_with_how_it_ended(history: History, ending: Ending) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    history.draft(number, "tiny").finish("Hi", ending)
    assert texts(history, number)[-1] == ("assistant", "Hi", ending)


@pytest.mark.parametrize(("ending", "kept"), [("stop", True), ("length", True), ("stopped", False), ("failed", False)])
def test_an_empty_reply_is_kept_only_if_the_model_gave_it(history: History, ending: Ending, kept: bool) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    history.draft(number, "tiny").finish("", ending)
    assert (len(history.messages(number)) == 2) is kept


def test_a_question_that_came_meanwhile_outlives_a_reply_that_is_forgotten(history: History) -> None:
    """Stopped before its first word, and the next question is asked before the reply has noticed."""
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    draft = history.draft(number, "tiny")
    history.ask(number, "Are you there?")
    draft.finish("", "stopped")
    assert texts(history, number) == [("user", "Hello", "said"), ("user", "Are you there?", "said")]


def test_the_model_reads_what_was_kept(history: History) -> None:
    number = history.begin("Hello", "tiny", system="Be kind.")
    history.ask(number, "Hello")
    history.draft(number, "tiny").finish("Hi", "stopped")
    assert conversation_of(history.messages(number)) == Conversation(
        (Message("system", "Be kind."), Message("user", "Hello"), Message("assistant", "Hi"))
    )


# The list


def test_conversations_are_listed_the_latest_first(history: History) -> None:
    first, second = history.begin("First", "tiny"), history.begin("Second", "other")
    history.ask(first, "First")
    history.ask(second, "Second")
    assert [heading.title for heading in history.conversations()] == ["Second", "First"]
    history.ask(first, "And again")
    found = history.conversations()
    assert [(heading.id, heading.model, heading.messages) for heading in found] == [
        (first, "tiny", 2),
        (second, "other", 1),
    ]
    assert found[0].updated_at > found[1].updated_at


def test_a_conversation_without_a_message_is_not_listed(history: History) -> None:
    history.begin("Never asked", "tiny")
    assert history.conversations() == []


TITLES = [
    ("What is\n\n  this?", "What is this?"),
    ("", "(empty)"),
    (" \n\t", "(empty)"),
    ("word " * 100, ("word " * 12)[:59] + "…"),
    ("\x1b[31mred\x07", "␛[31mred"),
    ("half \ud800 a pair", "half \ufffd a pair"),
]


@pytest.mark.parametrize(("question", "title"), TITLES)
def test_the_title_is_the_first_question_on_one_line(history: History, question: str, title: str) -> None:
    history.ask(history.begin(question, "tiny"), question)
    assert history.conversations()[0].title == title


def test_a_deleted_conversation_is_gone_and_no_other(history: History) -> None:
    kept, gone = history.begin("Keep", "tiny"), history.begin("Go", "tiny")
    for number in (kept, gone):
        history.ask(number, "Hello")
        history.draft(number, "tiny").finish("Hi", "stop")
    history.delete(gone)
    assert [heading.id for heading in history.conversations()] == [kept]
    assert len(history.messages(kept)) == 2
    with pytest.raises(LocalchatError, match="no conversation"):
        history.messages(gone)


@pytest.mark.parametrize("number", [999, -1, 2**70])
def test_what_is_not_there_is_said_and_the_history_goes_on(history: History, number: int) -> None:
    with pytest.raises(LocalchatError) as error:
        history.messages(number)
    assert error.value.hint
    with pytest.raises(LocalchatError):
        history.ask(number, "Hello")
    history.ask(history.begin("Hello", "tiny"), "Hello")
    assert len(history.conversations()) == 1


STRANGE = [
    "",
    "a\x00b",
    "\x00",
    "lone \udcff",
    "👩‍👩‍👧",
    "\u202eabc",
    "x" * 1_000_000,
    "'; DROP TABLE message; --",
    "line\r\nline",
]


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
def test_any_text_is_kept(history: History, text: str) -> None:
    number = history.begin(text, "tiny", system=text)
    history.ask(number, text)
    history.draft(number, "tiny").finish(text, "stop")
    readable = text.encode("utf-8", "replace").decode("utf-8")
    assert [message.text for message in history.messages(number)] == [readable] * (3 if text else 2)


# The file


def test_only_its_owner_can_read_the_history() -> None:
    models_folder()  # whichever folder is made first
    path = history_file()
    History(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_files_beside_it_are_private_too(history: History, path: Path) -> None:
    history.ask(history.begin("Hello", "tiny"), "Hello")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "history.db-wal" in modes


DAMAGE = [b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 4096, b"\x00" * 8192]


@pytest.mark.parametrize("content", DAMAGE, ids=["text", "header", "zeros"])
def test_a_damaged_file_is_put_aside_and_a_fresh_one_begun(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    history = History(path)
    assert history.conversations() == []
    history.ask(history.begin("Hello", "tiny"), "Hello")
    history.close()
    (aside,) = path.parent.glob("history.db.damaged-*")
    assert aside.read_bytes() == content


def test_a_page_that_went_bad_is_noticed(path: Path) -> None:
    history = History(path)
    number = history.begin("Hello", "tiny")
    for index in range(200):
        history.ask(number, f"question {index} " * 10)
    history.close()
    raw = bytearray(path.read_bytes())
    raw[4096:12288] = b"\xa5" * 8192
    path.write_bytes(raw)
    fresh = History(path)
    assert fresh.conversations() == []
    fresh.close()
    (aside,) = path.parent.glob("history.db.damaged-*")
    assert aside.read_bytes() == raw


def test_what_a_damaged_file_had_not_taken_over_yet_is_put_aside_with_it(path: Path) -> None:
    """The newest messages are in the write-ahead log until SQLite copies them over."""
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE message (text)")
    writer.execute("INSERT INTO message VALUES ('the newest message')")
    writer.commit()
    log = path.with_name("history.db-wal").read_bytes()
    writer.close()
    path.write_bytes(b"no database any more")
    path.with_name("history.db-wal").write_bytes(log)
    History(path).close()
    kept = [file.read_bytes() for file in path.parent.glob("history.db.damaged-*")]
    assert any(b"the newest message" in content for content in kept)


def test_an_empty_file_is_a_fresh_history(path: Path) -> None:
    path.touch()
    history = History(path)
    assert history.conversations() == []
    history.close()
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_file_of_a_newer_localchat_is_refused_and_left_alone(path: Path) -> None:
    History(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LocalchatError, match="newer localchat") as refusal:
        History(path)
    assert "update" in refusal.value.hint
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["history.db"]


def test_a_history_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder.db", tmp_path / "missing" / "history.db", tmp_path / "file" / "history.db"):
        with pytest.raises(LocalchatError) as error:
            History(path)
        assert error.value.hint


def test_a_history_that_cannot_be_written_is_one_sentence(history: History, path: Path) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    other = sqlite3.connect(path)
    other.execute("DROP TABLE message")
    other.close()
    with pytest.raises(LocalchatError, match="cannot be written") as error:
        history.ask(number, "Bye")
    assert error.value.hint


def test_saved_messages_are_values() -> None:
    assert Saved(1, "user", "Hi", "said", "") == Saved(1, "user", "Hi", "said", "")
