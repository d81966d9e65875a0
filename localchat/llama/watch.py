"""How far a step is: llama.cpp asks between two operations whether to go on, and the questions are counted."""

from __future__ import annotations

import time
from collections.abc import Callable

from llama_cpp import llama_cpp as cpp

REPORT_SECONDS = 0.25

Report = Callable[[float], None]
"""Hears which fraction of a step is done."""


class Watch:
    """Counts the operations of a step. The first one that is watched only tells how many there are.

    Each question takes the interpreter's lock: too much for a single token, nothing beside hundreds of them.
    """

    def __init__(self, is_aborted: Callable[[], bool]) -> None:
        self.callback = cpp.ggml_abort_callback(self._asked)
        self._is_aborted = is_aborted
        self._asked_count = self._all = 0
        self._report: Report | None = None
        self._next = 0.0

    def begin(self, report: Report) -> None:
        """A step begins of which `report` wants to hear."""
        self._report, self._asked_count = report, 0
        self._next = time.monotonic() + REPORT_SECONDS

    def end(self) -> None:
        """The step was computed to its end."""
        self._all = self._asked_count

    def _asked(self, _data: object) -> bool:
        """ctypes prints what is raised in here and goes on, so nothing may be."""
        self._asked_count += 1
        if self._asked_count < self._all and self._report is not None and (now := time.monotonic()) >= self._next:
            self._next = now + REPORT_SECONDS
            self._report(self._asked_count / self._all)
        return self._is_aborted()
