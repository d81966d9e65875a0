"""In which order things are tried: what users value, from the most to the least.

A model that stays in the fastest memory; 8k of context; quality down to Q4_K_M; an f16 KV cache; 4k of context; lower
types. Only when nothing stays resident do layers, or the experts of a mixture, go to the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

from localchat.llama.placement import KV_TYPES
from localchat.plan.layout import Option, Spread, WorkKey, is_possible
from localchat.plan.shape import Candidate, Shape
from localchat.plan.wish import Wish

CONTEXT, SMALL_CONTEXT = 8192, 4096
GOOD = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
LOW = ("Q4_K_S", "IQ4_XS", "Q3_K_M", "Q2_K")
QUICK = "Q4_K_M"
"""The type to take where each layer on the CPU costs much, and where speed is asked for."""

Mode = Literal["resident", "partial", "host"]
"""In the fastest memory; as much as possible on devices; all in main memory, though there are devices."""
Rung = tuple[Mode, Option]


def rungs(shape: Shape, candidates: Sequence[Candidate], wish: Wish) -> Iterator[Rung]:
    """Everything that could be done, the most wanted first."""
    order = {"balanced": _balanced, "quality": _quality, "speed": _speed, "context": _context}[wish.goal]
    return order(candidates, contexts(shape, wish), kv_types(shape))


def contexts(shape: Shape, wish: Wish) -> list[int]:
    """The lengths of context that are tried, the most wanted first."""
    if wish.context:
        return [wish.context]
    wanted = [min(CONTEXT, shape.context), min(SMALL_CONTEXT, shape.context)]
    if wish.goal == "context":
        longer, length = [], CONTEXT * 2
        while length < shape.context:
            longer.append(length)
            length *= 2
        wanted = [shape.context, *reversed(longer), *wanted]
    return list(dict.fromkeys(wanted))


def kv_types(shape: Shape) -> list[str]:
    """The types of the KV cache that this model can have, the best first."""
    return [kv_type for kv_type in KV_TYPES if is_possible(shape, kv_type)]


def work_keys(shape: Shape, candidates: Sequence[Candidate], devices: int, wish: Wish) -> list[WorkKey]:
    """The dry runs that a decision may need; those of one model and one spread follow each other."""
    needed: dict[Spread, bool] = {
        "host": True, "one": devices > 0, "all": devices > 1, "split": devices > 0,
        "experts": devices > 0 and shape.experts > 0,
    }  # fmt: skip
    spreads = [spread for spread, is_needed in needed.items() if is_needed]
    quants = [candidate.quant for candidate in candidates]
    return list(product(quants, spreads, contexts(shape, wish), kv_types(shape)))


def _balanced(candidates: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]) -> Iterator[Rung]:
    yield from _graded("resident", _good(candidates), _low(candidates), lengths, kinds)
    yield from _spilled(candidates, lengths, kinds)
    yield from _graded("host", _good(candidates), _low(candidates), lengths, kinds)


def _spilled(candidates: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]) -> Iterator[Rung]:
    """Partly on the CPU: fewer bits first, for what is read there decides the rate."""
    yield from _graded("partial", _quick(candidates), _low(candidates), lengths, kinds)


def _graded(
    mode: Mode, good: Sequence[Candidate], low: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]
) -> Iterator[Rung]:
    """Context and KV type before the type, among those that are good; the type before them, among lower ones."""
    for context, kv_type, candidate in product(lengths, kinds, good):
        yield mode, Option(candidate, context, kv_type)
    for candidate, context, kv_type in product(low, lengths, kinds):
        yield mode, Option(candidate, context, kv_type)


def _quality(candidates: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]) -> Iterator[Rung]:
    """The type before everything else, wherever it has to run."""
    modes: tuple[Mode, ...] = ("resident", "partial", "host")
    for candidate, mode, context, kv_type in product(candidates, modes, lengths, kinds):
        yield mode, Option(candidate, context, kv_type)


def _speed(candidates: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]) -> Iterator[Rung]:
    """The quickest of the good types; what has more bits is not tried."""
    yield from _balanced([*_quick(candidates), *_low(candidates)], lengths, kinds)


def _context(candidates: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]) -> Iterator[Rung]:
    yield from _longest("resident", candidates, lengths, kinds)
    yield from _spilled(candidates, lengths, kinds)
    yield from _longest("host", candidates, lengths, kinds)


def _longest(
    mode: Mode, candidates: Sequence[Candidate], lengths: Sequence[int], kinds: Sequence[str]
) -> Iterator[Rung]:
    """The length of the context before the type."""
    for context, group in product(lengths, (_good(candidates), _low(candidates))):
        yield from ((mode, Option(candidate, context, kv_type)) for kv_type, candidate in product(kinds, group))


def _good(candidates: Sequence[Candidate]) -> list[Candidate]:
    """All but the lower types; where there are only such, all."""
    return [candidate for candidate in candidates if candidate.quant not in LOW] or list(candidates)


def _low(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.quant in LOW]


def _quick(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.quant == QUICK] or _good(candidates)
