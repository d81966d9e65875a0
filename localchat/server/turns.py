"""Whose turn it is: so many at once, so many that wait, and clients one after the other, however much each asks."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from localchat.server.refusal import Refusal

USUAL_SECONDS = 5.0  # that a reply takes, as long as none was seen
LATEST = 0.2  # weight of the newest


class Turns:
    """The queue. Used within one event loop."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._limit = at_once, waiting
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        """Of each client who waits; the first of them is the next."""
        self._seconds = USUAL_SECONDS
        self.writing = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._lines.values()))

    async def take(self, client: str) -> None:
        """Wait for a turn, which `give_back` ends. Raises Refusal where too many wait already."""
        if self.writing < self._at_once and not self._lines:
            self.writing += 1
            return
        if self.waiting >= self._limit:
            raise Refusal(
                429, "too_many_requests", f"{self.waiting} requests are waiting already", "ask again later",
                wait_seconds=self._expected_seconds(),
            )  # fmt: skip
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(client, turn)
            raise

    def give_back(self, seconds: float) -> None:
        """A turn is over; it took so long."""
        self._seconds += LATEST * (seconds - self._seconds)
        self.writing -= 1
        self._call_next()

    def _call_next(self) -> None:
        """The client who was called last goes to the end."""
        while self._lines and self.writing < self._at_once:
            client, line = next(iter(self._lines.items()))
            turn = line.popleft()
            del self._lines[client]
            if line:
                self._lines[client] = line
            if not turn.done():  # else who waited has left, and has not been told yet
                self.writing += 1
                turn.set_result(None)

    def _leave(self, client: str, turn: asyncio.Future[None]) -> None:
        """Who waited does not wait any more; a turn that came just now goes to the next."""
        line = self._lines.get(client) or deque()
        if turn in line:
            line.remove(turn)
            if not line:
                del self._lines[client]
        elif not turn.cancelled():
            self.writing -= 1
            self._call_next()

    def _expected_seconds(self) -> int:
        return max(1, math.ceil(self._seconds * (self.waiting + 1) / self._at_once))
