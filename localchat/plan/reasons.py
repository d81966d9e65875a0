"""Why a plan is as it is, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware
from localchat.plan.layout import kv_bytes
from localchat.plan.plan import Plan, Predicted, is_wanted
from localchat.plan.rungs import CONTEXT, LOW
from localchat.plan.shape import Candidate, Shape
from localchat.plan.wish import Goal, Wish
from localchat.text import size

LENGTH_STEP = 1024
READING_TOKENS_PER_SECOND = 5.0  # about as fast as people read
BEST: dict[Goal, str] = {
    "balanced": "is the best that stays in",
    "quality": "is the best that stays in",
    "speed": "is the best of the quick types that stays in",
    "context": "is the longest context that stays in",
}


def reasons(
    chosen: Plan, usual: Plan | None, shape: Shape, candidates: Sequence[Candidate], hardware: Hardware, wish: Wish
) -> tuple[str, ...]:
    """What was chosen and why nothing better, what the wish costs beside the `usual` plan, and what could be mended."""
    allowed = [candidate for candidate in candidates if is_wanted(candidate, wish)]
    has_gpu = any(device.kind in ("gpu", "igpu") for device in hardware.devices)
    return (
        _where(chosen, BEST[wish.goal] if len(allowed) > 1 else "fits into", has_gpu),
        *_sacrifices(chosen, shape, allowed, wish),
        *([_cost(chosen, usual)] if usual is not None else []),
        *_longer(chosen, shape, wish),
        *_slow(chosen, wish.goal != "speed" and len(allowed) > 1),
        *(
            f"{gpu.name} is there, but this llama.cpp was not built for it; run: {gpu.fix}"
            for gpu in hardware.unused_gpus
        ),
    )


def _where(chosen: Plan, why: str, has_gpu: bool) -> str:
    names = " and ".join(part.use.name for part in chosen.predicted if part.use.name != HOST)
    what = f"{chosen.quant} with {chosen.context:,} tokens of context"
    if chosen.fits == "partial":
        return f"{what} is too large for {names}: {_split(chosen, names)}"
    is_in_memory = chosen.fits == "memory"
    parts = [part for part in chosen.predicted if (part.use.name == HOST) == is_in_memory]
    used = sum(part.use.total_bytes for part in parts)
    room = used + _left(chosen, parts)
    place = "memory" if is_in_memory else f"the memory of {names}"
    too_small = "; no layer fits into GPU memory, so the CPU does all" if is_in_memory and has_gpu else ""
    return f"{what} {why} {place}: {size(used)} of the {size(room)} that can be used{too_small}"


def _split(chosen: Plan, names: str) -> str:
    if chosen.gpu_layers > chosen.layers:
        return f"the experts of {chosen.layout.experts_on_host} of {chosen.layers} layers stay in main memory"
    return f"{chosen.gpu_layers} of {chosen.layers + 1} layers run on {names}, the others on the CPU"


def _sacrifices(chosen: Plan, shape: Shape, allowed: Sequence[Candidate], wish: Wish) -> Iterator[str]:
    """What had to be given up, and what it would have taken to keep it."""
    better = [candidate for candidate in allowed if candidate.weights_bytes > chosen.weights_bytes]
    if better and chosen.fits != "partial" and wish.goal != "speed":
        wanted = better[-1]
        more = wanted.weights_bytes - chosen.weights_bytes
        yield f"{wanted.quant} would need {size(more)} more"
    if chosen.quant in LOW and len(allowed) > 1:
        yield f"{chosen.quant} loses more of the model's quality than types from Q4_K_M up"
    half, whole = (shape.layers * kv_bytes(shape, chosen.context, kind) for kind in ("q8_0", "f16"))
    if chosen.kv_type == "q8_0":
        yield f"the KV cache is kept as q8_0: as f16 it would need {size(whole - half)} more"
    usual = min(CONTEXT, shape.context)
    if chosen.context < usual and not wish.context:
        more = shape.layers * kv_bytes(shape, usual, chosen.kv_type) * (usual - chosen.context) // usual
        yield f"the context is {chosen.context:,} tokens: {usual:,} would need {size(more)} more"


def _cost(chosen: Plan, usual: Plan) -> str:
    """What was asked for, beside what would have been chosen."""
    places = {"gpu": "on the GPU alone", "memory": "on the CPU", "partial": "partly on the CPU"}
    found = []
    if chosen.weights_bytes < usual.weights_bytes:
        found.append(f"{chosen.quant} instead of {usual.quant}")
    if chosen.kv_type != usual.kv_type == "f16":
        found.append("a q8_0 KV cache instead of f16")
    if chosen.context < usual.context:
        found.append(f"{chosen.context:,} instead of {usual.context:,} tokens of context")
    if chosen.fits != usual.fits and usual.fits == "gpu":
        found.append(f"running {places[chosen.fits]} instead of {places[usual.fits]}")
    ours, theirs = chosen.tokens_per_second, usual.tokens_per_second
    if ours and theirs and ours < 0.9 * theirs:
        found.append(f"about {ours:.0f} instead of {theirs:.0f} tokens a second")
    return f"what was asked for costs {', '.join(found)}" if found else "what was asked for costs nothing"


def _longer(chosen: Plan, shape: Shape, wish: Wish) -> Iterator[str]:
    """Is there room for a context that is twice as long or longer? Nobody is given more than is useful to most."""
    if wish.context or wish.goal == "context" or chosen.fits == "partial":
        return
    each = shape.layers * kv_bytes(shape, LENGTH_STEP, chosen.kv_type)
    caches = [part for part in chosen.predicted if part.use.kv_bytes]
    # Work buffers grow with the context too, by less than a tenth of what the cache does.
    steps = int(0.9 * _left(chosen, caches) / each)
    tokens = min(shape.context, chosen.context + steps * LENGTH_STEP)
    if tokens >= 2 * chosen.context:
        yield f"a context of up to about {tokens:,} tokens would fit as well: --context {tokens}"


def _left(chosen: Plan, parts: Sequence[Predicted]) -> int:
    """Bytes that can still be had in these memories; what shares the main memory must have room there as well."""
    left = sum(part.left_bytes for part in parts)
    shared = sum(part.use.total_bytes for part in chosen.predicted if part.room.is_shared)
    return min(left, chosen.predicted[-1].left_bytes - shared) if shared else left


def _slow(chosen: Plan, has_quicker: bool) -> Iterator[str]:
    rate = chosen.tokens_per_second
    if rate is not None and rate < READING_TOKENS_PER_SECOND:
        remedy = "; --goal speed favors rate" if has_quicker else ""
        yield f"about {rate:.1f} tokens a second are expected, slower than most people read{remedy}"
