"""The choice of type, context, KV type and placement, made together; a pure function of facts.

Users value these in this order: the model stays in the fastest memory; 8k of context; quality down to Q4_K_M; an f16
KV cache; 4k of context; lower types. Only when nothing stays resident does a part of the layers run on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from localchat.errors import LocalchatError
from localchat.plan.hardware import Hardware
from localchat.text import size

GIB = 1 << 30
CONTEXT, SMALL_CONTEXT = 8192, 4096
BATCH = 512
GOOD = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
LOW = ("Q3_K_M", "Q2_K")
# Bytes of one number of the KV cache; q8_0 keeps 32 numbers and a scale in 34 bytes.
KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32}
# What is left alone: for the desktop and the driver's own use on a GPU, for everything else that runs in memory.
GPU_MARGIN_BYTES = GIB
MEMORY_MARGIN_BYTES, MEMORY_MARGIN_PART = 2 * GIB, 0.15

Fits = Literal["gpu", "memory", "partial", "no"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on besides the weights."""

    layers: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    """Tokens that the model was made for."""
    parameters: int
    """Number of weights."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A type that the model could have, or has, and the bytes of its weights."""

    quant: str
    weights_bytes: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; 0 and None leave it to the plan."""

    quant: str | None = None
    context: int = 0
    size_bytes: int = 0
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is made and loaded on one machine."""

    quant: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    room_bytes: int
    """What could be used at most in the place where the model lies."""
    bits_per_weight: float
    context: int
    kv_type: str
    gpu_layers: int
    layers: int
    threads: int
    batch: int
    fits: Fits
    reasons: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Memory that the loaded model takes."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes


def plan(shape: Shape, candidates: Sequence[Candidate], hardware: Hardware, wish: Wish) -> Plan:
    """The best of the candidates on this machine. Raises LocalchatError where none can run."""
    _check_wish(shape, candidates, wish)
    allowed = [candidate for candidate in candidates if _wanted(candidate, wish)]
    if not allowed:
        smallest = min(candidates, key=lambda candidate: candidate.weights_bytes)
        raise LocalchatError(
            f"no type of this model is as small as {size(wish.size_bytes)}",
            f"the smallest is {smallest.quant} with {size(smallest.weights_bytes)}",
        )
    options = list(_options(shape, allowed, wish))
    memory, gpus, are_separate = _rooms(hardware)
    for option in options:
        if option.total_bytes <= gpus:
            return _settled(option, hardware, wish, "gpu", gpus, shape.layers + 1, len(allowed))
    room = memory + gpus if are_separate else memory
    for option in options:
        if option.total_bytes <= room:
            layers = int(shape.layers * gpus / option.total_bytes) if are_separate else 0
            return _settled(option, hardware, wish, "partial" if layers else "memory", room, layers, len(allowed))
    raise _refusal(options[-1], room, hardware)


@dataclass(frozen=True, slots=True)
class _Option:
    candidate: Candidate
    context: int
    kv_type: str
    kv_bytes: int
    compute_bytes: int
    layers: int
    parameters: int

    @property
    def total_bytes(self) -> int:
        return self.candidate.weights_bytes + self.kv_bytes + self.compute_bytes


def kv_bytes(shape: Shape, context: int, kv_type: str) -> int:
    """Bytes of the KV cache: a key and a value for each layer, KV head, dimension and token."""
    return int(2 * shape.layers * shape.kv_heads * shape.head_dim * context * KV_BYTES[kv_type])


def compute_bytes(shape: Shape) -> int:
    """Bytes of llama.cpp's work buffers, about: the logits of a batch and the widest layer's activations."""
    return BATCH * 4 * (shape.vocabulary + 4 * shape.feed_forward)


def _options(shape: Shape, candidates: Sequence[Candidate], wish: Wish) -> Iterator[_Option]:
    """Everything that could be done, the most wanted first."""
    longest = wish.context or min(CONTEXT, shape.context)
    shortest = wish.context or min(SMALL_CONTEXT, shape.context)
    good = [candidate for candidate in candidates if candidate.quant not in LOW] or candidates
    low = [candidate for candidate in candidates if candidate not in good]
    for context, group in [(longest, good), (shortest, good), (shortest, low)]:
        for candidate, kv_type in product(group, KV_BYTES):
            cache = kv_bytes(shape, context, kv_type)
            yield _Option(candidate, context, kv_type, cache, compute_bytes(shape), shape.layers, shape.parameters)


def _settled(
    option: _Option, hardware: Hardware, wish: Wish, fits: Fits, room: int, gpu_layers: int, choices: int
) -> Plan:
    return Plan(
        quant=option.candidate.quant,
        weights_bytes=option.candidate.weights_bytes,
        kv_bytes=option.kv_bytes,
        compute_bytes=option.compute_bytes,
        room_bytes=room,
        bits_per_weight=round(8 * option.candidate.weights_bytes / max(1, option.parameters), 2),
        context=option.context,
        kv_type=option.kv_type,
        gpu_layers=gpu_layers,
        layers=option.layers,
        threads=wish.threads or hardware.physical_cores,
        batch=BATCH,
        fits=fits,
        reasons=(_reason(option, fits, room, gpu_layers, choices),),
    )


def _reason(option: _Option, fits: Fits, room: int, gpu_layers: int, choices: int) -> str:
    place = {"gpu": "GPU memory", "memory": "memory"}.get(fits, "GPU memory and memory together")
    why = "is the best type that stays in" if choices > 1 else "fits into"
    split = f"; {gpu_layers} of {option.layers} layers run on the GPU" if fits == "partial" else ""
    return (
        f"{option.candidate.quant} {why} {place} with {option.context:,} tokens of context: "
        f"{size(option.total_bytes)} of {size(room)}{split}"
    )


def _rooms(hardware: Hardware) -> tuple[int, int, bool]:
    """Bytes that a model may take in memory and on the GPUs, and whether these are not the same bytes.

    An integrated GPU counts where there is no other, and has no memory of its own.
    """
    margin = max(MEMORY_MARGIN_BYTES, int(hardware.memory_total_bytes * MEMORY_MARGIN_PART))
    memory = max(0, hardware.memory_available_bytes - margin)
    free = {"gpu": 0, "igpu": 0, "accelerator": 0}
    for device in hardware.devices:
        free[device.kind] += max(0, device.free_bytes - GPU_MARGIN_BYTES)
    if any(device.kind == "gpu" for device in hardware.devices):
        return memory, free["gpu"], True
    return memory, min(memory, free["igpu"]), False


def _wanted(candidate: Candidate, wish: Wish) -> bool:
    return wish.quant in (None, candidate.quant) and (not wish.size_bytes or candidate.weights_bytes <= wish.size_bytes)


def _check_wish(shape: Shape, candidates: Sequence[Candidate], wish: Wish) -> None:
    if wish.context > shape.context:
        raise LocalchatError(
            f"the model was made for {shape.context:,} tokens of context, not {wish.context:,}",
            f"give --context a number up to {shape.context:,}",
        )
    if wish.quant and wish.quant not in {candidate.quant for candidate in candidates}:
        names = ", ".join(candidate.quant for candidate in candidates)
        raise LocalchatError(f"the model cannot be had as {wish.quant}", f"choose one of {names}")


def _refusal(smallest: _Option, room: int, hardware: Hardware) -> LocalchatError:
    return LocalchatError(
        f"the model needs at least {size(smallest.total_bytes)} as {smallest.candidate.quant} and there are "
        f"{size(room)} to use of {size(hardware.memory_total_bytes)}",
        "close other programs, or choose a smaller model",
    )
