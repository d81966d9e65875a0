"""Gives a new conversation a title while the engine has nothing else to do. Not visible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.widget import Widget

from localchat.engine.events import Piece, Remote
from localchat.errors import LocalchatError
from localchat.history.store import TITLE_CHARACTERS, History, conversation_of
from localchat.text import one_line
from localchat.tui.attachment import subject
from localchat.tui.services import Running
from localchat.tui.title_maker import title_of, titling
from localchat.tui.turn import Turn

ONE_TURN = ["user", "assistant"]


class Titling(Widget):
    """Makes one title at a time. A server is not asked for any: its work may cost something."""

    @dataclass
    class Ended(Message):
        """A title was made, or could not be for this reason."""

        error: LocalchatError | None

    def __init__(self, history: History) -> None:
        super().__init__()
        self.display = False
        self._history = history
        self._turn: int | None = None
        self._conversation, self._before, self._text = 0, "", ""

    def compose(self) -> ComposeResult:
        yield Turn()

    def begin(self, running: Running, conversation: int) -> None:
        """Make a title, if there is none but the first question, and one reply. Raises LocalchatError."""
        said = [message for message in self._history.messages(conversation) if message.text]
        spoken = [message for message in said if message.role != "system"]
        if [message.role for message in spoken] != ONE_TURN or isinstance(running.engine, Remote):
            return
        self._conversation, self._before = conversation, one_line(subject(spoken[0].text), TITLE_CHARACTERS)
        if self._is_untitled:
            self._text = ""
            self._turn = self.query_one(Turn).begin(partial(titling, running, conversation_of(said)))

    def stop(self) -> None:
        """Something more important is to be done."""
        if self._turn is not None:
            self.query_one(Turn).abandon(self._turn)
            self._turn = None

    @on(Turn.Said)
    def _hear(self, message: Turn.Said) -> None:
        message.stop()
        if self.query_one(Turn).hears(message) and isinstance(message.event, Piece):
            self._text += message.event.text

    @on(Turn.Ended)
    def _end(self, message: Turn.Ended) -> None:
        message.stop()
        if not self.query_one(Turn).hears(message):
            return
        self._turn, error = None, message.error
        try:
            if error is None:
                self._rename(title_of(self._text))
        except LocalchatError as refusal:
            error = refusal
        self.post_message(self.Ended(error))

    def _rename(self, title: str) -> None:
        if title and self._is_untitled:
            self._history.rename(self._conversation, title)

    @property
    def _is_untitled(self) -> bool:
        """Has the user given it no title?"""
        heading = self._history.heading(self._conversation)
        return heading is not None and heading.title == self._before
