"""uvicorn's protocol with deadlines: for headers, and for readers that do not read. The body's is the gate's.

That of a whole reply is in `answering`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from localchat.server.limits import Limits


def protocol(limits: Limits) -> type[H11Protocol]:
    """The class of a connection with these limits."""

    class Timed(_Timed):
        header_seconds, write_seconds = limits.header_seconds, limits.write_seconds

    return Timed


class _Timed(H11Protocol):
    """A connection that is cut off where nothing comes or goes for too long."""

    header_seconds = write_seconds = 0.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._header_alarm: asyncio.TimerHandle | None = None
        self._write_alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(0)  # or else a rest that nobody reads would keep the connection for ever
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unwatch_headers()  # between two requests uvicorn's own alarm is set
        if self.conn.trailing_data[0]:
            self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_headers()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_alarm = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_alarm:
            self._write_alarm.cancel()

    def _watch_headers(self) -> None:
        """Set the alarm where headers are waited for, and it is not set."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._unwatch_headers()
        elif self._header_alarm is None:
            self._header_alarm = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _unwatch_headers(self) -> None:
        if self._header_alarm:
            self._header_alarm.cancel()
        self._header_alarm = None
