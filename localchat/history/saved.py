"""What is kept of conversations, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localchat.conversation import Conversation, Ending, Message, Role

State = Literal["said", "writing"] | Ending
"""`said` of questions; of replies `writing`, then how they ended. Found later, `writing` means: interrupted."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A message on the open branch."""

    id: int
    role: Role
    text: str
    state: State
    model: str
    pinned: bool = False
    place: int = 1
    """Which of its siblings this is, from 1."""
    places: int = 1
    """How many siblings there are, itself counted."""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A conversation in a list."""

    id: int
    title: str
    model: str
    updated_at: str
    messages: int
    """What was said and answered on all branches; a system message does not count."""
    pinned: bool = False
    preset: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A conversation that has the words that were searched for."""

    heading: Heading
    message: int
    """The latest message that has them; 0 where only the title has."""
    pieces: tuple[tuple[str, bool], ...]
    """One harmless line of it, or the title; True marks what was searched for."""


def conversation_of(messages: list[Saved]) -> Conversation:
    """What a model reads of kept messages."""
    return Conversation(tuple(Message(message.role, message.text, message.pinned) for message in messages))
