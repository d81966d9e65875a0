"""What is tried behind the last tokens of those that are written to: guesses that pay, and guesses that cost nothing.

The model checks all guesses of a step at once. A step over more tokens takes longer, by how much is measured, so that
it is known when a guess pays; where it does not, nothing is guessed.

llama.cpp's kernels for repacked weights multiply four tokens at once, and what is left over one by one: three
conversations take longer than four. Where that is so, which is measured too, a guess of one of them fills the step up.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

from localchat.engine.job import Job
from localchat.engine.lookup import Offer

GAIN = 1.1  # what guesses must promise
WEIGHT = 0.25  # of the newest measurement in an average
WIDTH_COST = 0.3  # of a step of one token, for each more, before it was measured: too much for most devices
FADING = 0.002  # a few hundred tokens later it is tried again
GROUP_TOKENS = 4
"""Rows of one call of `ggml_gemm_q4_K_8x8_q8_K` and its like (ggml-cpu/repack.cpp)."""
FILL_MOST = 2  # one token that is left over takes no longer than three to fill its group up
TRIES = 3  # the shortest of so many counts: noise only ever makes a step longer
AGAIN_STEPS = 64  # after so many, what was slower is tried again


class Costs:
    """What a step that writes to so many takes, by how many tokens it computes."""

    def __init__(self, writers: int = 1) -> None:
        self._writers = writers
        self._seconds: dict[int, float] = {}
        self._wider: list[int] = []  # the widths with guesses that were measured, the smallest first

    def learn(self, width: int, seconds: float) -> None:
        """A step of this width took so long."""
        if width == self._writers:
            self._forget(seconds)
        known = self._seconds.get(width)
        self._seconds[width] = seconds if known is None else (1 - WEIGHT) * known + WEIGHT * seconds
        if known is None and width > self._writers:
            insort(self._wider, width)

    def factor(self, width: int) -> float:
        """How many times as long as a step without guesses it takes; what was not measured, as the nearest says."""
        least = self._seconds.get(self._writers)
        if width == self._writers or not least or not self._wider:
            return self._usual(width)
        place = bisect_left(self._wider, width)
        nearest = min(self._wider[max(0, place - 1) : place + 1], key=lambda known: abs(known - width))
        found = self._seconds[nearest] / least
        more = (width - self._writers) / (nearest - self._writers)
        return found if nearest == width else 1 + max(0.0, found - 1) * more

    def _forget(self, least: float) -> None:
        """What was measured of wider steps fades: one slow step must not keep them from being tried for ever."""
        for width in self._wider:
            self._seconds[width] += FADING * (least * self._usual(width) - self._seconds[width])

    def _usual(self, width: int) -> float:
        """Before anything was measured."""
        return (1 + WIDTH_COST * (width - 1)) / (1 + WIDTH_COST * (self._writers - 1))


def best_counts(offers: Sequence[Offer], costs: Costs, room: int) -> list[int]:
    """How many tokens of each offer to try: the likeliest first, and those that promise most text for the time.

    At most `room` together; none where nothing pays.
    """
    counts = [0] * len(offers)
    best, best_gain, expected = counts, GAIN, float(len(offers))
    for _ in range(min(room, sum(len(offer.tokens) for offer in offers))):
        chances = [
            offer.hope ** (count + 1) if count < len(offer.tokens) else 0.0
            for offer, count in zip(offers, counts, strict=True)
        ]
        taken = chances.index(max(chances))
        counts = [count + (index == taken) for index, count in enumerate(counts)]
        expected += chances[taken]
        gain = expected / len(offers) / costs.factor(len(offers) + sum(counts))
        if gain > best_gain:
            best, best_gain = counts, gain
    return best


class Widths:
    """Seconds of steps that only write to several, by how many tokens they compute."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}
        self._steps = 0

    def learn(self, width: int, seconds: float) -> None:
        """A step of this width took so long."""
        self._seconds.setdefault(width, deque(maxlen=TRIES)).append(seconds)

    def choose(self, writers: int) -> int:
        """How many tokens to compute for so many that write: as many, or a whole group where that is faster."""
        full = -(-writers // GROUP_TOKENS) * GROUP_TOKENS
        if not 0 < full - writers <= FILL_MOST:
            return writers
        self._steps += 1
        faster, slower = sorted((writers, full), key=self._least)
        return slower if self._steps % AGAIN_STEPS == 0 else faster

    def _least(self, width: int) -> float:
        """0 where it was not tried often enough."""
        known = self._seconds.get(width, ())
        return min(known) if len(known) == TRIES else 0.0


class Guessing:
    """What this engine has learned about guesses."""

    def __init__(self) -> None:
        self._costs: dict[int, Costs] = {}
        self._widths = Widths()

    def beside(self, writing: Sequence[Job], room: int) -> list[Sequence[int]]:
        """For each of those that are written to, while nobody reads, what to try behind its last token.

        At most `room` tokens together.
        """
        offers = [job.offer() for job in writing]
        counts = best_counts(offers, self._of(len(writing)), room)
        if any(counts) or len(writing) == 1:
            return [offer.tokens[:count] for offer, count in zip(offers, counts, strict=True)]
        return self._filled(writing, offers, room)

    def learn(self, writers: int, tokens: int, seconds: float) -> None:
        """A step that only wrote, to so many, computed so many tokens in this time."""
        self._of(writers).learn(tokens, seconds)
        if writers > 1:
            self._widths.learn(tokens, seconds)

    def _of(self, writers: int) -> Costs:
        return self._costs.setdefault(writers, Costs(writers))

    def _filled(self, writing: Sequence[Job], offers: Sequence[Offer], room: int) -> list[Sequence[int]]:
        """One of them gets what fills the step up, where that is faster; best one that may be right."""
        count = self._widths.choose(len(writing)) - len(writing)
        takers = [index for index, job in enumerate(writing) if job.may_guess(count)] if 0 < count <= room else []
        taker = max(takers, key=lambda index: offers[index].hope, default=None)
        return [job.lookup.fill(job.tokens, count) if index == taker else () for index, job in enumerate(writing)]
