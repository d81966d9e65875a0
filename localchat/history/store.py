"""Reading and writing conversations. A message is on the disk before anything is done with it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from localchat.conversation import Conversation, Ending, Message, Role
from localchat.errors import LocalchatError
from localchat.history.schema import connect
from localchat.text import one_line

TITLE_CHARACTERS = 60

State = Literal["said", "writing"] | Ending
"""`said` of questions; of replies `writing`, then how they ended. Found later, `writing` means: interrupted."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A message as it is kept."""

    id: int
    role: Role
    text: str
    state: State
    model: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A conversation in a list."""

    id: int
    title: str
    model: str
    updated_at: str
    messages: int
    """What was said and answered; a system message does not count."""


class History:
    """The conversations of one file. Safe to use from several threads and from several programs at once."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def conversations(self) -> list[Heading]:
        """All that were ever begun, the latest first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT c.id, c.title, c.model, c.updated_at, sum(m.role != 'system') AS messages FROM conversation c "
                "JOIN message m ON m.conversation = c.id GROUP BY c.id ORDER BY c.updated_at DESC, c.id DESC"
            ).fetchall()
        return [Heading(*row) for row in rows]

    def begin(self, question: str, model: str, system: str = "") -> int:
        """A new conversation, titled by its first question; returns its id. The question is not yet in it."""
        with self._transaction() as connection:
            number = connection.execute(
                "INSERT INTO conversation(title, model, created_at, updated_at) VALUES (?, ?, ?, ?)",
                (one_line(question, TITLE_CHARACTERS) or "(empty)", model, _now(), _now()),
            ).lastrowid
            assert number is not None
            if system:
                self._insert(connection, number, "system", system, "said", "")
            return number

    def ask(self, conversation: int, question: str) -> int:
        """Keep a question; returns the message's id."""
        with self._transaction() as connection:
            return self._insert(connection, conversation, "user", question, "said", "")

    def draft(self, conversation: int, model: str) -> SavedDraft:
        """A reply that is about to be written."""
        with self._transaction() as connection:
            return SavedDraft(self, self._insert(connection, conversation, "assistant", "", "writing", model))

    def messages(self, conversation: int) -> list[Saved]:
        """The messages of a conversation in order. Raises LocalchatError where there is no such conversation."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, role, text, state, model FROM message WHERE conversation = ? ORDER BY id", (conversation,)
            ).fetchall()
        if not rows:
            raise LocalchatError(f"there is no conversation {conversation}", "it may have been deleted")
        return [Saved(*row) for row in rows]

    def delete(self, conversation: int) -> None:
        """Delete a conversation with its messages."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM conversation WHERE id = ?", (conversation,))

    def update(self, message: int, text: str, state: State) -> None:
        """Replace the text of a reply that is being written."""
        with self._transaction() as connection:
            connection.execute("UPDATE message SET text = ?, state = ? WHERE id = ?", (_text(text), state, message))

    def discard(self, message: int) -> None:
        """Delete one message; what was said after it stays."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE message SET parent = (SELECT parent FROM message WHERE id = ?) WHERE parent = ?",
                (message, message),
            )
            connection.execute("DELETE FROM message WHERE id = ?", (message,))

    def _insert(
        self, connection: sqlite3.Connection, conversation: int, role: Role, text: str, state: State, model: str
    ) -> int:
        number = connection.execute(
            "INSERT INTO message(conversation, parent, role, text, state, model, created_at) VALUES "
            "(?, (SELECT max(id) FROM message WHERE conversation = ?), ?, ?, ?, ?, ?)",
            (conversation, conversation, role, _text(text), state, model, _now()),
        ).lastrowid
        connection.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (_now(), conversation))
        assert number is not None
        return number

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises LocalchatError where the disk or another program stands in the way."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                raise LocalchatError("this conversation was deleted", "begin a new one") from error
            except (sqlite3.Error, OverflowError) as error:
                raise LocalchatError(f"the history cannot be used: {error}", "check its file and the disk") from error
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


@dataclass(frozen=True, slots=True)
class SavedDraft:
    """A reply on the disk while it is written."""

    history: History
    id: int

    def save(self, text: str) -> None:
        """Keep the text so far."""
        self.history.update(self.id, text, "writing")

    def finish(self, text: str, ending: Ending) -> None:
        """Keep the whole reply and how it ended; an empty one that was stopped is forgotten."""
        if text or ending in ("stop", "length"):
            self.history.update(self.id, text, ending)
        else:
            self.history.discard(self.id)


def conversation_of(messages: list[Saved]) -> Conversation:
    """What a model reads of kept messages."""
    return Conversation(tuple(Message(message.role, message.text) for message in messages))


def _text(text: str) -> str:
    """Lone surrogates, which SQLite cannot keep, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
