"""Events can come faster than a screen should be painted: close ones become one, or only the last counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from localchat.chat import TurnEvent
from localchat.engine.events import Piece
from localchat.pull.events import Progress, PullEvent

PAINT_SECONDS = 0.04


def paced(
    events: Iterable[TurnEvent], seconds: float = PAINT_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Iterator[TurnEvent]:
    """The same events, with pieces merged that come within `seconds` of the last one passed on."""
    held, tokens, passed_at = "", 0, float("-inf")
    for event in events:
        if isinstance(event, Piece):
            held, tokens = held + event.text, event.tokens
            if clock() - passed_at < seconds:
                continue
        if held:
            yield Piece(held, tokens)
            held, passed_at = "", clock()
        if not isinstance(event, Piece):
            yield event
    if held:
        yield Piece(held, tokens)


def seldom(
    events: Iterable[PullEvent], seconds: float = PAINT_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Iterator[PullEvent]:
    """The same events without progress that comes within `seconds` of the last one passed on; never without an end."""
    passed_at = float("-inf")
    for event in events:
        if isinstance(event, Progress):
            if clock() - passed_at < seconds and event.done_bytes < event.total_bytes:
                continue
            passed_at = clock()
        yield event
