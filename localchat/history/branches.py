"""Which messages of a conversation are open. Every message remembers which of the replies to it was open last."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from localchat.conversation import Role
from localchat.errors import LocalchatError
from localchat.history.database import encodable, now
from localchat.history.saved import State

# A message and what follows it, as far as all of it is deleted at one time, or not at all.
BELOW = (
    "WITH RECURSIVE below(id) AS (SELECT id FROM message WHERE id = :message AND deleted_at IS :stamp UNION ALL "
    "SELECT m.id FROM message m JOIN below ON m.parent = below.id WHERE m.deleted_at IS :stamp) "
)
MARK = f"{BELOW} UPDATE message SET deleted_at = :then WHERE id IN (SELECT id FROM below)"


@dataclass(frozen=True, slots=True)
class Link:
    """Where a message hangs in the tree of its conversation."""

    id: int
    parent: int | None
    open_child: int | None
    """May be gone by now; None is the latest."""


@dataclass(frozen=True, slots=True)
class Place:
    """A message of the open branch among its siblings, counted from 1."""

    id: int
    place: int
    places: int


def open_path(links: Iterable[Link], first: int | None) -> list[Place]:
    """The open branch from its first message on. Links come by rising id; `first` is the open one of the first."""
    children: defaultdict[int | None, list[Link]] = defaultdict(list)
    for link in links:
        children[link.parent].append(link)
    path: list[Place] = []
    parent, wanted = None, first
    while siblings := children.get(parent):
        index = _nearest([link.id for link in siblings], wanted)
        parent, wanted = siblings[index].id, siblings[index].open_child
        path.append(Place(parent, index + 1, len(siblings)))
    return path


def _nearest(ids: list[int], wanted: int | None) -> int:
    """The wanted one; where it is gone the one before it, or else the first."""
    return len(ids) - 1 if wanted is None else max(0, bisect_right(ids, wanted) - 1)


def links(connection: sqlite3.Connection, conversation: int) -> list[Link]:
    """What is there of a conversation, by rising id."""
    rows = connection.execute(
        "SELECT id, parent, open_child FROM message WHERE conversation = ? AND deleted_at IS NULL", (conversation,)
    )
    return sorted((Link(*row) for row in rows), key=lambda link: link.id)


def path(connection: sqlite3.Connection, conversation: int) -> list[Place]:
    """The open branch of a conversation. Raises LocalchatError where there is no such conversation."""
    row = connection.execute(
        "SELECT open_child FROM conversation WHERE id = ? AND deleted_at IS NULL", (conversation,)
    ).fetchone()
    if row is None:
        raise LocalchatError(f"there is no conversation {conversation}", "it may have been deleted")
    return open_path(links(connection, conversation), row["open_child"])


def require(connection: sqlite3.Connection, conversation: int) -> None:
    """Raises LocalchatError where a conversation that is to be changed is not there."""
    sql = "SELECT 1 FROM conversation WHERE id = ? AND deleted_at IS NULL"
    if connection.execute(sql, (conversation,)).fetchone() is None:
        raise LocalchatError("this conversation was deleted", "begin a new one")


def insert(
    connection: sqlite3.Connection, conversation: int, role: Role, text: str, state: State = "said", model: str = "",
    instead_of: int | None = None,
) -> int:  # fmt: skip
    """Put a message at the end of the open branch, or beside another one, and open it; returns its id."""
    require(connection, conversation)
    if instead_of is None:
        parent = next((place.id for place in reversed(path(connection, conversation))), None)
    else:
        parent = _parent_beside(connection, conversation, instead_of)
    number = connection.execute(
        "INSERT INTO message(conversation, parent, role, text, state, model, created_at, instead_of) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (conversation, parent, role, encodable(text), state, model, now(), instead_of),
    ).lastrowid
    assert number is not None
    point(connection, conversation, parent, number)
    connection.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (now(), conversation))
    return number


def _parent_beside(connection: sqlite3.Connection, conversation: int, message: int) -> int | None:
    """What a sibling of this message follows."""
    row = row_of(connection, message)
    parent: int | None = row["parent"]
    is_gone = parent is not None and row_of(connection, parent)["deleted_at"] is not None
    if row["conversation"] != conversation or row["role"] == "system" or is_gone:
        raise LocalchatError("nothing can be said instead of this message", "go on at the end of the conversation")
    return parent


def row_of(connection: sqlite3.Connection, message: int) -> sqlite3.Row:
    """A message that is there. Raises LocalchatError where it is not."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT id, conversation, parent, role, open_child, instead_of, deleted_at FROM message WHERE id = ?",
        (message,),
    ).fetchone()
    if row is None:
        raise LocalchatError(f"there is no message {message}", "it may have been deleted")
    return row


def point(connection: sqlite3.Connection, conversation: int, parent: int | None, child: int | None) -> None:
    """Open a child of a message, or of the conversation where there is no parent."""
    if parent is None:
        connection.execute("UPDATE conversation SET open_child = ? WHERE id = ?", (child, conversation))
    else:
        connection.execute("UPDATE message SET open_child = ? WHERE id = ?", (child, parent))


def switch(connection: sqlite3.Connection, message: int, step: int) -> None:
    """Open the sibling so many places further; where there is none the last one in that direction."""
    row = row_of(connection, message)
    ids = [link.id for link in links(connection, row["conversation"]) if link.parent == row["parent"]]
    if ids:
        index = _nearest(ids, message) + step
        point(connection, row["conversation"], row["parent"], ids[min(max(index, 0), len(ids) - 1)])


def reveal(connection: sqlite3.Connection, message: int) -> None:
    """Open the branch that a message is on."""
    row = row_of(connection, message)
    known = {link.id: link for link in links(connection, row["conversation"])}
    link = known.get(message)
    while link is not None:
        point(connection, row["conversation"], link.parent, link.id)
        link = known.get(link.parent) if link.parent is not None else None


def remove(connection: sqlite3.Connection, message: int, now: str) -> None:
    """Mark a message and all that follows it as deleted at one time. Raises LocalchatError for a system message."""
    if row_of(connection, message)["role"] == "system":
        raise LocalchatError("all that was said hangs on the system prompt", "change it, or delete the conversation")
    connection.execute(MARK, {"message": message, "stamp": None, "then": now})


def restore(connection: sqlite3.Connection, message: int) -> None:
    """Undo a `remove`: what was deleted by it comes back, opened. Raises LocalchatError where it cannot."""
    row = row_of(connection, message)
    if row["parent"] is not None and row_of(connection, row["parent"])["deleted_at"] is not None:
        raise LocalchatError("what this message follows is deleted", "restore that first")
    connection.execute(MARK, {"message": message, "stamp": row["deleted_at"], "then": None})
    reveal(connection, message)


def discard(connection: sqlite3.Connection, message: int) -> None:
    """Take one message out; what was said after it stays, and what it was written instead of is open again."""
    row = connection.execute(
        "SELECT conversation, parent, open_child, instead_of FROM message WHERE id = ?", (message,)
    ).fetchone()
    if row is None:
        return
    conversation, parent = row["conversation"], row["parent"]
    is_followed = connection.execute("SELECT 1 FROM message WHERE parent = ? LIMIT 1", (message,)).fetchone()
    connection.execute("UPDATE message SET parent = ? WHERE parent = ?", (parent, message))
    connection.execute("DELETE FROM message WHERE id = ?", (message,))
    if _open_child(connection, conversation, parent) == message:
        point(connection, conversation, parent, row["open_child"] if is_followed else row["instead_of"])


def _open_child(connection: sqlite3.Connection, conversation: int, parent: int | None) -> int | None:
    table, number = ("conversation", conversation) if parent is None else ("message", parent)
    row = connection.execute(f"SELECT open_child FROM {table} WHERE id = ?", (number,)).fetchone()
    found: int | None = row and row["open_child"]
    return found


def set_system(connection: sqlite3.Connection, conversation: int, text: str) -> None:
    """Change the system message that all branches begin with, or put one before them, or with no text take it away."""
    require(connection, conversation)
    row = connection.execute(
        "SELECT id FROM message WHERE conversation = ? AND role = 'system' AND parent IS NULL", (conversation,)
    ).fetchone()
    if row is not None and text:
        connection.execute("UPDATE message SET text = ? WHERE id = ?", (text, row["id"]))
    elif row is not None:
        discard(connection, row["id"])
    elif text:
        _put_first(connection, conversation, text)


def _put_first(connection: sqlite3.Connection, conversation: int, text: str) -> None:
    number = connection.execute(
        "INSERT INTO message(conversation, role, text, state, created_at, open_child) "
        "VALUES (:conversation, 'system', :text, 'said', :now, "
        "(SELECT open_child FROM conversation WHERE id = :conversation))",
        {"conversation": conversation, "text": text, "now": now()},
    ).lastrowid
    connection.execute(
        "UPDATE message SET parent = :first WHERE conversation = :conversation AND parent IS NULL AND id != :first",
        {"conversation": conversation, "first": number},
    )
    point(connection, conversation, None, number)
