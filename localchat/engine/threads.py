"""How many threads compute: fewer for as long as other programs need the cores.

llama.cpp's threads wait for each other a thousand times a token, and spin meanwhile. One that has to share its core
keeps all the others waiting: two threads beside one busy program on two cores write half as fast as one thread does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from localchat.engine.busy import Moment, now, other_cores

LOOK_SECONDS = 0.5


def threads_beside(others: float, planned: int, cores: int) -> int:
    """Threads that have a core of their own beside `others`, the cores that other programs keep busy."""
    return max(1, min(planned, math.floor(cores - others + 0.5)))


@dataclass(slots=True)
class Threads:
    """Looks from time to time, while it is computed, how busy the machine is otherwise."""

    planned: int
    use: Callable[[int], None]
    """Hears how many there shall be, when that changes."""
    look: Callable[[], Moment] = now
    clock: Callable[[], float] = time.perf_counter
    cores: int = psutil.cpu_count() or 1
    count: int = 0
    _since: Moment | None = None

    def __post_init__(self) -> None:
        self.count = self.planned

    def begin(self) -> None:
        """There is something to compute again."""
        self._since = self.look()

    def adapt(self) -> None:
        """Called between steps."""
        if self._since is None or self.clock() - self._since.at < LOOK_SECONDS:
            return
        moment = self.look()
        count = threads_beside(other_cores(self._since, moment), self.planned, self.cores)
        self._since = moment
        if count != self.count:
            self.count = count
            self.use(count)
