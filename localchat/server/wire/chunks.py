"""What OpenAI's two streams of chunks have in common."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from localchat.server.answering import Frame, event
from localchat.server.refusal import Refusal, openai_error
from localchat.server.wire.tally import Tally

DONE = b"data: [DONE]\n\n"


class Chunks:
    """Chunks with the same head, which end with the counts."""

    def __init__(self, model: str, identity: str, kind: str, *, tells_usage: bool) -> None:
        self._tells_usage, self._tally = tells_usage, Tally()
        self._head = {
            "id": f"{identity}-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model,
        }  # fmt: skip

    def begin(self) -> Iterator[Frame]:
        """Nothing: the first chunk of each choice says that it begins."""
        yield from ()

    def finish(self) -> Iterator[Frame]:
        """The counts, where they are wanted."""
        if self._tells_usage:
            yield {**self._head, "choices": [], "usage": self._tally.openai()}

    def pack(self, frame: Frame) -> bytes:
        """A chunk as an event."""
        return event(frame)

    def pack_error(self, refusal: Refusal) -> bytes:
        """An error in the place of the end."""
        return event(openai_error(refusal))

    def pack_end(self) -> bytes:
        """The end."""
        return DONE
