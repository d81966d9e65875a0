"""What there is to compute with, as far as a plan needs to know."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from localchat.llama.devices import Device, devices


@dataclass(frozen=True, slots=True)
class Hardware:
    """Processor, memory and devices of one machine."""

    physical_cores: int
    memory_total_bytes: int
    memory_available_bytes: int
    disk_free_bytes: int
    devices: tuple[Device, ...] = ()


def detect(folder: Path) -> Hardware:
    """The facts of this machine now; `folder` is where models are kept."""
    memory = psutil.virtual_memory()
    return Hardware(
        physical_cores=usable_cores(),
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        disk_free_bytes=shutil.disk_usage(folder).free,
        devices=devices(),
    )


def usable_cores() -> int:
    """Physical cores that this process may use: a second thread on one core only gets in llama.cpp's way."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))
