"""What a reply says, as every protocol tells it: text, calls of tools, the end. Folded out of the turn's events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from localchat.chat import TurnEvent
from localchat.engine.events import Done, Piece, TokenProbability, Usage
from localchat.prompt.ledger import Ledger
from localchat.server.tools import Call, Tools, calls_in, may_be_calls

Reason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The prompt is made, and there is room for the reply."""

    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the reply's text."""

    text: str
    logprobs: tuple[TokenProbability, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The reply is complete."""

    reason: Reason
    usage: Usage
    stop: str = ""
    """The stop string that ended it; empty where none did."""


Said = Begun | Text | Call | End


def said(events: Iterable[TurnEvent], tools: Tools | None = None) -> Iterator[Said]:
    """What the events of one reply say. With tools, a reply that begins as a call is told when it is whole."""
    held: list[Text] | None = [] if tools else None
    for event in events:
        if isinstance(event, Ledger):
            yield Begun(event)
        elif isinstance(event, Piece):
            piece = Text(event.text, event.logprobs)
            if held is None:
                yield piece
                continue
            held.append(piece)
            if not may_be_calls(_text(held)):
                yield from held
                held = None
        elif isinstance(event, Done):
            yield from _end(event, held or [], tools)


def _end(done: Done, held: list[Text], tools: Tools | None) -> Iterator[Said]:
    calls = calls_in(_text(held), tools) if tools else []
    yield from calls or held
    yield End("tool_calls" if calls and done.reason == "stop" else done.reason, done.usage, done.stop)


def _text(pieces: Iterable[Text]) -> str:
    return "".join(piece.text for piece in pieces)
