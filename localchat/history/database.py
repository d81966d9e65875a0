"""The file of the history, opened: one transaction at a time, whatever thread or program asks for it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from localchat.errors import LocalchatError
from localchat.history.schema import connect, connect_to_read


class Database:
    """Three connections to one file: to write, to read, and to search, so that none waits for another.

    Transactions raise LocalchatError where the disk or another program stands in the way.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._reader, self._searcher = connect_to_read(path), connect_to_read(path)
        self._lock, self._reading, self._searching = threading.Lock(), threading.Lock(), threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._searcher.close()
        self._reader.close()
        self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """To change something; other programs that want to wait."""
        with self._lock, _transaction(self._connection, "BEGIN IMMEDIATE"):
            yield self._connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """To read something quickly; waits for nobody who writes."""
        with self._reading, _transaction(self._reader, "BEGIN"):
            yield self._reader

    @contextmanager
    def searching(self) -> Iterator[sqlite3.Connection]:
        """To read for long; nobody waits for it."""
        with self._searching, _transaction(self._searcher, "BEGIN"):
            yield self._searcher

    def clear_log(self) -> None:
        """Take what was written into the file and empty the log beside it, as far as nobody is reading."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except sqlite3.IntegrityError as error:
        raise LocalchatError("this conversation was deleted", "begin a new one") from error
    except (sqlite3.Error, OverflowError) as error:
        raise LocalchatError(f"the history cannot be used: {error}", "check its file and the disk") from error
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def encodable(text: str) -> str:
    """Lone surrogates, which SQLite cannot keep, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def now() -> str:
    """The time as it is kept."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
