"""What `Conversing` and `Answering` tell: all that the screen has to show, in the order in which it came about."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from localchat.chat import TurnEvent
from localchat.errors import LocalchatError
from localchat.history.store import Saved
from localchat.tui.services import Running
from localchat.tui.situation import Situation


@dataclass
class Opened(Message):
    """This is the conversation now, to be shown anew; `reply` is being written, and may have no word yet."""

    messages: list[Saved]
    reply: Saved | None
    marked: int | None = None
    """The message that the user has in mind."""


@dataclass
class Asked(Message):
    """A question was added at the end."""

    question: Saved


@dataclass
class Situated(Message):
    """This is going on in the open conversation, because of an event if there was one."""

    situation: Situation
    event: TurnEvent | None = None


@dataclass
class Wrote(Message):
    """The reply in the open conversation has grown by `text`."""

    reply: Saved
    text: str


@dataclass
class Finished(Message):
    """The reply in the open conversation is complete."""

    reply: Saved


@dataclass
class Elsewhere(Message):
    """A reply in another conversation, with this title, is complete, or failed."""

    title: str
    error: LocalchatError | None


@dataclass
class Dropped(Message):
    """These messages of the open conversation are not in the context of the model any more."""

    ids: frozenset[int]


@dataclass
class GaveBack(Message):
    """A question got no answer, and is no part of the conversation any more."""

    text: str
    instead_of: int | None


@dataclass
class Failed(Message):
    """Something went wrong."""

    error: LocalchatError


@dataclass
class Runs(Message):
    """The model is loaded and runs like this; its notes are those that nobody has seen."""

    running: Running


class Retitled(Message):
    """A title has changed, or how many replies are written in the background."""
