"""Three models to begin with, out of the whole catalog, for this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localchat.plan.plan import Plan
from localchat.pull.offers import Offer

FAST_TOKENS_PER_SECOND = 7.0  # about as fast as people read
GOOD_BITS = 4.0  # below that many per weight, answers become noticeably worse
COUNT = 3
TASK = "AlpacaEval"  # the published result that most entries have


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An offer and why it is one of the three, in a sentence."""

    offer: Offer
    why: str


def three(offers: Sequence[Offer]) -> tuple[Suggestion, ...]:
    """The best that runs fast here, one that is smaller or else another, and what needs no download.

    Fewer where fewer fit. Gated ones need an account first, others may be used for some things only or were not tuned
    to answer, so they are left for those who look for them.
    """
    fitting = [offer for offer in offers if offer.plan is not None and _is_for_all(offer) and not offer.is_installed]
    local = [offer for offer in fitting if offer.is_local][:1]
    others = sorted((offer for offer in fitting if not offer.is_local), key=_worth, reverse=True)
    found: list[Suggestion] = []
    if others:
        best = _best(others)
        found.append(Suggestion(best, _why_best(best)))
        found += [Suggestion(offer, _why_next(offer, best)) for offer in _next(others, best)[: COUNT - 1 - len(local)]]
    return (
        *found,
        *(Suggestion(offer, "Ready in seconds without a download, but it knows little.") for offer in local),
    )


def _best(ranked: Sequence[Offer]) -> Offer:
    """The most able of those that are fast; where none is, the fastest."""
    fast = [offer for offer in ranked if _is_fast(offer)]
    return fast[0] if fast else max(ranked, key=lambda offer: _rate(offer) or 0.0)


def _next(ranked: Sequence[Offer], best: Offer) -> list[Offer]:
    """Smaller ones first, then those of the same size; larger ones than the best were too slow for it."""
    rest = [offer for offer in ranked if offer is not best and _billions(offer) <= _billions(best)]
    smaller = [offer for offer in rest if _billions(offer) < _billions(best)]
    return [*smaller[:1], *(offer for offer in rest if offer not in smaller[:1])]


def _why_best(best: Offer) -> str:
    if not _is_fast(best):
        return "The fastest that fits here; it writes more slowly than people read."
    return "The best that runs fast on this machine." if _rate(best) else "The best that fits this machine."


def _why_next(offer: Offer, best: Offer) -> str:
    if _billions(offer) < _billions(best):
        return "Smaller and faster, for quick answers."
    manner = "without refusals" if offer.entry.uncensored else "by other people, on other conversations"
    return f"As large, tuned {manner}."


def _worth(offer: Offer) -> tuple[bool, int, float, bool, bool, str]:
    entry = offer.entry
    return _is_good(offer), _billions(offer), _score(offer), not entry.uncensored, bool(entry.scores), entry.name


def _is_for_all(offer: Offer) -> bool:
    entry = offer.entry
    return entry.is_open and entry.chats and not entry.gated


def _is_fast(offer: Offer) -> bool:
    """Does it write as fast as people read, or is that not known?"""
    rate = _rate(offer)
    return rate is None or rate >= FAST_TOKENS_PER_SECOND


def _is_good(offer: Offer) -> bool:
    return _plan(offer).bits_per_weight >= GOOD_BITS


def _rate(offer: Offer) -> float | None:
    return _plan(offer).tokens_per_second


def _billions(offer: Offer) -> int:
    """Parameters, to whole billions: a difference of less does not make a model another kind."""
    plan = _plan(offer)
    return round(8 * plan.weights_bytes / max(plan.bits_per_weight, 1.0) / 1e9)


def _score(offer: Offer) -> float:
    values: Iterable[object] = (score.get("value") for score in offer.entry.scores if score.get("task") == TASK)
    return max((float(value) for value in values if isinstance(value, int | float)), default=0.0)


def _plan(offer: Offer) -> Plan:
    assert offer.plan is not None, "only offers that fit are compared"
    return offer.plan
