"""Hardware as JSON: what `localchat hardware --json` prints, and a strict reader of it.

With the file of another machine a plan can be made for that machine.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, get_args

from localchat.errors import BadFile
from localchat.files import read_json
from localchat.llama.devices import KINDS, Device
from localchat.plan.hardware import Hardware, Memory, Processor, System, UnusedGpu
from localchat.text import one_line

HINT = "make one on the machine itself: localchat hardware --json > machine.json"
BYTES_LIMIT = 1 << 50
BANDWIDTH_LIMIT = 1e15  # bytes per second; what is fastest today moves 1e13
CORES_LIMIT, DEVICES_LIMIT, FEATURES_LIMIT = 4096, 64, 256
FIX_LIMIT = 2000  # characters; a command may have a long path in it
METAL = ("MTL", "Metal")


def hardware_json(hardware: Hardware) -> dict[str, Any]:
    """The facts as programs read them; sizes in bytes, None where something was not found out."""
    memory = hardware.memory
    return {
        "system": hardware.system,
        "cpu": asdict(hardware.processor) | {"features": list(hardware.processor.features)},
        "memory": asdict(memory),
        "devices": [asdict(device) for device in hardware.devices],
        "unused_gpus": [asdict(gpu) for gpu in hardware.unused_gpus],
        "disk": {"free_bytes": hardware.disk_free_bytes},
        "has_screen": hardware.has_screen,
        "on_battery": hardware.on_battery,
        "memory_bandwidth_bytes_per_second": hardware.memory_bandwidth_bytes_per_second,
    }


def read_hardware(path: Path) -> Hardware:
    """The machine in a file. Raises BadFile that names the field; unknown fields are left out, texts are cleaned."""
    try:
        raw = read_json(path)
    except BadFile as error:
        raise BadFile(str(error), HINT) from error
    top = _Fields(raw, path.name, "")
    devices = tuple(_device(fields) for fields in top.objects("devices"))
    return Hardware(
        system=_system(top, devices),
        processor=_processor(top.object("cpu")),
        memory=_memory(top.object("memory")),
        disk_free_bytes=top.object("disk").size("free_bytes"),
        devices=devices,
        unused_gpus=tuple(
            UnusedGpu(gpu.text("name"), gpu.text("fix", FIX_LIMIT)) for gpu in top.objects("unused_gpus")
        ),
        has_screen=top.flag("has_screen") or False,
        on_battery=top.flag("on_battery"),
        memory_bandwidth_bytes_per_second=top.rate("memory_bandwidth_bytes_per_second"),
    )


def _system(top: _Fields, devices: tuple[Device, ...]) -> System:
    """Where it is not said, only Apple's machines have Metal."""
    if "system" not in top.raw:
        return "macos" if any(device.backend in METAL for device in devices) else "linux"
    systems: tuple[System, ...] = get_args(System)
    found = next((system for system in systems if system == top.raw["system"]), None)
    if found is None:
        top.fail("system", f"one of {', '.join(systems)}")
    return found


def _processor(fields: _Fields) -> Processor:
    logical = fields.whole("logical_cores", 1, CORES_LIMIT)
    return Processor(
        fields.text("name"), fields.whole("performance_cores", 1, logical), logical, fields.texts("features")
    )


def _memory(fields: _Fields) -> Memory:
    total = fields.size("total_bytes", 1)
    swap = fields.size("swap_total_bytes", default=0)
    return Memory(
        total,
        fields.size("available_bytes", most=total),
        swap,
        fields.size("swap_free_bytes", most=swap, default=0),
    )


def _device(fields: _Fields) -> Device:
    total, kind = fields.size("total_bytes"), fields.text("kind")
    if kind not in KINDS.values():
        fields.fail("kind", f"one of {', '.join(KINDS.values())}")
    return Device(
        name=fields.text("name"),
        description=fields.text("description"),
        kind=kind,
        backend=fields.text("backend"),
        total_bytes=total,
        free_bytes=fields.size("free_bytes", most=total),
        memory_bandwidth_bytes_per_second=fields.rate("memory_bandwidth_bytes_per_second"),
    )


class _Fields:
    """The fields of one object in a file, each read as what it must be; `where` is its own place in the file."""

    def __init__(self, raw: dict[str, Any], file: str, where: str) -> None:
        self.raw, self._file, self._where = raw, file, where

    def fail(self, name: str, wanted: str) -> NoReturn:
        """Raises BadFile."""
        verb = "must be" if name in self.raw else "is missing; it must be"
        raise BadFile(f"{self._file}: {self._where}{name} {verb} {wanted}", HINT)

    def object(self, name: str) -> _Fields:
        """An object that must be there."""
        value = self.raw.get(name)
        if not isinstance(value, dict):
            self.fail(name, "an object")
        return self._within(value, name)

    def objects(self, name: str) -> list[_Fields]:
        """The objects in a list that must be there."""
        values = self.raw.get(name)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.fail(name, "a list of objects")
        if len(values) > DEVICES_LIMIT:
            self.fail(name, f"no longer than {DEVICES_LIMIT}")
        return [self._within(value, f"{name}[{index}]") for index, value in enumerate(values)]

    def _within(self, value: dict[str, Any], name: str) -> _Fields:
        return _Fields(value, self._file, f"{self._where}{name}.")

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number in these limits."""
        value = self.raw.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.fail(name, f"a whole number from {least:,} to {most:,}")
        return value

    def size(self, name: str, least: int = 0, most: int = BYTES_LIMIT, default: int | None = None) -> int:
        """A number of bytes."""
        return self.whole(name, least, min(most, BYTES_LIMIT), default)

    def rate(self, name: str) -> float | None:
        """Bytes per second; None where it is not there."""
        value = self.raw.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 < value <= BANDWIDTH_LIMIT or not math.isfinite(value):
            self.fail(name, f"above 0 and up to {BANDWIDTH_LIMIT:g}, or null")
        return float(value)

    def flag(self, name: str) -> bool | None:
        """True, false or None; None where it is not there."""
        value = self.raw.get(name)
        if value is not None and not isinstance(value, bool):
            self.fail(name, "true, false or null")
        return value

    def text(self, name: str, limit: int = 200) -> str:
        """A text on one line that a terminal may show."""
        value = self.raw.get(name)
        if not isinstance(value, str):
            self.fail(name, "a text")
        return one_line(value, limit)

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts in a list."""
        values = self.raw.get(name)
        if not isinstance(values, list) or len(values) > FEATURES_LIMIT:
            self.fail(name, f"a list of up to {FEATURES_LIMIT} texts")
        if not all(isinstance(value, str) for value in values):
            self.fail(name, "a list of texts alone")
        return tuple(one_line(value) for value in values)
