"""Deleting for good: from the tables, from the index of words, and from the disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

EMPTY_DAYS = 1  # a conversation may just be about to get its first message

IS_DUE = "(deleted_at IN (SELECT value FROM json_each(:stamps)) OR deleted_at < :before)"
IS_EMPTY = "NOT EXISTS (SELECT 1 FROM message m WHERE m.conversation = conversation.id)"
# Deleting by parents would go as deep as the conversation is long, which SQLite does not: they are cut off first.
DOOMED = (
    f"WITH RECURSIVE below(id) AS (SELECT id FROM message WHERE {IS_DUE} "
    "UNION SELECT m.id FROM message m JOIN below ON m.parent = below.id) INSERT INTO doomed SELECT id FROM below"
)
IS_DOOMED = "id IN (SELECT id FROM doomed)"


def purge(connection: sqlite3.Connection, stamps: Iterable[str], before: datetime) -> bool:
    """Erase what was marked as deleted at one of these times, or before that one. Was there anything?"""
    times = {"stamps": json.dumps(list(stamps)), "before": _written(before)}
    conversations = connection.execute(f"SELECT id FROM conversation WHERE {IS_DUE}", times).fetchall()
    for (number,) in conversations:
        erase(connection, number)
    connection.execute("CREATE TEMP TABLE doomed (id INTEGER PRIMARY KEY)")
    connection.execute(DOOMED, times)
    connection.execute(f"UPDATE message SET parent = NULL WHERE {IS_DOOMED}")
    messages = connection.execute(f"DELETE FROM message WHERE {IS_DOOMED}").rowcount
    connection.execute("DROP TABLE doomed")
    stale = _written(datetime.now(UTC) - timedelta(days=EMPTY_DAYS))
    empty = connection.execute(f"DELETE FROM conversation WHERE {IS_EMPTY} AND updated_at < ?", (stale,)).rowcount
    return bool(conversations or messages or empty)


def erase(connection: sqlite3.Connection, conversation: int) -> None:
    """Delete a conversation with its messages."""
    connection.execute("UPDATE message SET parent = NULL WHERE conversation = ?", (conversation,))
    connection.execute("DELETE FROM message WHERE conversation = ?", (conversation,))
    connection.execute("DELETE FROM conversation WHERE id = ?", (conversation,))


def forget_words(connection: sqlite3.Connection) -> None:
    """Rewrite the index: until then it has the words of deleted messages, marked as gone."""
    for table in ("message_words", "title_words"):
        connection.execute(f"INSERT INTO {table}({table}) VALUES ('optimize')")


def _written(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")
