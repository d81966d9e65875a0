"""What loading taught: for each load what had been predicted and what was taken, and which plans did not fit.

A device needs more than llama.cpp's buffers, how much depends on its driver: the plan for the next load adds what the
last ones took beyond the prediction. A plan that failed is not tried again while no more memory is free than then.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json, write_text
from localchat.paths import measured_folder
from localchat.plan.hardware import Hardware
from localchat.plan.lessons import Lessons
from localchat.plan.plan import Plan

KEPT = 300
LAST = 5
"""So many loads say what a device takes besides."""
CREDIBLE_BYTES = 1 << 30  # more than this was taken by another program at the same moment
FORGOTTEN_AFTER = timedelta(days=7)
MORE_FREE = 1.1  # with so much more memory than at the failure, it may be tried again

Outcome = Literal["planned", "loaded", "failed"]


@dataclass(frozen=True, slots=True)
class Part:
    """One memory in a load."""

    predicted_bytes: int
    actual_bytes: int | None = None
    free_bytes: int = 0
    """Before the load."""


@dataclass(frozen=True, slots=True)
class Load:
    """One time that a model was planned or loaded here."""

    model: str
    """sha256 of the model file."""
    outcome: Outcome
    context: int
    kv_type: str
    gpu_layers: int
    parts: Mapping[str, Part]
    short_of: str | None = None
    """The memory that was too small."""
    at: str = ""
    """ISO 8601, UTC."""
    build: str = ""
    """Version of llama-cpp-python."""


def remember(load: Load) -> None:
    """Keep a load. Nothing is lost but experience where it cannot be written."""
    dated = {
        **asdict(load),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "build": version("llama-cpp-python"),
    }
    _write([*(asdict(one) for one in loads()), dated])


def forget(load: Load) -> None:
    """Take back what was remembered last, if it is this."""
    known = loads()
    if known and replace(known[-1], at="", build="") == load:
        _write([asdict(one) for one in known[:-1]])


def loads() -> list[Load]:
    """All loads that are known, the oldest first; none where the file is damaged."""
    try:
        return [_load(fields) for fields in read_json(_file())["loads"]]
    except (BadFile, KeyError, TypeError, ValueError):
        return []


def load_of(model: str, plan: Plan, outcome: Outcome, actual: Mapping[str, int], short_of: str | None = None) -> Load:
    """A load by its plan; `actual` has the bytes that were taken of each memory, where that is known."""
    parts = {
        part.use.name: Part(part.use.total_bytes, actual.get(part.use.name), part.room.free_bytes)
        for part in plan.predicted
    }
    return Load(model, outcome, plan.context, plan.kv_type, plan.gpu_layers, parts, short_of)


def lessons(known: Sequence[Load], hardware: Hardware, model: str = "") -> Lessons:
    """What these loads, the oldest first, mean for a plan for this model file now."""
    same = [load for load in known if load.build == version("llama-cpp-python")]
    free = {device.name: device.free_bytes for device in hardware.devices}
    ceilings = {
        where: load.parts[where].predicted_bytes
        for load in same
        if (where := load.short_of) and where in load.parts
        if load.model == model and _still_holds(load, where, free, hardware)
    }
    return Lessons(_overheads(same), ceilings)


def _overheads(known: Sequence[Load]) -> dict[str, int]:
    beyond: dict[str, list[int]] = {}
    for load in known:
        for name, part in load.parts.items():
            if load.outcome == "loaded" and part.actual_bytes is not None:
                beyond.setdefault(name, []).append(part.actual_bytes - part.predicted_bytes)
    found = {name: int(statistics.median(counts[-LAST:])) for name, counts in beyond.items()}
    return {name: count for name, count in found.items() if 0 < count < CREDIBLE_BYTES}


def _still_holds(load: Load, where: str, free: Mapping[str, int], hardware: Hardware) -> bool:
    """Is there no more memory than when it failed, and was that not long ago?"""
    now = free.get(where, hardware.memory.available_bytes)
    is_recent = datetime.now(UTC) - datetime.fromisoformat(load.at) < FORGOTTEN_AFTER
    return load.outcome == "failed" and is_recent and now < MORE_FREE * load.parts[where].free_bytes


def _load(fields: Mapping[str, Any]) -> Load:
    """Raises TypeError and ValueError where these are not the fields of one."""
    if not isinstance(fields["parts"], dict):
        raise TypeError("a load has parts")
    parts = {name: Part(**part) for name, part in fields["parts"].items()}
    load = Load(**{**fields, "parts": parts})
    counts = [count for part in parts.values() for count in (part.predicted_bytes, part.free_bytes)]
    counts += [part.actual_bytes for part in parts.values() if part.actual_bytes is not None]
    if not all(type(count) is int for count in (*counts, load.context, load.gpu_layers)):
        raise TypeError("a load has counts")
    if not isinstance(load.short_of, str | None):
        raise TypeError("a memory has a name")
    if datetime.fromisoformat(load.at).tzinfo is None:
        raise ValueError("a time has its zone")
    return load


def _write(found: Sequence[Mapping[str, Any]]) -> None:
    with suppress(LocalchatError):
        write_text(_file(), json.dumps({"loads": found[-KEPT:]}, indent=1) + "\n")


def _file() -> Path:
    return measured_folder() / "loads.json"
