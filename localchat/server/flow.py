"""From threads to the event loop: a generator that computes is read there, and closed when nobody reads any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from contextlib import closing
from typing import Generic, TypeVar

Item = TypeVar("Item")
Make = Callable[[Callable[[], bool]], Generator[Item]]
"""Makes a generator, which may ask whether what it makes is still wanted while it has nothing to give."""


class Flow(Generic[Item]):
    """The items of a generator that runs in a thread. Close it; the generator is then closed at its next item."""

    def __init__(self, make: Make[Item], threads: Executor, at_end: Callable[[], None]) -> None:
        """Start it; `at_end` is called in the loop when the thread is done."""
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item | Exception | None] = asyncio.Queue()
        self._is_closed = threading.Event()
        self._work = self._loop.run_in_executor(threads, self._run, make)
        self._at_end = at_end
        self._work.add_done_callback(self._finish)

    def close(self) -> None:
        """Nobody reads any more."""
        self._is_closed.set()

    def end(self, reason: Exception) -> None:
        """Whoever reads gets this, after what is there."""
        self._items.put_nowait(reason)
        self.close()

    async def items(self) -> AsyncIterator[Item]:
        """What comes. Raises what the generator raises."""
        while True:
            item = await self._items.get()
            if item is None:
                await self._work  # raises
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def _finish(self, work: asyncio.Future[None]) -> None:
        if not work.cancelled():
            work.exception()  # or else it is told that nobody has looked at it, where nobody reads any more
        self._items.put_nowait(None)
        self._at_end()

    def _run(self, make: Make[Item]) -> None:
        """The thread's work."""
        if self._is_closed.is_set():
            return
        with closing(make(lambda: not self._is_closed.is_set())) as items:
            for item in items:
                if self._is_closed.is_set():
                    return
                self._loop.call_soon_threadsafe(self._items.put_nowait, item)
