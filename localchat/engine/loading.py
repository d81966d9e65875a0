"""A model file becomes a model in memory, and what it took. Runs in the engine's process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from localchat.engine.events import Event, Loaded, Taken
from localchat.engine.schedule import Schedule
from localchat.engine.sessions import Sessions
from localchat.engine.store import Store
from localchat.llama.context import Context
from localchat.llama.devices import list_devices
from localchat.llama.log import LOG
from localchat.llama.model import Model, start
from localchat.llama.placement import Placement

SAMPLING_KEYS = {  # metadata of the model file: field of Sampling and its type
    "general.sampling.temp": ("temperature", float),
    "general.sampling.top_k": ("top_k", int),
    "general.sampling.top_p": ("top_p", float),
    "general.sampling.min_p": ("min_p", float),
    "general.sampling.penalty_repeat": ("repeat_penalty", float),
}


def load(
    path: Path,
    placement: Placement,
    store: Store,
    report: Callable[[float], None],
    tell: Callable[[int, Event], None] | None = None,
) -> tuple[Loaded, Model, Schedule]:
    """Load the model and make its context; `report` hears fractions, `tell` is the schedule's.

    Raises LocalchatError where llama.cpp refuses, NoMemory where memory does not suffice.
    """
    start(placement.rpc)
    before = _free_bytes(placement.devices)
    model = Model(path, placement, report)
    context = Context(model, placement)
    after = _free_bytes(placement.devices)
    *devices, host = LOG.buffers(placement.devices)
    taken = [
        Taken(
            found.device,
            found.weights_bytes,
            found.kv_bytes,
            found.compute_bytes,
            before[found.device] - after[found.device],
        )
        for found in devices
    ]
    # The host's work buffers are touched only when the first prompt is read.
    resident = psutil.Process().memory_info().rss + host.compute_bytes
    taken.append(Taken(host.device, host.weights_bytes, host.kv_bytes, host.compute_bytes, resident))
    return _facts(model, context.tokens, tuple(taken)), model, Schedule(model, context, Sessions(store), tell)


def _free_bytes(names: Sequence[str]) -> dict[str, int]:
    """Free memory of the named devices, as the backends say."""
    return {device.name: device.free_bytes for device in list_devices() if device.name in names} if names else {}


def _facts(model: Model, context: int, taken: tuple[Taken, ...]) -> Loaded:
    return Loaded(
        context=context,
        layers=model.layers,
        template=model.metadata("tokenizer.chat_template"),
        bos=model.token_text("bos"),
        eos=model.token_text("eos"),
        adds_bos=model.bos() if model.adds_bos else None,
        adds_eos=model.eos() if model.adds_eos else None,
        special_tokens=model.special_tokens(),
        sampling=_sampling(model.metadata),
        taken=taken,
    )


def _sampling(metadata: Callable[[str], str | None]) -> dict[str, float]:
    """What the authors recommend; a value that is no number does not count."""
    found: dict[str, float] = {}
    for key, (field, kind) in SAMPLING_KEYS.items():
        try:
            found[field] = kind(metadata(key) or "")
        except ValueError:
            continue
    return found
