"""Why there is no plan, in one sentence, and what would fit instead."""

from __future__ import annotations

from collections.abc import Sequence

from localchat.errors import LocalchatError
from localchat.plan.layout import Option, Works, on_host
from localchat.plan.rooms import Rooms
from localchat.plan.shape import Candidate, Shape
from localchat.plan.wish import Wish
from localchat.text import size

BILLION = 1e9
USUAL_BITS = 4.85  # of a weight as Q4_K_M


def check_wish(shape: Shape, candidates: Sequence[Candidate], wish: Wish) -> None:
    """Raises LocalchatError where no machine could fulfill the wish."""
    if wish.context > shape.context:
        raise LocalchatError(
            f"the model was made for {shape.context:,} tokens of context, not {wish.context:,}",
            f"give --context a number up to {shape.context:,}",
        )
    if wish.quant and wish.quant not in {candidate.quant for candidate in candidates}:
        names = ", ".join(candidate.quant for candidate in candidates)
        raise LocalchatError(f"the model cannot be had as {wish.quant}", f"choose one of {names}")
    named = [candidate for candidate in candidates if wish.quant in (None, candidate.quant)]
    smallest = min(named, key=lambda candidate: candidate.weights_bytes)
    if wish.size_bytes and smallest.weights_bytes > wish.size_bytes:
        what = "no type of this model is" if len(named) > 1 else f"{smallest.quant} of this model is not"
        raise LocalchatError(
            f"{what} as small as {size(wish.size_bytes)}",
            f"the smallest is {smallest.quant} with {size(smallest.weights_bytes)}",
        )


def refusal(shape: Shape, smallest: Option, spaces: Rooms, works: Works) -> LocalchatError:
    """Says what the least that could be done would need, and how large a model could be instead."""
    layout = on_host(shape, smallest, works)
    need = layout.uses[-1].total_bytes
    devices = sum(room.limit_bytes for room in spaces.devices if not room.is_shared)
    weights = spaces.host.limit_bytes + devices - (need - smallest.candidate.weights_bytes)
    billions = weights * 8 / USUAL_BITS / BILLION
    # There can be enough in sum, and yet too little in one memory for the parts that must be there.
    is_known = weights < smallest.candidate.weights_bytes and billions >= 0.1
    instead = f"a model of up to {billions:.1f} billion weights would fit" if is_known else "close other programs"
    places = [f"{size(spaces.host.limit_bytes)} of memory"] if devices else [size(spaces.host.limit_bytes)]
    places += [f"{size(devices)} of GPU memory"] if devices else []
    return LocalchatError(
        f"the model needs at least {size(need)} as {smallest.candidate.quant} with {smallest.context:,} tokens of "
        f"context, and {' and '.join(places)} can be used now",
        f"{instead}; see what suits this machine: localchat catalog",
    )
