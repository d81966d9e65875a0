"""The CPU: which of its cores help llama.cpp, and how many of them this process may use.

llama.cpp waits for its slowest thread, so the small cores of processors that have two kinds do not count; nor does a
second thread on one core, which shares the units that multiply.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import psutil

from localchat.plan.cgroup import cpu_limit
from localchat.plan.hardware import Processor
from localchat.plan.system_files import read, whole
from localchat.text import one_line

# A core below this part of the fastest one is of the slow kind. Of ARM's kinds the small ones reach 25 to 50 % of the
# large ones and the middle ones 70 to 95 %.
SLOW_CAPACITY = 0.6
# Clock rates tell less than capacities: the cores of one kind differ by up to a quarter where some may boost.
SLOW_CLOCK = 0.7
COMMAND_SECONDS = 5


def read_processor(features: tuple[str, ...] = (), root: Path = Path("/")) -> Processor:
    """The CPU of this machine; `features` are what llama.cpp says that it uses."""
    allowed = allowed_cpus()
    logical = len(allowed) if allowed else os.cpu_count() or 1
    cores = _performance_cores(allowed, root) or psutil.cpu_count(logical=False) or logical
    most = cpu_limit(root) or logical
    return Processor(
        name=processor_name(root),
        performance_cores=max(1, min(cores, logical, most)),
        logical_cores=max(1, min(logical, most)),
        features=features,
    )


def allowed_cpus() -> frozenset[int]:
    """The logical CPUs that this process may run on; empty where the system does not say."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def _performance_cores(allowed: Collection[int], root: Path) -> int:
    """Physical cores of the fast kind; 0 where the system does not say."""
    if sys.platform == "darwin":
        return whole(_sysctl("hw.perflevel0.physicalcpu")) or 0
    return physical_cores(fast_cpus(allowed, root), root)


def fast_cpus(allowed: Collection[int], root: Path = Path("/")) -> frozenset[int]:
    """Of the logical CPUs that may be used, those of the fast kind; all of them where there is one kind only."""
    here = frozenset(allowed)
    fast = here & cpu_list(read(root / "sys/devices/cpu_core/cpus"))  # Intel's hybrid processors
    if fast:
        return fast
    for name, part in (("cpu_capacity", SLOW_CAPACITY), ("cpufreq/cpuinfo_max_freq", SLOW_CLOCK)):
        speeds = {cpu: whole(read(root / f"sys/devices/system/cpu/cpu{cpu}" / name)) for cpu in here}
        known = {cpu: speed for cpu, speed in speeds.items() if speed}
        if known and len(known) == len(here):
            return frozenset(cpu for cpu, speed in known.items() if speed >= part * max(known.values()))
    return here


def physical_cores(cpus: Collection[int], root: Path = Path("/")) -> int:
    """How many cores these logical CPUs are; 0 where the system does not say for all."""
    cores = set()
    for cpu in cpus:
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = read(folder / "core_cpus_list") or read(folder / "thread_siblings_list")
        core = cpu_list(siblings) or (read(folder / "physical_package_id"), read(folder / "core_id"))
        if core == ("", ""):
            return 0
        cores.add(core)
    return len(cores)


def cpu_list(text: str) -> frozenset[int]:
    """The numbers of a list such as `0-3,8`; empty for anything else."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        low, high = whole(first), whole(last or first)
        if low is None or high is None or high > 1 << 16:
            return frozenset()
        found.update(range(low, high + 1))
    return frozenset(found)


def processor_name(root: Path = Path("/")) -> str:
    """What the processor calls itself; its architecture where it has no name."""
    if sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
    elif sys.platform == "win32":
        name = _registry_name()
    else:
        name = _cpuinfo_name(read(root / "proc/cpuinfo")) or read(root / "proc/device-tree/model").rstrip("\0")
    return one_line(name) or platform.machine()


def _cpuinfo_name(text: str) -> str:
    """The name in /proc/cpuinfo: of the processor, or else of the board."""
    pairs = [line.partition(":") for line in text.splitlines()]
    facts = {key.strip().lower(): value.strip() for key, _, value in pairs}
    return facts.get("model name") or facts.get("hardware") or facts.get("model") or ""


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _registry_name() -> str:
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])
    except OSError:
        return platform.processor()
