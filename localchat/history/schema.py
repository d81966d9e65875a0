"""The tables of the history, and how older ones become newer ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from localchat.errors import LocalchatError

# Each step takes a file from the version that is its index to the next one.
MIGRATIONS = (
    """
    CREATE TABLE conversation (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        model TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        parent INTEGER REFERENCES message(id) ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
        text TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('said', 'writing', 'stop', 'length', 'stopped', 'failed')),
        model TEXT NOT NULL DEFAULT '',
        created_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX message_of_conversation ON message(conversation, id);
    """,
    # `open_child`: which of what follows was open last; what it names may be gone. The texts themselves are not copied
    # into the word tables; triggers keep those right whichever program writes. What is marked as deleted stays in them.
    """
    ALTER TABLE conversation ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE conversation ADD COLUMN deleted_at TEXT;
    ALTER TABLE conversation ADD COLUMN preset TEXT NOT NULL DEFAULT '';
    ALTER TABLE conversation ADD COLUMN open_child INTEGER;
    ALTER TABLE message ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE message ADD COLUMN deleted_at TEXT;
    ALTER TABLE message ADD COLUMN open_child INTEGER;
    ALTER TABLE message ADD COLUMN instead_of INTEGER;
    CREATE INDEX message_link ON message(conversation, deleted_at, role, parent, open_child);
    CREATE INDEX message_of_parent ON message(parent);
    CREATE TABLE unsent (conversation INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
    CREATE TRIGGER unsent_gone AFTER DELETE ON conversation BEGIN
        DELETE FROM unsent WHERE conversation = old.id;
    END;

    CREATE VIRTUAL TABLE message_words
        USING fts5(text, content='message', content_rowid='id', tokenize='unicode61 remove_diacritics 2');
    CREATE TRIGGER message_said AFTER INSERT ON message BEGIN
        INSERT INTO message_words(rowid, text) VALUES (new.id, new.text);
    END;
    CREATE TRIGGER message_gone AFTER DELETE ON message BEGIN
        INSERT INTO message_words(message_words, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TRIGGER message_changed AFTER UPDATE OF text ON message BEGIN
        INSERT INTO message_words(message_words, rowid, text) VALUES ('delete', old.id, old.text);
        INSERT INTO message_words(rowid, text) VALUES (new.id, new.text);
    END;
    INSERT INTO message_words(message_words) VALUES ('rebuild');

    CREATE VIRTUAL TABLE title_words
        USING fts5(title, content='conversation', content_rowid='id', tokenize='unicode61 remove_diacritics 2');
    CREATE TRIGGER conversation_begun AFTER INSERT ON conversation BEGIN
        INSERT INTO title_words(rowid, title) VALUES (new.id, new.title);
    END;
    CREATE TRIGGER conversation_gone AFTER DELETE ON conversation BEGIN
        INSERT INTO title_words(title_words, rowid, title) VALUES ('delete', old.id, old.title);
    END;
    CREATE TRIGGER conversation_renamed AFTER UPDATE OF title ON conversation BEGIN
        INSERT INTO title_words(title_words, rowid, title) VALUES ('delete', old.id, old.title);
        INSERT INTO title_words(rowid, title) VALUES (new.id, new.title);
    END;
    INSERT INTO title_words(title_words) VALUES ('rebuild');
    """,
)
# FULL: what was acknowledged survives a power cut; a chat writes rarely enough. What is deleted is overwritten. The
# schema has to be trusted: before SQLite 3.41 no trigger may fill a word table otherwise.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=ON", "secure_delete=ON")


def connect(path: Path) -> sqlite3.Connection:
    """Open the history, made or brought up to date if need be.

    A damaged file is put aside under another name and never overwritten. Raises LocalchatError where the file is of
    a newer localchat or cannot be opened.
    """
    try:
        return _opened(path)
    except OSError as error:
        raise _unopened(path, error) from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise _unopened(path, error) from error
        aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        path.rename(aside)
        return _opened(path)


def _unopened(path: Path, error: Exception) -> LocalchatError:
    return LocalchatError(f"the history {path} cannot be opened: {error}", "check the file and its disk")


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        connection.execute("ROLLBACK")
        raise LocalchatError("the history was written by a newer localchat", "update localchat")
    for step in MIGRATIONS[version:]:
        for statement in statements(step):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
    connection.execute("COMMIT")


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: running a whole script would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def connect_to_read(path: Path) -> sqlite3.Connection:
    """One more connection to a history that is open, for what takes long: others need not wait for it."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only=ON")
    return connection
