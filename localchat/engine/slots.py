"""Which slot of the KV cache a prompt goes to, and how much of it is there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Slot:
    """The part of the KV cache that one conversation has."""

    number: int
    tokens: list[int] = field(default_factory=list)
    """What is in the cache."""
    is_busy: bool = False
    used_at: int = 0
    """Larger for those that were used later."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The slot to use, and where the beginning of the prompt is."""

    slot: Slot
    source: Slot
    """A slot that has most of it, which may be the same one."""
    shared: int
    """So many tokens of it."""


def choose(slots: Sequence[Slot], prompt: Sequence[int]) -> Choice | None:
    """The free slot to read this prompt into; None where all are busy.

    One whose whole content goes on in the prompt is continued. Otherwise the one that was not used for the longest
    time gives way, and takes the beginning from whichever has most of it, so that what an edit or another branch
    leaves behind stays for a while.
    """
    free = [slot for slot in slots if not slot.is_busy]
    if not free:
        return None
    known = {slot.number: shared_prefix(slot.tokens, prompt) for slot in slots}
    source = max(slots, key=lambda slot: known[slot.number])
    continued = [slot for slot in free if slot.tokens and known[slot.number] == len(slot.tokens)]
    if continued:
        best = max(continued, key=lambda slot: known[slot.number])
        if known[best.number] == known[source.number]:
            return Choice(best, best, known[best.number])
    oldest = min(free, key=lambda slot: (bool(slot.tokens), slot.used_at))
    return Choice(oldest, source, known[source.number])


def shared_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens that both begin with; of two lists, in a few comparisons of whole parts."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    low, high = 0, length  # the first `low` are equal, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low
