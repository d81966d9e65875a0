"""The choice of type, context, KV type and placement, made together; a pure function of facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from localchat.llama.placement import Placement
from localchat.llama.rates import Rates
from localchat.plan.hardware import Hardware
from localchat.plan.layout import BATCH, Layout, Option, Use, Works, in_memory, partial, resident
from localchat.plan.lessons import NONE, Lessons
from localchat.plan.refusal import check_wish, refusal
from localchat.plan.rooms import Room, Rooms, rooms
from localchat.plan.rungs import contexts, kv_types, rungs
from localchat.plan.shape import Candidate, Shape
from localchat.plan.speed import known_rates, tokens_per_second
from localchat.plan.wish import Wish

UNKNOWN: Mapping[str, Rates] = {}

Fits = Literal["gpu", "memory", "partial"]
WAYS = {"resident": resident, "partial": partial, "host": in_memory}


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model will take of one memory, and what there is."""

    use: Use
    room: Room

    @property
    def left_bytes(self) -> int:
        """What could still be used beside the margin."""
        return self.room.limit_bytes - self.use.total_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is made and loaded on one machine."""

    quant: str
    weights_bytes: int
    bits_per_weight: float
    context: int
    kv_type: str
    layers: int
    threads: int
    layout: Layout
    predicted: tuple[Predicted, ...]
    """Each device that is used, and last the main memory."""
    tokens_per_second: float | None
    """Predicted rate of writing at the beginning of a conversation; None where the memory's speed is not known."""
    reasons: tuple[str, ...] = ()
    batch: int = BATCH

    @property
    def gpu_layers(self) -> int:
        """Layers on devices; the output counts as one more."""
        return sum(share.layers for share in self.layout.shares)

    @property
    def fits(self) -> Fits:
        """Where the model is: on GPUs with all its layers, in main memory, or on both."""
        if not self.layout.shares:
            return "memory"
        return "gpu" if self.gpu_layers > self.layers and not self.layout.experts_on_host else "partial"

    @property
    def total_bytes(self) -> int:
        """Memory that the loaded model takes everywhere together."""
        return sum(part.use.total_bytes for part in self.predicted)

    @property
    def is_mapped(self) -> bool:
        """Is the file mapped rather than copied into memory?

        Not where the CPU makes a copy in an order of its own, which would double it; nor where only some of the layers
        are on the CPU, because between them the map holds the others too.
        """
        return self.fits != "partial" and not self.layout.copies_weights

    def placement(self, rpc: Sequence[str] = ()) -> Placement:
        """How llama.cpp is told to load it."""
        return Placement(
            context=self.context, threads=self.threads, batch=self.batch, kv_type=self.kv_type,
            shares=self.layout.shares, experts_on_host=self.layout.experts_on_host, is_mapped=self.is_mapped,
            rpc=tuple(rpc),
        )  # fmt: skip


def plan(
    shape: Shape, candidates: Sequence[Candidate], hardware: Hardware, wish: Wish, works: Works,
    lessons: Lessons = NONE, rates: Mapping[str, Rates] = UNKNOWN,
) -> Plan:  # fmt: skip
    """The best of the candidates on this machine, without its reasons.

    `works` has the dry runs of all `work_keys`; `rates` those of the memories by name, where they were measured.
    Raises LocalchatError where nothing fits or the wish cannot be.
    """
    check_wish(shape, candidates, wish)
    allowed = [candidate for candidate in candidates if is_wanted(candidate, wish)]
    spaces = rooms(hardware, wish, lessons)
    for mode, option in rungs(shape, allowed, wish):
        layout = WAYS[mode](shape, option, spaces, works)
        if layout is not None:
            return settled(shape, option, layout, spaces, hardware, wish, rates)
    smallest = Option(min(allowed, key=lambda one: one.weights_bytes), contexts(shape, wish)[-1], kv_types(shape)[-1])
    raise refusal(shape, smallest, spaces, works)


def is_wanted(candidate: Candidate, wish: Wish) -> bool:
    """Is this a type that the user may be given?"""
    return wish.quant in (None, candidate.quant) and (not wish.size_bytes or candidate.weights_bytes <= wish.size_bytes)


def settled(
    shape: Shape, option: Option, layout: Layout, spaces: Rooms, hardware: Hardware, wish: Wish,
    rates: Mapping[str, Rates] = UNKNOWN,
) -> Plan:  # fmt: skip
    """The plan of an option that is laid out already, whether it fits or not."""
    by_name = {room.name: room for room in (*spaces.devices, spaces.host)}
    return Plan(
        quant=option.candidate.quant,
        weights_bytes=option.candidate.weights_bytes,
        bits_per_weight=round(8 * option.candidate.weights_bytes / max(1, shape.parameters), 2),
        context=option.context,
        kv_type=option.kv_type,
        layers=shape.layers,
        threads=wish.threads or hardware.processor.performance_cores,
        layout=layout,
        predicted=tuple(Predicted(use, by_name[use.name]) for use in layout.uses),
        tokens_per_second=tokens_per_second(shape, layout.uses, option.kv_type, rates or known_rates(hardware, {})),
    )
