"""What there is to compute with on one machine: the facts that a plan is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localchat.llama.devices import Device

System = Literal["linux", "macos", "windows"]


@dataclass(frozen=True, slots=True)
class Processor:
    """The CPU, as far as this process may use it."""

    name: str
    performance_cores: int
    """Physical cores, without the slow ones of processors that have two kinds, within what a container allows."""
    logical_cores: int
    features: tuple[str, ...] = ()
    """Instruction sets that this build of llama.cpp uses, in lower case, such as `avx2`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The main memory, within what a container allows."""

    total_bytes: int
    available_bytes: int
    """What can be had without swapping."""
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UnusedGpu:
    """A GPU that is there and that this build of llama.cpp cannot use."""

    name: str
    fix: str
    """The command that builds llama.cpp for it."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One machine at one moment."""

    system: System
    processor: Processor
    memory: Memory
    disk_free_bytes: int
    """Where models are kept."""
    devices: tuple[Device, ...] = ()
    """What llama.cpp will use besides the CPU, in its own order."""
    unused_gpus: tuple[UnusedGpu, ...] = ()
    has_screen: bool = False
    """Is a screen connected, so that a desktop lives on the GPU too?"""
    on_battery: bool | None = None
    """None where there is no battery, or no way to know."""
    memory_bandwidth_bytes_per_second: float | None = None
    """At which the CPU multiplies a matrix by a vector; None where it was not measured."""
