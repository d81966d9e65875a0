"""How fast a pull goes, in words: the same for the terminal, the app and a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from localchat.pull.events import Progress, Stage
from localchat.text import duration, size

STAGES: dict[Stage, str] = {"download": "Downloading", "convert": "Converting", "check": "Checking"}
SETTLED_SECONDS = 0.5  # before that a rate says nothing


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a stage goes, and how long it still takes."""

    bytes_per_second: float
    left_seconds: float


class Pace:
    """Follows a stream of progress. What was there when a stage began does not count as speed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: Stage | None = None
        self._began_at, self._first_bytes = 0.0, 0

    def rate(self, progress: Progress) -> Rate | None:
        """The rate of the stage so far, once it is known."""
        if progress.stage != self._stage:
            self._stage, self._began_at, self._first_bytes = progress.stage, self._clock(), progress.done_bytes
        seconds, count = self._clock() - self._began_at, progress.done_bytes - self._first_bytes
        if seconds < SETTLED_SECONDS or count <= 0:
            return None
        return Rate(count / seconds, (progress.total_bytes - progress.done_bytes) / (count / seconds))

    def words(self, progress: Progress) -> str:
        """What is done of how much, and once it is known, the rate and the time left."""
        return f"{STAGES[progress.stage]} {amounts(progress, self.rate(progress))}"


def amounts(progress: Progress, rate: Rate | None) -> str:
    """What is done of how much, with the rate and the time left where they are known."""
    done = f"{size(progress.done_bytes)} of {size(progress.total_bytes)}"
    if rate is None:
        return done
    ending = f" · {duration(rate.left_seconds)} left" if progress.done_bytes < progress.total_bytes else ""
    return f"{done} · {size(rate.bytes_per_second)}/s{ending}"
