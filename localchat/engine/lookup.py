"""Guesses at the next tokens, taken from the conversation itself: who quotes or edits a text, repeats it.

Where the last tokens occurred before, what followed them then is guessed to follow again, and how often such guesses
were right is kept. Whether they pay is decided in `guessing`, for all that are written to together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KEY_TOKENS = 3  # that must have occurred before, in this order
LONG_TOKENS = 16  # a longer match says no more
MOST = 8
WEIGHT = 0.25  # of the newest measurement in an average
HOPE = {3: 0.4, 4: 0.5, 6: 0.65, 8: 0.8, LONG_TOKENS: 0.9}
"""How likely a guessed token is right before anything is known, by the length of the match."""
FORGIVING = 0.005  # by so much hope returns with each token that is not guessed


@dataclass(frozen=True, slots=True)
class Offer:
    """What may follow, and how likely each of these tokens is right if those before it are."""

    tokens: Sequence[int] = ()
    hope: float = 0.0


class Lookup:
    """The guesses for one reply, and how good they were."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}  # of each run of KEY_TOKENS but the last, where it ends
        self._indexed = 0
        self._hope = dict(HOPE)
        self._grade = 0  # of the last guess, a length of HOPE; 0 where it was made up

    def offer(self, tokens: Sequence[int], most: int) -> Offer:
        """Up to `most` tokens that may follow."""
        following = self._following(tokens, min(most, MOST))
        return Offer(following, self._hope[self._grade]) if following else Offer()

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
