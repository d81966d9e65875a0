"""The door: every request passes here first. Access, size and deadline of the body, errors, counts, one line of log.

What is asked and answered is in neither the log nor the counts: a route, a status and a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from localchat.errors import LocalchatError
from localchat.server.access import WITH_BODY, Access, refusal
from localchat.server.limits import Limits
from localchat.server.metrics import Metrics
from localchat.server.refusal import LEFT_STATUS, Refusal, error_body, refusal_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("localchat.server")
SECURE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
UNKNOWN_ROUTE = "(unknown)"
LINGER_SECONDS = 2.0
BODY_HEADERS = (b"content-length", b"transfer-encoding")


class _Gone(Exception):
    """The client left before it had said all."""


class Gate:
    """An ASGI application in front of another."""

    def __init__(self, app: App, access: Callable[[], Access], limits: Limits, metrics: Metrics) -> None:
        """What is asked of a request is looked up for each: the port may be known only later."""
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, send)
        try:
            self._check(scope)
            body = await self._body(scope, receive)
            call.has_body = True
            await self._app(scope, _replayed(body, receive), call.send)
        except _Gone:
            call.status = call.status or LEFT_STATUS
        except LocalchatError as error:
            await call.refuse(refusal_of(error))
        finally:
            self._note(scope, call)
        await call.linger(receive)

    def _check(self, scope: Scope) -> None:
        """Raises Refusal."""
        found = refusal(self._access(), scope["method"], scope["path"], scope["headers"])
        if found:
            raise found

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises Refusal where it is too long or too slow."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(int(length) > self._limits.body_bytes for length in lengths):  # h11 lets only digits pass
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._read(receive)
        except TimeoutError as error:
            raise Refusal(408, "body_timeout", "the body of the request did not come in time") from error

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            body += message.get("body", b"")
            if len(body) > self._limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> Refusal:
        return Refusal(413, "request_too_large", f"the request is longer than {self._limits.body_bytes >> 20} MiB")

    def _note(self, scope: Scope, call: _Call) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        method = scope["method"] if scope["method"] in (*WITH_BODY, "GET", "HEAD", "DELETE", "OPTIONS") else "?"
        seconds = time.perf_counter() - call.started
        self._metrics.answered(route, call.status, seconds)
        LOG.info("%s %s %d %.3f s %s", method, route, call.status, seconds, call.identity)


class _Call:
    """One request and what was answered."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.status = 0
        self.identity = f"req_{secrets.token_hex(8)}"
        self.started = time.perf_counter()
        self.has_body = not any(name in BODY_HEADERS for name, _ in scope["headers"])
        """Did all that the client says come in? Else the connection cannot be used again."""
        self._is_open = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            identity = (b"x-request-id", self.identity.encode())
            message["headers"] = [*message.get("headers", ()), *SECURE, identity]
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        if self.status:
            return  # an answer has begun, and says itself how it ends
        body = json.dumps(error_body(self._scope["path"], refusal)).encode()
        headers = {**refusal.headers, "content-type": "application/json", "content-length": str(len(body))}
        if not self.has_body:
            headers["connection"] = "close"
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": body, "more_body": not self.has_body})
        self._is_open = not self.has_body

    async def linger(self, receive: Receive) -> None:
        """Hear the rest of what was refused: a connection that is closed over it is reset, and the refusal is lost."""
        if not self._is_open:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        await self.send({"type": "http.response.body", "body": b""})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, and then what really comes: that the client leaves."""
    is_told = False

    async def replay() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
