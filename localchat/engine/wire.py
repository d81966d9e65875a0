"""Frames between the engine's process and its parent: one JSON object a line, never a pickle."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from localchat.engine.events import (
    Done,
    Embedded,
    Event,
    Loaded,
    Loading,
    Piece,
    Reading,
    Taken,
    TokenProbability,
    Usage,
    Waiting,
)
from localchat.errors import LocalchatError, NoMemory

FRAME_LIMIT_BYTES = 64 << 20
LOG = "{log}"  # in a hint from the child: the path of its log, which only the parent knows
ENDS: tuple[type[Done], type[Embedded]] = (Done, Embedded)
"""One of these is the last."""
EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Loading, Waiting, Reading, Piece, *ENDS)}


def pack(frame: Mapping[str, Any]) -> bytes:
    """A frame as one line. Lone surrogates, which are no text, travel escaped."""
    return json.dumps(frame, separators=(",", ":")).encode("ascii") + b"\n"


def unpack(line: bytes) -> dict[str, Any]:
    """The frame in a line. Raises ValueError where the line is not a whole frame."""
    frame = json.loads(line)
    if not isinstance(frame, dict):
        raise ValueError("a frame is an object")
    return frame


def event_frame(event: Event) -> dict[str, Any]:
    """An event as a frame."""
    frame: dict[str, Any] = {"event": type(event).__name__}
    frame |= {field.name: getattr(event, field.name) for field in fields(event)}  # `asdict` copies all of it
    if isinstance(event, Embedded):
        frame["vector"] = b64encode(event.vector).decode("ascii")
    elif isinstance(event, Done):
        frame["usage"] = asdict(event.usage)
    elif isinstance(event, Piece):
        frame["logprobs"] = [asdict(probability) for probability in event.logprobs]
    return frame


def frame_event(frame: Mapping[str, Any]) -> Event:
    """The event in a frame. Raises KeyError and TypeError for other frames."""
    kind = EVENTS[frame["event"]]
    values = {key: value for key, value in frame.items() if key not in ("event", "id")}
    if kind is Done:
        values["usage"] = Usage(**values["usage"])
    if kind is Embedded:
        values["vector"] = b64decode(values["vector"], validate=True)
    if kind is Piece:
        values["logprobs"] = tuple(_probability(**found) for found in values.get("logprobs", ()))
    return kind(**values)


def _probability(text: str, logprob: float, likeliest: Sequence[Sequence[Any]]) -> TokenProbability:
    return TokenProbability(text, logprob, tuple((other, value) for other, value in likeliest))


def frame_loaded(frame: Mapping[str, Any]) -> Loaded:
    """The facts of a loaded model in a frame."""
    return Loaded(**{**frame, "taken": tuple(Taken(**taken) for taken in frame["taken"])})


def error_frame(error: LocalchatError) -> dict[str, Any]:
    """An error of the child as a frame."""
    where = error.where if isinstance(error, NoMemory) else None
    return {"error": str(error), "hint": error.hint, "short_of": where}


def frame_error(frame: Mapping[str, Any], log: str) -> LocalchatError:
    """The error in a frame; `log` is the path that only the parent knows."""
    message, hint = frame["error"], frame["hint"].replace(LOG, log)
    return NoMemory(message, hint, frame["short_of"]) if frame["short_of"] else LocalchatError(message, hint)
