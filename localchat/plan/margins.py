"""What is left alone in each kind of memory: for the driver, the desktop, and everything else that runs.

What llama.cpp takes is known to the byte before it is loaded; these margins are for what it does not know of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localchat.plan.hardware import System

MIB, GIB = 1 << 20, 1 << 30

Setting = Literal["headless", "desktop"]


@dataclass(frozen=True, slots=True)
class Margin:
    """At least so many bytes, and at least this part of the total."""

    least_bytes: int
    part: float = 0.0

    def of(self, total_bytes: int) -> int:
        """The margin in a memory of this size."""
        return max(self.least_bytes, int(self.part * total_bytes))


# A GPU's free memory is asked while a context of our own is on it, so that the margin is for what a driver takes when
# kernels are first used, and for windows that open later. Windows moves memory between programs and gets more.
# Metal's free memory already ends at the working set that macOS recommends.
DEVICE: dict[tuple[System, Setting], Margin] = {
    ("linux", "headless"): Margin(300 * MIB),
    ("linux", "desktop"): Margin(600 * MIB),
    ("windows", "headless"): Margin(900 * MIB),
    ("windows", "desktop"): Margin(900 * MIB),
    ("macos", "headless"): Margin(300 * MIB),
    ("macos", "desktop"): Margin(600 * MIB),
}
# Of the memory that is available now: what other programs may come to need while the model stays loaded.
HOST: dict[tuple[System, Setting], Margin] = {
    ("linux", "headless"): Margin(512 * MIB, 0.05),
    ("linux", "desktop"): Margin(GIB, 0.10),
    ("windows", "headless"): Margin(GIB, 0.10),
    ("windows", "desktop"): Margin(1536 * MIB, 0.10),
    ("macos", "headless"): Margin(GIB, 0.10),
    ("macos", "desktop"): Margin(1536 * MIB, 0.10),
}
