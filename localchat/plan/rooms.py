"""The memories of a machine as a plan sees them: how much of each may be used."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localchat.llama.devices import Device
from localchat.llama.placement import HOST
from localchat.plan import margins
from localchat.plan.hardware import Hardware
from localchat.plan.lessons import Lessons
from localchat.plan.margins import Setting
from localchat.plan.wish import Wish


@dataclass(frozen=True, slots=True)
class Room:
    """One memory."""

    name: str
    description: str
    total_bytes: int
    free_bytes: int
    margin_bytes: int
    is_shared: bool = False
    """Is it the main memory under another name, as on a Mac and with integrated graphics?"""
    limit_bytes: int = 0
    """What a model may take."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """All memories that a plan may use."""

    host: Room
    devices: tuple[Room, ...]


def rooms(hardware: Hardware, wish: Wish, lessons: Lessons) -> Rooms:
    """The memories of this machine.

    An integrated GPU counts where there is no other; an accelerator that only speeds up single operations has no room
    for a model.
    """
    setting: Setting = "desktop" if hardware.has_screen else "headless"
    kind = "gpu" if any(device.kind == "gpu" for device in hardware.devices) else "igpu"
    found = [device for device in hardware.devices if device.kind == kind]
    memory, table = hardware.memory, margins.DEVICE[hardware.system, setting]
    host = Room(
        HOST, hardware.processor.name, memory.total_bytes, memory.available_bytes,
        margins.HOST[hardware.system, setting].of(memory.total_bytes),
    )  # fmt: skip
    devices = [
        Room(one.name, one.description, one.total_bytes, one.free_bytes, table.of(one.total_bytes), is_shared(one))
        for one in found
    ]
    return Rooms(
        _limited(host, lessons, wish.memory_bytes),
        tuple(_limited(room, lessons, wish.gpu_memory_bytes) for room in devices),
    )


def _limited(room: Room, lessons: Lessons, most: int) -> Room:
    """The room with what was learned of it and what the user allows; 0 allows all."""
    margin = room.margin_bytes + lessons.overheads.get(room.name, 0)
    limits = [room.free_bytes - margin]
    if most:
        limits.append(most)
    if room.name in lessons.ceilings:
        limits.append(lessons.ceilings[room.name] - 1)
    return replace(room, margin_bytes=margin, limit_bytes=max(0, min(limits)))


def is_shared(device: Device) -> bool:
    """Is its memory the main memory?"""
    return device.kind == "igpu" or device.backend in ("MTL", "Metal")
