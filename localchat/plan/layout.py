"""Which layers go where, and what that takes of each memory: arithmetic alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from localchat.llama.dry_run import Work
from localchat.llama.placement import HOST, Share
from localchat.plan.rooms import Rooms
from localchat.plan.shape import Candidate, Kinds, Shape

# Bytes of one number of the KV cache; q8_0 keeps 32 numbers and a scale in 34 bytes.
KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32}
KV_BLOCK = {"f16": 1, "q8_0": 32}
CELLS = 256  # llama.cpp rounds a context up to whole blocks of so many tokens
# What a process of ours has in memory beside the model: the interpreter, libraries, the vocabulary. Measured on Linux
# by tools/benchmark.py memory: up to 85 MiB, after prompts of whole batches, which touch all of the work buffers.
PROCESS_BYTES = 88 << 20
BATCH = 512  # tokens of a prompt that are read at once
STEPS = 64  # how finely devices are filled evenly

Spread = Literal["host", "one", "all", "split", "experts"]
"""All on the host; all on one device; all over several; some layers on the host; all on devices but some experts."""


@dataclass(frozen=True, slots=True)
class Option:
    """A way in which a model could be had and run."""

    candidate: Candidate
    context: int
    kv_type: str


WorkKey = tuple[str, Spread, int, str]
Works = Mapping[WorkKey, Work]
"""Dry runs, by type, spread, context and KV type."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a model takes of one memory."""

    name: str
    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    """Work buffers, and on the host the process itself."""
    layers: int = 0
    active: Kinds = field(default_factory=dict)
    """Weights that are read for each token, by type."""

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """A model laid out over the memories of a machine."""

    spread: Spread
    shares: tuple[Share, ...]
    experts_on_host: int
    uses: tuple[Use, ...]
    """Of each device with a share, in that order, and last of the main memory."""
    copies_weights: bool
    """Would a mapped file lie in memory beside a copy of it?"""

    def fits(self, rooms: Rooms) -> bool:
        """Does every memory have room for its part, and the main memory for what is it under another name?"""
        limits = {room.name: room for room in rooms.devices}
        *devices, host = self.uses
        if any(use.total_bytes > limits[use.name].limit_bytes for use in devices):
            return False
        shared = sum(use.total_bytes for use in devices if limits[use.name].is_shared)
        return host.total_bytes + shared <= rooms.host.limit_bytes


def kv_bytes(shape: Shape, context: int, kv_type: str) -> int:
    """Bytes of one layer's KV cache: a key and a value for each KV head, dimension and token."""
    cells = -(-context // CELLS) * CELLS
    return int(2 * shape.kv_heads * shape.head_dim * cells * KV_BYTES[kv_type])


def is_possible(shape: Shape, kv_type: str) -> bool:
    """Can llama.cpp keep the cache in this type?"""
    return shape.head_dim % KV_BLOCK[kv_type] == 0


def on_host(shape: Shape, option: Option, works: Works) -> Layout:
    """Everything in main memory."""
    return _layout(shape, option, works, "host", (), 0)


def in_memory(shape: Shape, option: Option, rooms: Rooms, works: Works) -> Layout | None:
    """Everything in main memory, where it has room for that."""
    layout = on_host(shape, option, works)
    return layout if layout.fits(rooms) else None


def resident(shape: Shape, option: Option, rooms: Rooms, works: Works) -> Layout | None:
    """Everything in the fastest memory: one device, else all together; main memory where there is no device."""
    if not rooms.devices:
        return in_memory(shape, option, rooms, works)
    whole = shape.layers + 1
    for room in sorted(rooms.devices, key=lambda room: -room.limit_bytes):
        layout = _layout(shape, option, works, "one", (Share(room.name, whole),), 0)
        if layout.fits(rooms):
            return layout
    return _filled(shape, option, rooms, works, "all", whole, 0) if len(rooms.devices) > 1 else None


def partial(shape: Shape, option: Option, rooms: Rooms, works: Works) -> Layout | None:
    """As much as possible on the devices and the rest in main memory: of a mixture of experts, experts leave first.

    None where the devices have no room for any layer.
    """
    for spread, layers, experts in _retreats(shape) if rooms.devices else ():
        layout = _filled(shape, option, rooms, works, spread, layers, experts)
        if layout is not None:
            return layout
    return None


def _retreats(shape: Shape) -> Iterator[tuple[Spread, int, int]]:
    """Spread, layers on devices and layers whose experts stay on the host, from the most on devices to the least."""
    if shape.experts:
        yield from (("experts", shape.layers + 1, experts) for experts in range(1, shape.layers + 1))
    yield from (("split", layers, shape.layers if shape.experts else 0) for layers in range(shape.layers, 0, -1))


def _filled(
    shape: Shape, option: Option, rooms: Rooms, works: Works, spread: Spread, layers: int, experts: int
) -> Layout | None:
    """The last `layers` over the devices, each filled to the same part as far as whole layers allow."""
    work = works[option.candidate.quant, spread, option.context, option.kv_type]
    needs = [sum(_layer(shape, option, number, experts)) for number in range(shape.layers + 1 - layers, shape.layers)]
    needs.append(_output_bytes(option.candidate))
    budgets = [room.limit_bytes - _work_bytes(work, room.name) for room in rooms.devices]

    def laid_out(counts: Sequence[int]) -> Layout:
        shares = tuple(Share(room.name, count) for room, count in zip(rooms.devices, counts, strict=True) if count)
        return _layout(shape, option, works, spread, shares, experts)

    fullest = _counts(needs, budgets)
    # The main memory has the same part of it however the devices are filled.
    if fullest is None or laid_out(fullest).uses[-1].total_bytes > rooms.host.limit_bytes:
        return None
    for step in range(1 if len(budgets) > 1 else STEPS, STEPS + 1):
        counts = _counts(needs, [budget * step // STEPS for budget in budgets])
        if counts is not None and (layout := laid_out(counts)).fits(rooms):
            return layout
    return None


def _counts(needs: Sequence[int], budgets: Sequence[int]) -> list[int] | None:
    """How many of these, in their order, each budget takes; None where they do not all go in."""
    counts, number = [], 0
    for budget in budgets:
        first = number
        while number < len(needs) and needs[number] <= budget:
            budget -= needs[number]
            number += 1
        counts.append(number - first)
    return counts if number == len(needs) else None


def _layer(shape: Shape, option: Option, number: int, experts_on_host: int) -> tuple[int, int]:
    """Bytes of a layer on the device that has it: weights and KV cache."""
    candidate = option.candidate
    experts = candidate.expert_bytes[number] if number >= experts_on_host else 0
    return candidate.layer_bytes[number] + experts, kv_bytes(shape, option.context, option.kv_type)


def _output_bytes(candidate: Candidate) -> int:
    return candidate.output_bytes + (candidate.embedding_bytes if candidate.is_tied else 0)


def _work_bytes(work: Work, device: str) -> int:
    """Work buffers of a device; of one that was not there at the dry run, those of the largest that was."""
    return work.devices_bytes.get(device, max(work.devices_bytes.values(), default=work.host_bytes))


def _layout(
    shape: Shape, option: Option, works: Works, spread: Spread, shares: tuple[Share, ...], experts: int
) -> Layout:
    candidate = option.candidate
    work = works[candidate.quant, spread, option.context, option.kv_type]
    first = shape.layers + 1 - sum(share.layers for share in shares)
    uses, start = [], first
    for share in shares:
        span = range(start, start + share.layers)
        uses.append(_use(shape, option, share.device, span, _work_bytes(work, share.device), experts))
        start += share.layers
    host = _use(shape, option, HOST, range(first if shares else shape.layers + 1), work.host_bytes + PROCESS_BYTES, 0)
    for number in range(first, experts) if shares else ():  # their layers are on devices, they are not
        active = Counter(host.active) + _active(shape, candidate.expert_kinds[number])
        kept = host.weights_bytes + candidate.expert_bytes[number]
        host = replace(host, weights_bytes=kept, active=active)
    host = replace(host, weights_bytes=host.weights_bytes + candidate.embedding_bytes)
    return Layout(spread, shares, experts, (*uses, host), work.copies_weights)


def _use(shape: Shape, option: Option, name: str, span: range, work_bytes: int, experts_on_host: int) -> Use:
    """What layers of this span take together; the number behind the last layer means the output."""
    candidate, layers = option.candidate, [number for number in span if number < shape.layers]
    weights = kv = 0
    active: Counter[str] = Counter()
    for number in layers:
        taken, cache = _layer(shape, option, number, experts_on_host)
        weights, kv = weights + taken, kv + cache
        active.update(candidate.layer_kinds[number])
        if number >= experts_on_host:
            active.update(_active(shape, candidate.expert_kinds[number]))
    if shape.layers in span:
        # On the host, an embedding that serves as the output is there already.
        weights += candidate.output_bytes if name == HOST else _output_bytes(candidate)
        active.update(candidate.output_kinds)
    return Use(name, weights, kv, work_bytes, len(layers), active)


def _active(shape: Shape, experts: Kinds) -> Counter[str]:
    """Bytes of experts that are read for one token; all where a header does not say how many there are."""
    of = max(1, shape.experts)
    return Counter({kind: count * (shape.experts_used or of) // of for kind, count in experts.items()})
