"""Server-sent events, cut out of the bytes as they come; a server cannot make this hold more than a line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from localchat.errors import LocalchatError

LINE_LIMIT_BYTES = 1 << 20
TOTAL_LIMIT_BYTES = 256 << 20  # the longest replies there are take a tenth of it
FIELDS = ("data", "error")  # older llama-servers send errors in a field of their own


class EventStream:
    """Takes bytes in pieces of any size and gives the data of the events that they complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._held_bytes = 0
        self._total_bytes = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """Data of the events that end in these bytes. Raises LocalchatError where the limits are passed."""
        self._total_bytes += len(piece)
        if self._total_bytes > TOTAL_LIMIT_BYTES:
            raise LocalchatError("the server's reply does not end", "ask again, or limit it with --max-tokens")
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LINE_LIMIT_BYTES:
            raise _too_long()
        for line in lines:
            yield from self._take(line.removesuffix(b"\r"))

    def _take(self, line: bytes) -> Iterator[str]:
        """Keep the data of a line; an empty line ends the event. Comments and other fields are passed over."""
        if not line:
            if self._data:
                yield "\n".join(self._data)
            self._data, self._held_bytes = [], 0
            return
        self._held_bytes += len(line)
        if self._held_bytes > LINE_LIMIT_BYTES:
            raise _too_long()
        field, _, value = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").partition(":")
        if field in FIELDS:
            self._data.append(value.removeprefix(" "))


def _too_long() -> LocalchatError:
    return LocalchatError("the server sent a line that is longer than any piece of a reply", "check what runs there")
