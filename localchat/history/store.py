"""Reading and writing conversations. A message is on the disk before anything is done with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from localchat.conversation import Ending
from localchat.errors import LocalchatError
from localchat.history import branches, erasing, listing, whole
from localchat.history.database import Database, encodable, now
from localchat.history.saved import Heading, Hit, Saved, State, conversation_of
from localchat.history.whole import Whole
from localchat.text import one_line

__all__ = ["TITLE_CHARACTERS", "Heading", "History", "Hit", "Saved", "SavedDraft", "State", "conversation_of"]

TITLE_CHARACTERS = 60
UNDO_SECONDS = 3600.0
"""So long after a deletion by another program it is left alone: somebody may want to undo it."""
NEW = 0  # in place of a conversation's number: the one that is not begun yet


class History:
    """The conversations of one file. Safe to use from several threads and from several programs at once.

    All methods raise LocalchatError where the disk, another program or a number that is not there stands in the way.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._stamps: set[str] = set()  # when something was deleted here

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # Lists

    def conversations(self) -> list[Heading]:
        """All that have a message: pinned ones first, then the latest."""
        with self._database.reading() as connection:
            return listing.headings(connection)

    def heading(self, conversation: int) -> Heading | None:
        """One of them, if it is there."""
        with self._database.reading() as connection:
            return next(iter(listing.headings(connection, [conversation])), None)

    def latest(self) -> int | None:
        """The conversation that was talked in last, pinned or not."""
        with self._database.reading() as connection:
            return listing.latest(connection)

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        """Conversations with all of these words, or beginnings of words, in one message or the title. May take long."""
        with self._database.searching() as connection:
            return listing.search(connection, text, limit)

    def inputs(self, limit: int = 200) -> list[str]:
        """Earlier questions of all conversations, the latest last, without repeats."""
        with self._database.reading() as connection:
            return listing.inputs(connection, limit)

    # A conversation

    def begin(self, question: str, model: str, system: str = "") -> int:
        """A new conversation, titled by its first question; returns its id. The question is not yet in it."""
        with self._database.writing() as connection:
            number = connection.execute(
                "INSERT INTO conversation(title, model, created_at, updated_at) VALUES (?, ?, ?, ?)",
                (one_line(question, TITLE_CHARACTERS) or "(empty)", model, now(), now()),
            ).lastrowid
            assert number is not None
            if system:
                branches.insert(connection, number, "system", system)
            return number

    def rename(self, conversation: int, title: str) -> None:
        """Give it another title, which is one harmless line."""
        line = one_line(title, TITLE_CHARACTERS)
        if not line:
            raise LocalchatError("a conversation needs a title", "type at least one letter")
        self._set(conversation, "title", line)

    def pin(self, conversation: int, pinned: bool) -> None:
        """Keep it at the top of the list, or no longer."""
        self._set(conversation, "pinned", int(pinned))

    def set_preset(self, conversation: int, name: str) -> None:
        """Which preset of sampling it uses; empty for none."""
        self._set(conversation, "preset", name)

    def set_system(self, conversation: int, text: str) -> None:
        """Its system message: new, changed, or with an empty text gone."""
        with self._database.writing() as connection:
            branches.set_system(connection, conversation, encodable(text))

    def unsent(self, conversation: int | None) -> str:
        """What was typed there and not sent; None is the new conversation."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT text FROM unsent WHERE conversation = ?", (conversation or NEW,)
            ).fetchone()
        return row["text"] if row else ""

    def keep_unsent(self, conversation: int | None, text: str) -> None:
        """Keep what is typed there; nothing is kept of a conversation that is gone."""
        number = conversation or NEW
        with self._database.writing() as connection:
            connection.execute("DELETE FROM unsent WHERE conversation = ?", (number,))
            connection.execute(
                "INSERT INTO unsent SELECT :number, :text WHERE :text != '' AND "
                f"(:number = {NEW} OR EXISTS (SELECT 1 FROM conversation WHERE id = :number))",
                {"number": number, "text": encodable(text)},
            )

    def whole(self, conversation: int) -> Whole:
        """A conversation with all of its branches."""
        with self._database.reading() as connection:
            return whole.read(connection, conversation)

    def add(self, conversations: Iterable[Whole]) -> list[int]:
        """Put conversations beside those that are there, all or none; returns their ids."""
        with self._database.writing() as connection:
            return [whole.add(connection, one) for one in conversations]

    def delete(self, conversation: int) -> None:
        """Delete a conversation with its messages; until `purge` it can be restored."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL",
                (self._stamp(), conversation),
            )

    def restore(self, conversation: int) -> None:
        """Undo a `delete`."""
        with self._database.writing() as connection:
            changed = connection.execute("UPDATE conversation SET deleted_at = NULL WHERE id = ?", (conversation,))
            if not changed.rowcount:
                raise LocalchatError("this conversation is deleted for good", "begin a new one")

    def purge(self) -> bool:
        """Delete from the disk what was deleted by this History, or by any one an hour ago. May take long.

        Was there anything?
        """
        before = datetime.now(UTC) - timedelta(seconds=UNDO_SECONDS)
        with self._database.writing() as connection:
            if is_changed := erasing.purge(connection, self._stamps, before):
                erasing.forget_words(connection)
        self._stamps.clear()
        if is_changed:
            self._database.clear_log()
        return is_changed

    def erase(self, conversation: int) -> None:
        """Delete a conversation for good, and from the disk. May take long."""
        with self._database.writing() as connection:
            branches.require(connection, conversation)
            erasing.erase(connection, conversation)
            erasing.forget_words(connection)
        self._database.clear_log()

    # Messages

    def messages(self, conversation: int) -> list[Saved]:
        """The messages from the first to the end of the open branch."""
        with self._database.reading() as connection:
            path = branches.path(connection, conversation)
            rows = connection.execute(
                "SELECT id, role, text, state, model, pinned, created_at FROM message WHERE conversation = ? "
                "AND deleted_at IS NULL", (conversation,),
            )  # fmt: skip
            known = {row["id"]: row for row in rows}
        return [_saved(known[place.id], place) for place in path]

    def ask(self, conversation: int, question: str, instead_of: int | None = None) -> int:
        """Keep a question at the end of the open branch, or as a sibling that opens; returns the message's id."""
        with self._database.writing() as connection:
            return branches.insert(connection, conversation, "user", question, instead_of=instead_of)

    def draft(self, conversation: int, model: str, instead_of: int | None = None) -> SavedDraft:
        """A reply that is about to be written, at the end of the open branch or as a sibling that opens."""
        with self._database.writing() as connection:
            number = branches.insert(connection, conversation, "assistant", "", "writing", model, instead_of)
        return SavedDraft(self, number)

    def update(self, message: int, text: str, state: State) -> None:
        """Replace the text of a reply that is being written."""
        with self._database.writing() as connection:
            connection.execute("UPDATE message SET text = ?, state = ? WHERE id = ?", (encodable(text), state, message))

    def discard(self, message: int) -> None:
        """Delete one message for good; what was said after it stays."""
        with self._database.writing() as connection:
            branches.discard(connection, message)

    def pin_message(self, message: int, pinned: bool) -> None:
        """Keep it in the prompt, however long the conversation becomes, or no longer."""
        with self._database.writing() as connection:
            branches.row_of(connection, message)
            connection.execute("UPDATE message SET pinned = ? WHERE id = ?", (int(pinned), message))

    def switch(self, message: int, step: int) -> None:
        """Open the branch of the sibling so many places further, as it was left."""
        with self._database.writing() as connection:
            branches.switch(connection, message, step)

    def reveal(self, message: int) -> None:
        """Open the branch that a message is on."""
        with self._database.writing() as connection:
            branches.reveal(connection, message)

    def remove_message(self, message: int) -> None:
        """Delete a message with all that follows on every branch below it; until `purge` it can be restored."""
        with self._database.writing() as connection:
            branches.remove(connection, message, self._stamp())

    def restore_message(self, message: int) -> None:
        """Undo a `remove_message`."""
        with self._database.writing() as connection:
            branches.restore(connection, message)

    # The file

    def _set(self, conversation: int, column: str, value: str | int) -> None:
        with self._database.writing() as connection:
            branches.require(connection, conversation)
            connection.execute(f"UPDATE conversation SET {column} = ? WHERE id = ?", (value, conversation))

    def _stamp(self) -> str:
        stamp = now()
        self._stamps.add(stamp)
        return stamp


def _saved(row: sqlite3.Row, place: branches.Place) -> Saved:
    return Saved(
        row["id"], row["role"], row["text"], row["state"], row["model"], bool(row["pinned"]),
        place.place, place.places, row["created_at"],
    )  # fmt: skip


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
