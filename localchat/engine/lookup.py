"""Guesses at the next tokens, taken from the conversation itself: who quotes or edits a text, repeats it.

Where the last tokens occurred before, what followed them then is guessed to follow again, and the model checks all
guesses in one step. A step over several tokens takes longer than one over a single one, by how much is measured, so
that it is known when a guess pays; where it does not, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

KEY_TOKENS = 3  # that must have occurred before, in this order
LONG_TOKENS = 16  # a longer match says no more
MOST = 8
GAIN = 1.1  # what a guess must promise
WEIGHT = 0.25  # of the newest measurement in an average
WIDTH_COST = 0.3  # of a step for each further token, before it was measured: too much for most devices
HOPE = {3: 0.4, 4: 0.5, 6: 0.65, 8: 0.8, LONG_TOKENS: 0.9}
"""How likely a guessed token is right before anything is known, by the length of the match."""
FADING = 0.002  # a few hundred tokens later it is tried again
FORGIVING = 0.005  # by so much hope returns with each token that is not guessed


@dataclass(slots=True)
class Costs:
    """Seconds of a step by how many tokens of one conversation it computes."""

    seconds: dict[int, float] = field(default_factory=dict)

    def learn(self, width: int, seconds: float) -> None:
        """A step of this width took so long."""
        if width == 1:
            self._forget(seconds)
        known = self.seconds.get(width)
        self.seconds[width] = seconds if known is None else (1 - WEIGHT) * known + WEIGHT * seconds

    def _forget(self, single: float) -> None:
        """What was measured of wider steps fades: one slow step must not keep them from being tried for ever."""
        for width in self.seconds.keys() - {1}:
            usual = single * (1 + WIDTH_COST * (width - 1))
            self.seconds[width] += FADING * (usual - self.seconds[width])

    def factor(self, width: int) -> float:
        """How many times as long as a step of one token it takes."""
        single, wide = self.seconds.get(1), self.seconds.get(width)
        return wide / single if single and wide else 1 + WIDTH_COST * (width - 1)


class Lookup:
    """The guesses for one reply, and how good they were."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._ends: dict[tuple[int, ...], int] = {}  # of each run of KEY_TOKENS but the last, where it ends
        self._indexed = 0
        self._hope = dict(HOPE)
        self._grade = 0  # of the last guess, a length of HOPE; 0 where it was made up

    def guess(self, tokens: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow; none where it does not pay."""
        following = self._following(tokens, min(most, MOST))
        return following[: self._best_width(len(following), self._hope[self._grade])] if following else []

    def finds(self, tokens: Sequence[int]) -> bool:
        """Is there something that may follow?"""
        return bool(self._following(tokens, 1))

    def fill(self, tokens: Sequence[int], count: int) -> list[int]:
        """So many tokens to try where that costs nothing; what is not known to follow is made up."""
        following = self._following(tokens, count)
        if len(following) < count:
            self._grade = 0
        return [*following, *[tokens[-1]] * (count - len(following))]

    def learn(self, guessed: int, right: int) -> None:
        """So many were guessed and so many of them were right."""
        if not guessed or not self._grade:
            self._hope = {length: min(HOPE[length], hope + FORGIVING) for length, hope in self._hope.items()}
            return
        share = right / (right + 1) if right < guessed else 1.0  # each was right until the first wrong one
        self._hope[self._grade] += 2 * WEIGHT * (share - self._hope[self._grade])

    def _following(self, tokens: Sequence[int], most: int) -> list[int]:
        """What followed the last tokens before; none where they are new."""
        self._index(tokens)
        end = self._ends.get(tuple(tokens[-KEY_TOKENS:]), 0) if len(tokens) > KEY_TOKENS else 0
        if not end or most < 1:
            return []
        self._grade = max(length for length in HOPE if length <= _match(tokens, end))
        return list(tokens[end : end + most])

    def _best_width(self, available: int, hope: float) -> int:
        """How many guesses promise most, or none: expected tokens of a step over its cost."""
        best, best_gain, expected = 0, GAIN, 1.0
        for width in range(1, available + 1):
            expected += hope**width
            gain = expected / self._costs.factor(width + 1)
            if gain > best_gain:
                best, best_gain = width, gain
        return best

    def _index(self, tokens: Sequence[int]) -> None:
        """Take in what was added; what the last tokens themselves are is not looked for in them."""
        for end in range(max(KEY_TOKENS, self._indexed), len(tokens)):
            self._ends[tuple(tokens[end - KEY_TOKENS : end])] = end
        self._indexed = max(self._indexed, len(tokens))


def _match(tokens: Sequence[int], end: int) -> int:
    """How many tokens before `end` are the last ones of all."""
    length = 0
    while length < min(end, LONG_TOKENS) and tokens[end - 1 - length] == tokens[-1 - length]:
        length += 1
    return length
