"""The replies that are being written, at most one in each conversation. Not visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.widget import Widget

from localchat.chat import TurnEvent
from localchat.errors import LocalchatError
from localchat.llama.placement import SLOTS
from localchat.tui.desk import Desk
from localchat.tui.services import Running
from localchat.tui.turn import Turn
from localchat.tui.writing import Owed, Writing, written


class Replies(Widget):
    """Begins and ends them, and says by messages how they go."""

    @dataclass
    class Said(Message):
        """An event of a reply, which takes note of it where it is shown: else a piece would be shown twice."""

        writing: Writing
        event: TurnEvent

    @dataclass
    class Ended(Message):
        """A reply is over; `error` says why, if it did not end well."""

        writing: Writing
        error: LocalchatError | None

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._ongoing: dict[int, Writing] = {}  # by the numbers of their turns

    def compose(self) -> ComposeResult:
        yield Turn()

    @property
    def all(self) -> list[Writing]:
        """What is being written."""
        return list(self._ongoing.values())

    @property
    def is_full(self) -> bool:
        """Does the engine write as many as it can?"""
        return len(self._ongoing) >= SLOTS

    def of(self, conversation: int | None) -> Writing | None:
        """The reply that is written in this conversation."""
        return next((writing for writing in self.all if writing.desk.number == conversation), None)

    def begin(self, desk: Desk, running: Running, owed: Owed, changes: Mapping[str, float]) -> Writing:
        """Write a reply. Raises LocalchatError where it cannot be kept."""
        question = desk.begin_reply(running.model, owed.reply_instead_of)
        writing = Writing(desk, question, owed, running.model.name)
        self._ongoing[self.query_one(Turn).begin(partial(written, running, question, changes))] = writing
        return writing

    def stop(self, writing: Writing) -> None:
        """Stop; the end is still told."""
        for number, other in self._ongoing.items():
            if other is writing:
                self.query_one(Turn).stop(number)

    def abandon(self) -> list[Writing]:
        """Stop all, and let nothing more be heard of them; what they were."""
        for number in self._ongoing:
            self.query_one(Turn).abandon(number)
        abandoned, self._ongoing = self.all, {}
        for writing in abandoned:
            writing.is_abandoned = True  # what it said a moment ago is still on its way
        return abandoned

    @on(Turn.Said)
    def _pass_on(self, message: Turn.Said) -> None:
        message.stop()
        if self.query_one(Turn).hears(message):
            self.post_message(self.Said(self._ongoing[message.number], message.event))

    @on(Turn.Ended)
    def _end(self, message: Turn.Ended) -> None:
        message.stop()
        if self.query_one(Turn).hears(message):
            self.post_message(self.Ended(self._ongoing.pop(message.number), message.error))
