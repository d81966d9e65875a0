"""The line above the input: what is going on, in words; how full the context is; how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from localchat.chat import TurnEvent
from localchat.engine.events import Done, Loading, Piece, Reading, Waiting
from localchat.prompt.ledger import Ledger
from localchat.text import clean

BAR_CELLS = 12
BUSY_CORES = 0.5  # of other programs: from here on they are felt
SEPARATOR = "  ·  "

Mood = Literal["idle", "ready", "busy", "broken"]
SIGNS: dict[Mood, tuple[str, str]] = {
    "idle": ("○", "$foreground 50%"),
    "ready": ("●", "$success"),
    "busy": ("◐", "$warning"),
    "broken": ("✖", "$error"),
}


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
    other_cores: float = 0.0
    """That other programs kept busy during the last reply."""


def after(now: Situation, event: TurnEvent) -> Situation:
    """The situation when this event has come."""
    match event:
        case Loading(fraction):
            return replace(now, state=f"loading {fraction:.0%}", mood="busy")
        case Ledger(window_tokens=window, used_tokens=used, dropped_turns=dropped):
            return replace(
                now, state="thinking", window_tokens=window, used_tokens=used, reply_tokens=0, dropped_turns=dropped
            )
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
                other_cores=usage.other_cores,
            )
    return now


class Status(Widget):
    """One line; on a narrow screen the end of it is left out, the state never."""

    situation = reactive(Situation())

    def render(self) -> Content:
        now = self.situation
        parts = [Content.assemble(SIGNS[now.mood], " ", (clean(now.state), "bold"))]
        if now.window_tokens:
            parts.append(_window(now))
        if now.tokens_per_second:
            parts.append(Content(f"{now.tokens_per_second:.1f} tokens/s"))
            parts.append(Content(f"first after {now.first_token_seconds:.1f} s"))
        if now.other_cores >= BUSY_CORES:
            parts.append(Content.styled(f"slowed: other programs use {now.other_cores:.1f} cores", "$warning"))
        return _fitting(parts, self.size.width)


def _fitting(parts: list[Content], width: int) -> Content:
    """As many of the parts as have room, at least the first."""
    line = parts[0]
    for part in parts[1:]:
        longer = Content(SEPARATOR).join((line, part))
        if longer.cell_length > width:
            break
        line = longer
    return line.truncate(width, ellipsis=True)


def _window(now: Situation) -> Content:
    used = now.used_tokens + now.reply_tokens
    filled = min(BAR_CELLS, round(BAR_CELLS * used / now.window_tokens))
    bar = (("━" * filled, "$primary"), ("━" * (BAR_CELLS - filled), "$foreground 20%"))
    dropped = f", {now.dropped_turns} oldest turns left out" if now.dropped_turns else ""
    return Content.assemble(*bar, f" {used:,} of {now.window_tokens:,}{dropped}")
