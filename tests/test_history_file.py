"""The file of the history: private, of this version, and put aside but never thrown away when it is damaged."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from localchat.errors import LocalchatError
from localchat.history.store import History
from localchat.paths import history_file, models_folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


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


@pytest.mark.parametrize("damaged_at", [0, 8192])
def test_the_newest_message_outlives_a_damaged_page(path: Path, damaged_at: int) -> None:
    """It is in the write-ahead log until SQLite takes it over, and the program was killed before that."""
    history = History(path)
    number = history.begin("Hello", "tiny")
    for index in range(200):
        history.ask(number, f"question {index} " * 10)
    history.close()
    history = History(path)
    history.ask(number, "the newest message")
    log = path.with_name("history.db-wal")
    main, newest = bytearray(path.read_bytes()), log.read_bytes()
    history.close()
    main[damaged_at : damaged_at + 4096] = b"\xa5" * 4096
    path.write_bytes(main)
    log.write_bytes(newest)
    History(path).close()
    assert any(b"the newest message" in file.read_bytes() for file in path.parent.iterdir())


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
    with pytest.raises(LocalchatError, match="cannot be used") as error:
        history.ask(number, "Bye")
    assert error.value.hint


def test_who_reads_does_not_wait_for_another_program_that_writes(history: History, path: Path) -> None:
    number = history.begin("q", "tiny")
    history.ask(number, "q")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=history.ask, args=(number, "more"))
        writer.start()
        assert [message.text for message in history.messages(number)] == ["q"]
        assert writer.is_alive(), "it waits for the other program"
        other.execute("ROLLBACK")
        writer.join()
    assert [message.text for message in history.messages(number)] == ["q", "more"]
