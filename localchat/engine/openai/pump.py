"""Asynchronous work, read like a generator: whoever stops reading cancels the work, in whatever it waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

WAIT_SECONDS = 0.15  # after which a reader may look whether it is to stop

Put = Callable[[T], None]


def pumped(work: Callable[[Put[T]], Coroutine[Any, Any, None]]) -> Generator[T | None]:
    """What the work puts out, in order, and None whenever nothing came for a while. Raises what the work raises.

    The work goes on only while it is read, in the thread that reads it.
    """
    loop = asyncio.new_event_loop()
    ready: deque[T] = deque()
    news = asyncio.Event()

    def put(value: T) -> None:
        ready.append(value)
        news.set()

    task = loop.create_task(work(put))
    task.add_done_callback(lambda _: news.set())
    try:
        while not task.done() or ready:
            if ready:
                yield ready.popleft()
            elif not loop.run_until_complete(_heard(news)):
                yield None
        task.result()
    finally:
        _end(loop, task)


async def _heard(news: asyncio.Event) -> bool:
    """Is there something new within a while?"""
    try:
        await asyncio.wait_for(news.wait(), WAIT_SECONDS)
    except TimeoutError:
        return False
    news.clear()
    return True


def _end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    try:
        task.cancel()
        loop.run_until_complete(asyncio.wait({task}))
        if not task.cancelled():
            task.exception()  # looked at, so that it is not complained of: a reader who left wants to hear of nothing
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
