"""How much a client may take, in bytes, seconds and numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a server."""

    body_bytes: int = 4 << 20
    """Of a request; sixteen novels are more than any model here reads."""
    header_bytes: int = 32 << 10
    header_seconds: float = 10.0
    """From the first byte of a request, or the beginning of the connection, to the end of its headers."""
    body_seconds: float = 30.0
    idle_seconds: float = 30.0
    """Of a connection between two requests."""
    write_seconds: float = 30.0
    """In which a reader must have taken what was written last."""
    reply_seconds: float = 3600.0
    """Of a whole reply, its prompt too. What is still being written then ends as if it had become too long."""
    connections: int = 256
    replies: int = 16
    """That are written at once."""
    waiting: int = 32
    """Requests that wait for their turn; more are sent away."""
    grace_seconds: float = 30.0
    """After that time: what has not ended is ended with an error, and who has not read it in as long is cut off."""
    stop_seconds: float = 6.0
    """In which replies may end by themselves when the server is told to stop."""
