"""A conversation with all of its branches, as it leaves a history and comes into one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from localchat.conversation import Role
from localchat.errors import LocalchatError
from localchat.history import branches
from localchat.history.database import encodable
from localchat.history.saved import State


@dataclass(frozen=True, slots=True)
class Said:
    """A message in the tree; a parent comes before what follows it."""

    id: int
    parent: int | None
    role: Role
    text: str
    state: State
    model: str
    created_at: str
    pinned: bool = False
    is_open: bool = False
    """Is it on the open branch?"""


@dataclass(frozen=True, slots=True)
class Whole:
    """A conversation with everything that is kept of it."""

    title: str
    model: str
    created_at: str
    updated_at: str
    pinned: bool
    preset: str
    messages: tuple[Said, ...]


def read(connection: sqlite3.Connection, conversation: int) -> Whole:
    """Raises LocalchatError where there is no such conversation."""
    opened = {place.id for place in branches.path(connection, conversation)}
    row = connection.execute("SELECT * FROM conversation WHERE id = ?", (conversation,)).fetchone()
    rows = connection.execute(
        "SELECT id, parent, role, text, state, model, created_at, pinned FROM message "
        "WHERE conversation = ? AND deleted_at IS NULL ORDER BY id", (conversation,),
    )  # fmt: skip
    said = [_said(row, row["id"] in opened) for row in rows]
    return Whole(
        row["title"], row["model"], row["created_at"], row["updated_at"], bool(row["pinned"]), row["preset"],
        tuple(sorted(said, key=lambda one: (one.role != "system", one.id))),  # one that was set later has a later id
    )  # fmt: skip


def _said(row: sqlite3.Row, is_open: bool) -> Said:
    return Said(
        row["id"], row["parent"], row["role"], row["text"], row["state"], row["model"], row["created_at"],
        bool(row["pinned"]), is_open,
    )  # fmt: skip


def add(connection: sqlite3.Connection, whole: Whole) -> int:
    """Put a conversation beside those that are there; returns its id."""
    number = connection.execute(
        "INSERT INTO conversation(title, model, created_at, updated_at, pinned, preset) VALUES (?, ?, ?, ?, ?, ?)",
        (
            *map(encodable, (whole.title, whole.model, whole.created_at, whole.updated_at)),
            int(whole.pinned), encodable(whole.preset),
        ),
    ).lastrowid  # fmt: skip
    assert number is not None
    _add_messages(connection, number, whole.messages)
    return number


def _add_messages(connection: sqlite3.Connection, conversation: int, messages: Iterable[Said]) -> None:
    new: dict[int | None, int | None] = {None: None}
    for said in messages:
        parent = new[said.parent]
        new[said.id] = connection.execute(
            "INSERT INTO message(conversation, parent, role, text, state, model, created_at, pinned) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                conversation, parent, said.role, encodable(said.text), said.state, encodable(said.model),
                said.created_at, int(said.pinned),
            ),
        ).lastrowid  # fmt: skip
        if said.is_open:
            branches.point(connection, conversation, parent, new[said.id])


def check(whole: Whole) -> None:
    """Raises LocalchatError where the messages are no tree, or a system message is not what all of it hangs on."""
    ids: set[int] = set()
    has_system = any(said.role == "system" for said in whole.messages)
    for said in whole.messages:
        if said.id in ids or not (said.parent is None or said.parent in ids):
            raise LocalchatError(f"message {said.id} has no place among the others", "export it again")
        if has_system and ids and (said.role == "system" or said.parent is None):
            raise LocalchatError(f"message {said.id} does not follow the system message", "export it again")
        if has_system and not ids and said.role != "system":
            raise LocalchatError("the system message is not the first", "export it again")
        ids.add(said.id)
