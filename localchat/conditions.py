"""What the machine lives with now: the thin edge that finds the facts for `slowness`. A look takes milliseconds."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from localchat.engine.busy import Moment, now, other_cores
from localchat.plan.cgroup import cpu_limit
from localchat.plan.memory import read_memory
from localchat.plan.processor import allowed_cpus
from localchat.plan.surroundings import on_battery
from localchat.plan.system_files import read, whole
from localchat.slowness import Conditions

STALL = re.compile(r"some avg10=([0-9]+(?:\.[0-9]+)?) ")
CPUS = Path("sys/devices/system/cpu")
CPUS_LIMIT = 32  # whose clocks are looked at
# With these drivers `powersave` is the usual governor, and says nothing.
CLEVER_DRIVERS = ("intel_pstate", "amd-pstate-epp")


class Watch:
    """Looks at the machine now and then; what is counted is counted from one look to the next. For one thread."""

    def __init__(self, root: Path = Path("/"), swapped: Callable[[], int | None] | None = None) -> None:
        self._root, self._swapped = root, swapped or swapped_in
        self._last: tuple[Moment, int | None] | None = None

    def look(self) -> Conditions:
        """The conditions now; rates are known from the second look on."""
        root, memory, before = self._root, read_memory(self._root), self._last
        moment, swapped = replace(now(), ours_seconds=own_seconds()), self._swapped()
        self._last = moment, swapped
        seconds = moment.at - before[0].at if before else 0.0
        back = swapped - before[1] if before and swapped is not None and before[1] is not None else None
        return Conditions(
            other_cores=other_cores(before[0], moment) if before else None,
            cores=_cores(root),
            on_battery=on_battery(root),
            saves_power=saves_power(root),
            clock=clock(root),
            memory_stall=stalled(read(root / "proc/pressure/memory")),
            disk_stall=stalled(read(root / "proc/pressure/io")),
            swapped_bytes_per_second=max(0, back) / seconds if back is not None and seconds > 0 else None,
            available_bytes=memory.available_bytes,
            total_bytes=memory.total_bytes,
        )


def own_seconds() -> float:
    """Seconds that this process and its children, among them the engine, have computed over all cores."""
    found = time.process_time()
    for child in psutil.Process().children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.Error:
            continue  # it ended meanwhile
        found += spent.user + spent.system
    return found


def swapped_in() -> int | None:
    """Bytes that ever came back from swap; None where the system does not count them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # psutil warns where it cannot count them
            return psutil.swap_memory().sin
    except (OSError, RuntimeError):
        return None


def stalled(text: str) -> float | None:
    """The part of ten seconds in a file of /proc/pressure; None where the kernel does not keep count."""
    match = STALL.match(text)
    return float(match[1]) / 100 if match else None


def clock(root: Path = Path("/")) -> float | None:
    """The clock of the core that runs fastest, as a part of the highest; None where the system does not say."""
    folders = [root / CPUS / f"cpu{cpu}" / "cpufreq" for cpu in sorted(allowed_cpus())[:CPUS_LIMIT]]
    current, highest = (
        max((whole(read(folder / name)) or 0 for folder in folders), default=0)
        for name in ("scaling_cur_freq", "cpuinfo_max_freq")
    )
    return min(1.0, current / highest) if current and highest else None


def saves_power(root: Path = Path("/")) -> bool:
    """Is the machine, or its first core, set to save power rather than to be quick?"""
    folder = root / CPUS / "cpu0/cpufreq"
    if read(root / "sys/firmware/acpi/platform_profile").strip() == "low-power":
        return True
    if read(folder / "energy_performance_preference").strip() == "power":
        return True
    is_simple = read(folder / "scaling_driver").strip() not in CLEVER_DRIVERS
    return is_simple and read(folder / "scaling_governor").strip() == "powersave"


def _cores(root: Path) -> int:
    logical = len(allowed_cpus()) or psutil.cpu_count() or 1
    return max(1, min(logical, cpu_limit(root) or logical))
