"""uvicorn, set up: one protocol, no words of its own, and an end that everybody is told of."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from localchat.errors import LocalchatError
from localchat.server.deadlines import protocol
from localchat.server.gate import App
from localchat.server.limits import Limits

TOO_LATE_SECONDS = 3  # after the replies were ended, for what still does not end
BACKLOG = 128


class Listener(uvicorn.Server):
    """A server that says good-bye."""

    def __init__(self, app: App, limits: Limits, end: Callable[[], None]) -> None:
        """`end` is called within the loop when the time for replies to end by themselves is over."""
        super().__init__(_config(app, limits))
        self._end, self._grace_seconds = end, limits.stop_seconds

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes; one is heard before there is a loop that it could break."""
        with self.capture_signals():
            super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends it in good order, the second at once."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        alarm = asyncio.get_running_loop().call_later(self._grace_seconds, self._end)
        await super().shutdown(sockets)
        alarm.cancel()


def listening(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 is any. Raises LocalchatError where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LocalchatError(
            f"the server cannot listen at {host}, port {port}: {reason}",
            "choose another with --port, or end what uses it",
        ) from error


def _config(app: App, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol(limits),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=int(limits.stop_seconds) + TOO_LATE_SECONDS,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
