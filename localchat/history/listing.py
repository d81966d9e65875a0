"""Lists of conversations: all of them, and those that have certain words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from localchat.history.marking import beginnings, literally, marked, words_of
from localchat.history.saved import Heading, Hit

LISTED = (
    "SELECT c.id, c.title, c.model, c.updated_at, sum(m.role != 'system') AS messages, c.pinned, c.preset "
    "FROM conversation c JOIN message m ON m.conversation = c.id AND m.deleted_at IS NULL "
    "WHERE c.deleted_at IS NULL {which} GROUP BY c.id "
    "ORDER BY c.pinned DESC, c.updated_at DESC, c.id DESC LIMIT {limit}"
)
THESE = "(SELECT value FROM json_each(?))"
SAID = "m.deleted_at IS NULL AND m.role != 'system'"
BY_WORDS = (
    f"SELECT m.conversation, max(m.id) FROM message_words JOIN message m ON m.id = message_words.rowid "
    f"WHERE message_words MATCH :wanted AND {SAID} GROUP BY m.conversation",
    "SELECT rowid, 0 FROM title_words WHERE title_words MATCH :wanted",
)
BY_TEXT = (
    rf"SELECT m.conversation, max(m.id) FROM message m WHERE m.text LIKE :wanted ESCAPE '\' AND {SAID} "
    "GROUP BY m.conversation",
    r"SELECT id, 0 FROM conversation WHERE title LIKE :wanted ESCAPE '\'",
)


def headings(connection: sqlite3.Connection, ids: Iterable[int] | None = None, limit: int = -1) -> list[Heading]:
    """Conversations that have a message, pinned ones first and then the latest; of `ids` where there are any."""
    which = "" if ids is None else f"AND c.id IN {THESE}"
    values = () if ids is None else (json.dumps(list(ids)),)
    rows = connection.execute(LISTED.format(which=which, limit=limit), values)
    return [_heading(row) for row in rows]


def _heading(row: sqlite3.Row) -> Heading:
    return Heading(
        row["id"], row["title"], row["model"], row["updated_at"], row["messages"], bool(row["pinned"]), row["preset"]
    )


def latest(connection: sqlite3.Connection) -> int | None:
    """The conversation that was talked in last, pinned or not."""
    found = max(headings(connection), key=lambda heading: (heading.updated_at, heading.id), default=None)
    return found.id if found else None


def search(connection: sqlite3.Connection, text: str, limit: int) -> list[Hit]:
    """The conversations in which one message or the title has words that begin with all of these words.

    Where there are none, those that have the text as it stands: of a language without spaces, or signs.
    """
    text = text.replace("\x00", " ").encode("utf-8", "replace").decode("utf-8").strip()[:200]
    if not text:
        return []
    words = words_of(text)
    pattern, found = beginnings(words), {}
    if words:
        found = _found(connection, BY_WORDS, " AND ".join(f'"{word}"*' for word in words))
    if not found:
        pattern, found = literally(text), _found(connection, BY_TEXT, f"%{_escaped(text)}%")
    listed = headings(connection, found, limit)
    texts = _texts(connection, [found[heading.id] for heading in listed])
    return [
        Hit(heading, number, marked(texts.get(number, heading.title), pattern))
        for heading in listed
        for number in [found[heading.id]]
    ]


def _found(connection: sqlite3.Connection, queries: Iterable[str], wanted: str) -> dict[int, int]:
    """The latest message of each conversation that has it; 0 where the title alone has it."""
    found: dict[int, int] = {}
    for query in queries:
        for conversation, message in connection.execute(query, {"wanted": wanted}):
            found.setdefault(conversation, message)
    return found


def _texts(connection: sqlite3.Connection, messages: list[int]) -> dict[int, str]:
    rows = connection.execute(f"SELECT id, text FROM message WHERE id IN {THESE}", (json.dumps(messages),))
    return dict(rows.fetchall())


def _escaped(text: str) -> str:
    for sign in "\\%_":
        text = text.replace(sign, f"\\{sign}")
    return text


def inputs(connection: sqlite3.Connection, limit: int) -> list[str]:
    """Earlier questions without repeats, the latest last; of the latest ones as many as it takes."""
    rows = connection.execute(
        "SELECT m.text FROM message m JOIN conversation c ON c.id = m.conversation WHERE m.role = 'user' "
        "AND m.text != '' AND m.deleted_at IS NULL AND c.deleted_at IS NULL ORDER BY m.id DESC"
    )
    seen: dict[str, None] = {}
    for (text,) in rows:
        seen.setdefault(text)
        if len(seen) == limit:
            break
    return list(reversed(seen))
