"""How fast a pull goes, in words: the same for the terminal, the app and a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from localchat.pull.events import Progress, Stage
from localchat.text import duration, size

STAGES: dict[Stage, str] = {"download": "Downloading", "convert": "Converting", "check": "Checking"}
SETTLED_SECONDS = 0.5  # before that a rate says nothing


class Pace:
    """Follows a stream of progress. What was there when a stage began does not count as speed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: Stage | None = None
        self._began_at, self._first_bytes = 0.0, 0

    def words(self, progress: Progress) -> str:
        """What is done of how much, and once it is known, the rate and the time left."""
        if progress.stage != self._stage:
            self._stage, self._began_at, self._first_bytes = progress.stage, self._clock(), progress.done_bytes
        done = f"{STAGES[progress.stage]} {size(progress.done_bytes)} of {size(progress.total_bytes)}"
        seconds, count = self._clock() - self._began_at, progress.done_bytes - self._first_bytes
        if seconds < SETTLED_SECONDS or count <= 0:
            return done
        left = (progress.total_bytes - progress.done_bytes) / (count / seconds)
        ending = f" · {duration(left)} left" if progress.done_bytes < progress.total_bytes else ""
        return f"{done} · {size(count / seconds)}/s{ending}"
