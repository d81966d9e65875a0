"""Ends what takes too long. One thread watches over all that is done one after the other, and is seldom woken."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TookTooLong(Exception):
    """It was ended."""


class Watchdog:
    """Calls `end` where something takes longer than it may. Close it, or use it as a context manager."""

    def __init__(self, end: Callable[[], None]) -> None:
        """`end` is called by another thread, and must be quick."""
        self._end = end
        self._changed = threading.Condition()  # guards all that follows
        self._limit = self._wakes_at = math.inf
        self._is_late = self._is_closed = False
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Watch no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is done in here may take so long. Raises TookTooLong where it took longer."""
        with self._changed:
            self._limit, self._is_late = time.monotonic() + seconds, False
            if self._limit < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._limit = math.inf
                is_late = self._is_late
            if is_late:
                raise TookTooLong

    def _watch(self) -> None:
        """The thread's work. A limit that was met is not unset here: it wakes up once for many of them."""
        with self._changed:
            while not self._is_closed:
                if time.monotonic() >= self._limit:
                    self._limit, self._is_late = math.inf, True
                    self._end()
                self._wakes_at = self._limit
                self._changed.wait(None if math.isinf(self._limit) else max(0.0, self._limit - time.monotonic()))
