"""A model can write faster than a screen should be painted: pieces that come close together become one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from localchat.chat import TurnEvent
from localchat.engine.events import Piece

PAINT_SECONDS = 0.04


def paced(
    events: Iterable[TurnEvent], seconds: float = PAINT_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Iterator[TurnEvent]:
    """The same events, with pieces merged that come within `seconds` of the last one passed on."""
    held, passed_at = "", float("-inf")
    for event in events:
        if isinstance(event, Piece):
            held += event.text
            if clock() - passed_at < seconds:
                continue
        if held:
            yield Piece(held)
            held, passed_at = "", clock()
        if not isinstance(event, Piece):
            yield event
    if held:
        yield Piece(held)
