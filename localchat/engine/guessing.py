"""What is tried behind the last tokens of those that are written to: guesses that pay, and guesses that cost nothing.

llama.cpp's kernels for repacked weights multiply four tokens at once, and what is left over one by one: three
conversations take longer than four. Where that is so, which is measured, a guess of one of them fills the step up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from localchat.engine.job import Job
from localchat.engine.lookup import Costs

GROUP_TOKENS = 4
"""Rows of one call of `ggml_gemm_q4_K_8x8_q8_K` and its like (ggml-cpu/repack.cpp)."""
FILL_MOST = 2  # one token that is left over takes no longer than three to fill its group up
TRIES = 3  # the shortest of so many counts: noise only ever makes a step longer
AGAIN_STEPS = 64  # after so many, what was slower is tried again


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
        self.costs = Costs()
        self._widths = Widths()

    def beside(self, writing: Sequence[Job], room: int) -> list[Sequence[int]]:
        """For each of those that are written to, while nobody reads, what to try behind its last token.

        At most `room` tokens together.
        """
        if len(writing) == 1:
            return [writing[0].guess()[: max(0, room)]]
        count = self._widths.choose(len(writing)) - len(writing)
        takers = [job for job in writing if job.may_guess(count)] if 0 < count <= room else []
        taker = max(takers, key=lambda job: job.lookup.finds(job.tokens), default=None)
        return [job.lookup.fill(job.tokens, count) if job is taker else () for job in writing]

    def learn(self, writers: int, tokens: int, seconds: float) -> None:
        """A step that only wrote, to so many, computed so many tokens in this time."""
        if writers == 1:
            self.costs.learn(tokens, seconds)
        else:
            self._widths.learn(tokens, seconds)
