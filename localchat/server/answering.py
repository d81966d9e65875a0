"""From a request to its answer: a turn is waited for, the reply is computed in a thread, its frames are written.

A stream and a whole answer are the same frames: the one sends each, the other folds them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from localchat.engine.events import Embedded, Event
from localchat.errors import LocalchatError
from localchat.server.asking import Ask, count, replies
from localchat.server.embedding import Texts, vectors
from localchat.server.flow import Flow, Make
from localchat.server.limits import Limits
from localchat.server.metrics import Metrics
from localchat.server.models import Models, Served
from localchat.server.refusal import Refusal, left, refusal_of
from localchat.server.said import End, Said
from localchat.server.turns import Turns
from localchat.text import duration

Frame = dict[str, Any]
Item = TypeVar("Item")
STOPPING = Refusal(503, "stopping", "the server is stopping")


class Wire(Protocol):
    """How a protocol tells a reply."""

    def begin(self) -> Iterable[Frame]:
        """What comes first."""

    def take(self, choice: int, what: Said) -> Iterable[Frame]:
        """What tells this."""

    def finish(self) -> Iterable[Frame]:
        """What comes last."""

    def whole(self, frames: Iterable[Frame]) -> Frame:
        """The answer that all of these are."""

    def pack(self, frame: Frame) -> bytes:
        """A frame as an event of a stream."""

    def pack_error(self, refusal: Refusal) -> bytes:
        """What ends a stream that fails."""

    def pack_end(self) -> bytes:
        """What ends a stream that does not."""


class Answering:
    """All replies of one server. Made before its event loop; used within it."""

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self.models, self.metrics, self._limits = models, metrics, limits
        self.turns = Turns(limits.replies, limits.waiting)
        self._threads = ThreadPoolExecutor(limits.replies, thread_name_prefix="reply")
        self._flows: set[Flow[Any]] = set()
        self._is_ending = False

    async def answer(
        self, request: Request, client: str, served: Served, ask: Ask, wire: Wire, *, is_stream: bool
    ) -> Response:
        """The answer to a request, as a stream or whole. Raises LocalchatError where there is none."""
        make = partial(replies, self.models, served, ask, self._limits.reply_seconds)
        flow, items = await _attended(request, self._begun(client, make))
        frames = _frames(wire, self._counted(items))
        if is_stream:
            return EventStream(frames, wire, flow.close, self._limits.reply_seconds + 2 * self._limits.grace_seconds)
        try:
            return JSONResponse(await _attended(request, _folded(frames, wire)))
        finally:
            flow.close()

    async def tokens(self, request: Request, client: str, served: Served, ask: Ask) -> int:
        """How many tokens the prompt of a request has."""
        flow, items = await _attended(request, self._begun(client, partial(count, self.models, served, ask)))
        flow.close()
        return await anext(items)

    async def vectors(
        self, request: Request, client: str, served: Served, texts: Texts, dimensions: int | None
    ) -> list[Embedded]:
        """Those of these texts, shortened to so many dimensions. Raises LocalchatError."""
        flow, items = await _attended(
            request, self._begun(client, partial(vectors, self.models, served, texts, dimensions))
        )
        try:
            return await _attended(request, self._embedded(items))
        finally:
            flow.close()

    def end(self) -> None:
        """End the replies that are being written; each says so to its reader."""
        self._is_ending = True
        for flow in list(self._flows):
            flow.end(STOPPING)

    def close(self) -> None:
        """End everything, engines too."""
        self.models.close()
        self._threads.shutdown(cancel_futures=True)

    async def _begun(self, client: str, make: Make[Item]) -> tuple[Flow[Item], AsyncIterator[Item]]:
        """A reply whose first item has come: what was wrong with the request has been raised by then."""
        await self.turns.take(client)
        started = time.monotonic()

        def at_end() -> None:
            alarm.cancel()
            self._flows.discard(flow)
            self.turns.give_back(time.monotonic() - started)

        flow = Flow(make, self._threads, at_end)
        alarm = self._alarm(flow)
        self._flows.add(flow)
        if self._is_ending:
            flow.end(STOPPING)
        items = flow.items()
        try:
            first = await anext(items)
        except BaseException:
            flow.close()
            raise
        return flow, _with_first(first, items)

    def _alarm(self, flow: Flow[Item]) -> asyncio.TimerHandle:
        """Ends what does not end by itself when its time is over."""
        seconds = self._limits.reply_seconds
        late = Refusal(504, "reply_timeout", f"the reply was not complete after {duration(seconds)}", "ask for less")
        return asyncio.get_running_loop().call_later(seconds + self._limits.grace_seconds, flow.end, late)

    async def _counted(self, items: AsyncIterator[tuple[int, Said]]) -> AsyncIterator[tuple[int, Said]]:
        """The same; what was written is counted."""
        is_whole = False
        try:
            async for choice, what in items:
                if isinstance(what, End):
                    self.metrics.replied(what.reason, what.usage)
                yield choice, what
            is_whole = True
        finally:
            if not is_whole:
                self.metrics.cut()

    async def _embedded(self, items: AsyncIterator[Event]) -> list[Embedded]:
        """The vectors among these; each is counted."""
        found = []
        async for item in items:
            if isinstance(item, Embedded):
                self.metrics.embedded(item)
                found.append(item)
        return found


class EventStream(Response):
    """Frames as server-sent events. A reader that leaves ends the reply; one who reads too slowly is cut off."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[Frame], wire: Wire, close: Callable[[], None], seconds: float) -> None:
        super().__init__()
        self._frames, self._wire, self._close, self._seconds = frames, wire, close, seconds
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            with suppress(TimeoutError):  # uvicorn ends a connection on which an answer has no end
                async with asyncio.timeout(self._seconds):
                    await _unless_gone(receive, self._write(send))
        finally:
            self._close()

    async def _write(self, send: Send) -> None:
        async def write(data: bytes, *, is_more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": is_more})

        try:
            async for frame in self._frames:
                await write(self._wire.pack(frame))
            await write(self._wire.pack_end(), is_more=False)
        except LocalchatError as error:
            await write(self._wire.pack_error(refusal_of(error)), is_more=False)


def event(data: Frame, name: str = "") -> bytes:
    """A server-sent event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode("utf-8", "replace")


async def _frames(wire: Wire, items: AsyncIterator[tuple[int, Said]]) -> AsyncIterator[Frame]:
    for frame in wire.begin():
        yield frame
    async for choice, what in items:
        for frame in wire.take(choice, what):
            yield frame
    for frame in wire.finish():
        yield frame


async def _folded(frames: AsyncIterator[Frame], wire: Wire) -> Frame:
    return wire.whole([frame async for frame in frames])


async def _with_first(first: Item, others: AsyncIterator[Item]) -> AsyncIterator[Item]:
    yield first
    async for item in others:
        yield item


async def _attended(request: Request, work: Coroutine[Any, Any, Item]) -> Item:
    """What the work returns; it is cancelled when the client leaves. Raises Refusal then, which nobody reads."""
    done = await _unless_gone(request.receive, work)
    if done is None:
        raise left()
    return done.result()


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, Item]) -> asyncio.Task[Item] | None:
    """The work when it is done; None where the client left before. Raises what the work raises."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return None
        working.result()
        return working
    finally:
        for task in (working, leaving):
            await _cancelled(task)


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, LocalchatError):
            await task
