"""llama.cpp's log: on standard error for the log file, and what of it we need to know ourselves."""

from __future__ import annotations

import os
from collections.abc import Sequence

from llama_cpp import llama_cpp as cpp

from localchat.llama.buffers import Buffers, are_copied, read_buffers, says_memory_ran_out
from localchat.llama.devices import buffer_names
from localchat.llama.placement import HOST

DEBUG, CONTINUED = 1, 5  # enum ggml_log_level
LINES_KEPT = 1000


class Log:
    """Passes on what llama.cpp says, without the pages that it writes for its own debugging.

    Use `install` before anything else of llama.cpp is called.
    """

    def __init__(self) -> None:
        self._level = 0
        self._lines: list[str] = []
        self._callback = cpp.llama_log_callback(self._hear)  # lives as long as llama.cpp may call it

    def install(self) -> None:
        """Listen to llama.cpp from now on."""
        cpp.llama_log_set(self._callback, None)

    def forget(self) -> None:
        """Begin anew: what is asked below is about what is said from now on."""
        self._lines.clear()

    def buffers(self, devices: Sequence[str]) -> tuple[Buffers, ...]:
        """The buffers that were taken on the named devices, and last those in main memory."""
        return read_buffers(self._lines, buffer_names(devices))

    @property
    def are_weights_copied(self) -> bool:
        """Did the CPU take memory for weights in an order of its own?"""
        return are_copied(self._lines)

    def short_of(self, devices: Sequence[str]) -> str | None:
        """The memory in which an allocation failed: one of the named devices or the host. None where none failed."""
        lines = [line for line in self._lines if says_memory_ran_out(line)]
        named = [device for device in devices if any(device in line for line in lines)]
        return (named[0] if named else HOST) if lines else None

    def _hear(self, level: int, text: bytes, _data: object) -> None:
        self._level = self._level if level == CONTINUED else level
        if self._level == DEBUG:
            return
        os.write(2, text)
        line = text.decode("utf-8", "replace")
        if len(self._lines) < LINES_KEPT and ("buffer" in line or "alloc" in line or "memory" in line):
            self._lines.append(line)


LOG = Log()
"""llama.cpp has one log for the whole process."""
