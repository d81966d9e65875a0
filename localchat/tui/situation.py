"""What is going on, as a value; and how each event changes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from localchat.chat import TurnEvent
from localchat.engine.events import Done, Loading, Piece, Reading, Waiting
from localchat.prompt.ledger import Ledger

Mood = Literal["idle", "ready", "busy", "broken"]


@dataclass(frozen=True, slots=True)
class Situation:
    """What is going on, as the status line and the title tell it."""

    state: str = "no model"
    mood: Mood = "idle"
    used_tokens: int = 0
    """Of the prompt."""
    reply_tokens: int = 0
    window_tokens: int = 0
    dropped_turns: int = 0
    tokens_per_second: float = 0.0
    first_token_seconds: float = 0.0
    pinned: int = 0
    """Messages that never leave the context."""
    guard: str = "off"


def after(now: Situation, event: TurnEvent) -> Situation:
    """The situation when this event has come."""
    match event:
        case Loading(fraction):
            return replace(now, state=f"loading {fraction:.0%}", mood="busy")
        case Ledger(window_tokens=window, used_tokens=used, dropped_turns=dropped):
            begun = replace(now, state="thinking", tokens_per_second=0.0, first_token_seconds=0.0)
            return replace(begun, window_tokens=window, used_tokens=used, reply_tokens=0, dropped_turns=dropped)
        case Waiting() if not now.reply_tokens:
            return replace(now, state="waiting")
        case Reading(done, total) if done < total:
            return replace(now, state=f"reading {done:,}/{total:,}")
        case Piece(tokens=tokens):
            return replace(now, reply_tokens=tokens)
        case Done(usage=usage):
            return replace(
                now,
                used_tokens=usage.prompt_tokens,
                reply_tokens=usage.completion_tokens,
                tokens_per_second=usage.tokens_per_second,
                first_token_seconds=usage.first_token_seconds,
            )
    return now
