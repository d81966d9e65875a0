"""The bookkeeping of an engine's life: how often it died, and how long nobody has needed it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from localchat.errors import EngineDied, LocalchatError

DEATHS_LIMIT, DEATHS_SECONDS = 3, 60.0
JOIN_SECONDS = 20.0

Clock = Callable[[], float]
"""Seconds that never go back."""


class GivenUp(EngineDied):
    """The engine died so often that it is not started again."""


@dataclass(eq=False)
class Change:
    """The engine is being loaded or put away, by one thread; others wait for the end of it."""

    fraction: float = 0.0
    is_over: bool = False
    failure: LocalchatError | None = None


class Deaths:
    """When the engine died."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=DEATHS_LIMIT)

    def record(self, death: EngineDied, now: float) -> GivenUp | None:
        """One more; why the engine must not be started again, or None where it may be."""
        self._times.append(now)
        if len(self._times) < DEATHS_LIMIT or now - self._times[0] > DEATHS_SECONDS:
            return None
        return GivenUp(
            f"{death}, for the third time within a minute, and so it is not started again",
            f"close other programs, or choose a smaller model; {death.hint}",
        )


class Alarm(Protocol):
    """What `threading.Timer` is."""

    def start(self) -> None:
        """Begin to wait."""

    def cancel(self) -> None:
        """Do not call."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has called, or was canceled."""


Alarms = Callable[[float, Callable[[], None]], Alarm]
"""Makes an alarm that calls after so many seconds."""


def timer(seconds: float, call: Callable[[], None]) -> Alarm:
    """A thread that keeps nobody from leaving."""
    made = threading.Timer(seconds, call)
    made.daemon, made.name = True, "idle"
    return made


class Idle:
    """How long nobody has needed the engine, and the one alarm that goes off when that could be long enough.

    All but `stop` is called by one thread at a time.
    """

    def __init__(
        self, seconds: float, call: Callable[[], None], clock: Clock = time.monotonic, alarms: Alarms = timer
    ) -> None:
        """`call` is what the alarm does; with 0 seconds there is none."""
        self._seconds, self._call, self._clock, self._alarms = seconds, call, clock, alarms
        self._uses, self._since = 0, clock()
        self._alarm: Alarm | None = None
        self._is_set = False

    def begin(self) -> None:
        """Somebody needs the engine."""
        self._uses += 1

    def end(self) -> None:
        """Somebody needs it no more."""
        self._uses -= 1
        self._since = self._clock()

    def set(self) -> None:
        """Set the alarm, if it is not set: for the moment at which it is long enough if nothing happens meanwhile."""
        if self._seconds and not self._is_set:
            self._is_set = True
            self._alarm = self._alarms(max(0.0, self.left_seconds()), self._ring)
            self._alarm.start()

    def left_seconds(self) -> float:
        """After which it is long enough, as things are; 0 or less where it is."""
        return self._seconds - (0 if self._uses else self._clock() - self._since)

    def stop(self) -> None:
        """Leave no thread behind. Not to be called by the alarm itself."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm.join(JOIN_SECONDS)

    def _ring(self) -> None:
        self._is_set = False
        self._call()
