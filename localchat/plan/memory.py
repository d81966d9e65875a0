"""The main memory, within what a container allows."""

from __future__ import annotations

import warnings
from pathlib import Path

import psutil

from localchat.plan.cgroup import memory_limits
from localchat.plan.hardware import Memory


def read_memory(root: Path = Path("/")) -> Memory:
    """What there is now and what of it can be had without swapping."""
    system = psutil.virtual_memory()
    swap_total, swap_free = _swap()
    return limited(Memory(system.total, min(system.available, system.total), swap_total, swap_free), root)


def limited(memory: Memory, root: Path = Path("/")) -> Memory:
    """The same under the limits of this process's control groups; one above all memory there is limits nothing."""
    limits = [limit for limit in memory_limits(root) if limit.limit_bytes < memory.total_bytes]
    return Memory(
        min([memory.total_bytes, *(limit.limit_bytes for limit in limits)]),
        min([memory.available_bytes, *(limit.available_bytes for limit in limits)]),
        memory.swap_total_bytes,
        memory.swap_free_bytes,
    )


def _swap() -> tuple[int, int]:
    """Total and free; none where the system does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # psutil warns where it cannot count pages that came and went
            swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return 0, 0
    return swap.total, min(swap.free, swap.total)
