"""Predicted against actual memory: types, contexts, KV types and splits over devices, each loaded and used for real.

What is compared is what the plan says of the main memory with what the engine's process has after it has read a long
prompt, and what it says of each device with llama.cpp's own buffers there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import psutil
from bench_rows import PREDICTIONS, Row

from localchat.engine.events import Taken
from localchat.engine.process import EngineProcess
from localchat.gguf_file import read_header
from localchat.llama.placement import HOST
from localchat.plan.detect import detect
from localchat.plan.facts import subject_of
from localchat.plan.hardware import Hardware
from localchat.plan.layout import Option, is_possible, kv_bytes, on_host, partial, resident
from localchat.plan.lessons import NONE
from localchat.plan.plan import Plan, settled
from localchat.plan.rooms import rooms
from localchat.plan.rungs import work_keys
from localchat.plan.wish import Wish
from localchat.plan.works import Devices, Subject, find_works
from localchat.sampling import Sampling

MIB = 1 << 20
MEMORY = "memory: "
"""How the names of these rows begin."""
MEMORY_TYPES = ("Q8_0", "Q6_K", "Q4_K_M", "Q2_K")
CONTEXTS, KV_TYPES = (2048, 8192, 16384), ("f16", "q8_0")
PARTS_ON_DEVICES = (0.35, 0.7, 2.0)
"""How much of a model's weights and KV cache the devices are given room for, beside their work buffers."""
PROMPT_TOKENS = 1100
TOLERANCE, TOLERANCE_BYTES = 0.03, 150 * MIB


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the loads take place."""

    hardware: Hardware
    rpc: tuple[str, ...]


def memory_rows(models: Iterable[Path], rpc: Sequence[str]) -> Iterator[Row]:
    """A row for each memory of each load, in MiB; with addresses of RPC servers, loads over those as well."""
    for path in models:
        subject = subject_of(read_header(path))
        for context, kv_type in product(CONTEXTS, KV_TYPES):
            if context <= subject.shape.context and is_possible(subject.shape, kv_type):
                option = Option(subject.candidates[0], context, kv_type)
                yield from _loaded(path, subject, option, (), 0.0)
                for part in PARTS_ON_DEVICES if rpc and kv_type == "f16" else ():
                    yield from _loaded(path, subject, option, tuple(rpc), part)


def misses(rows: Sequence[Row]) -> list[Row]:
    """The rows whose prediction was not within 3 % or 150 MiB, or was too low by more than the page of a rounding."""
    return [row for row in rows if row.theirs is not None and _is_missed(row.ours * MIB, row.theirs * MIB)]


def _is_missed(predicted: float, actual: float) -> bool:
    is_near = abs(predicted - actual) <= max(TOLERANCE * actual, TOLERANCE_BYTES)
    return not is_near or actual > predicted + MIB


def _loaded(path: Path, subject: Subject, option: Option, rpc: tuple[str, ...], part: float) -> Iterator[Row]:
    """Load in this way, read a prompt, and compare."""
    machine = Machine(detect(path.parent, rpc=rpc), rpc)
    chosen = _plan(subject, option, machine, part)
    with (
        tempfile.TemporaryDirectory() as folder,
        EngineProcess(path, chosen.placement(rpc), Path(folder) / "engine.log") as engine,
    ):
        _read_a_prompt(engine)
        resident_bytes = psutil.Process(engine.pid).memory_info().rss
        taken = {one.name: one for one in engine.loaded.taken}
    split = f"{chosen.gpu_layers}/{chosen.layers + 1}" if rpc else "CPU"
    for predicted in chosen.predicted:
        use = predicted.use
        actual = resident_bytes if use.name == HOST else _buffers(taken[use.name])
        name = f"{MEMORY}{path.stem[:18]} {option.context:,} {option.kv_type} {split} {use.name}"
        yield Row(name, "MiB", use.total_bytes / MIB, actual / MIB, use.total_bytes / actual, PREDICTIONS)


def _plan(subject: Subject, option: Option, machine: Machine, part: float) -> Plan:
    """The plan that has just this option, with room for this part of it on the devices."""
    shape, hardware = subject.shape, machine.hardware
    names = tuple(room.name for room in rooms(hardware, Wish(), NONE).devices)
    keys = work_keys(shape, subject.candidates, len(names), Wish(context=option.context))
    works = find_works([subject], [keys], Devices(names, rpc=machine.rpc))[0]
    if not names:
        return settled(shape, option, on_host(shape, option, works), rooms(hardware, Wish(), NONE), hardware, Wish())
    work_bytes = max(max(work.devices_bytes.values(), default=0) for work in works.values())
    model_bytes = option.candidate.weights_bytes + shape.layers * kv_bytes(shape, option.context, option.kv_type)
    wish = Wish(gpu_memory_bytes=work_bytes + int(part * model_bytes) // len(names))
    spaces = rooms(hardware, wish, NONE)
    layout = resident(shape, option, spaces, works) or partial(shape, option, spaces, works)
    assert layout is not None, "there is room for a layer at least"
    return settled(shape, option, layout, spaces, hardware, wish)


def _buffers(taken: Taken) -> int:
    return taken.weights_bytes + taken.kv_bytes + taken.compute_bytes


def _read_a_prompt(engine: EngineProcess) -> None:
    tokens = engine.tokenize(["The whale swam on and the ship followed it. " * 200])[0][:PROMPT_TOKENS]
    with closing(engine.reply(tokens, Sampling(temperature=0, max_tokens=8), [])) as events:
        for _ in events:
            pass
