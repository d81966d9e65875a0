"""How busy the machine was with other programs: the usual reason why a reply was slow on a CPU."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

SHORT_SECONDS = 0.2  # the system counts in hundredths of a second


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been computed up to a moment."""

    at: float
    ours_seconds: float
    """Of this process, over all cores."""
    all_seconds: float
    """Of all programs, over all cores."""


def now() -> Moment:
    """This moment."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # these count as user's too
    return Moment(time.perf_counter(), time.process_time(), counted - idle)


def other_cores(since: Moment, until: Moment) -> float:
    """How many cores other programs kept busy meanwhile, on average; 0 where it was too short to tell."""
    seconds = until.at - since.at
    if seconds < SHORT_SECONDS:
        return 0.0
    ours = until.ours_seconds - since.ours_seconds
    return max(0.0, (until.all_seconds - since.all_seconds - ours) / seconds)
