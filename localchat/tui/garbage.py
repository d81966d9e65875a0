"""Python's collector of garbage, so that it does not hold up the screen: looking at all objects takes 0.1 s."""

from __future__ import annotations

import gc

THRESHOLDS = (5000, 10, 10)


def settle() -> None:
    """Look no more at what is there by now, the whole first screen, and look less often at what comes.

    For the one app of a process: what is garbage by now and later stays in memory if it is part of a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
