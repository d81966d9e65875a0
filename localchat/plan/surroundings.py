"""The system, the power and the screen: what a machine lives with."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from localchat.plan.hardware import System
from localchat.plan.system_files import read


def system_name() -> System:
    """The kind of operating system; whatever is neither of the others counts as Linux."""
    systems: dict[str, System] = {"darwin": "macos", "win32": "windows"}
    return systems.get(sys.platform, "linux")


def has_screen(root: Path = Path("/")) -> bool:
    """Is a screen connected and lit? Elsewhere than on Linux there is one."""
    if system_name() != "linux":
        return True
    connectors = (root / "sys/class/drm").glob("card*-*")
    return any(
        read(connector / "status").strip() == "connected" and read(connector / "enabled").strip() == "enabled"
        for connector in connectors
    )


def on_battery(root: Path = Path("/")) -> bool | None:
    """Does the machine run on its battery? None where it has none, or no way to know."""
    return _linux_battery(root) if system_name() == "linux" else _battery()


def _battery() -> bool | None:
    try:
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    except (OSError, RuntimeError):
        return None
    return None if battery is None or battery.power_plugged is None else not battery.power_plugged


def _linux_battery(root: Path) -> bool | None:
    """The same from /sys; psutil would take the battery of a wireless mouse for the machine's."""
    supplies = [
        {name: read(folder / name).strip() for name in ("type", "scope", "online", "status")}
        for folder in (root / "sys/class/power_supply").glob("*")
    ]
    batteries = [supply for supply in supplies if supply["type"] == "Battery" and supply["scope"] != "Device"]
    if not batteries:
        return None
    if any(supply["type"] in ("Mains", "USB") and supply["online"] == "1" for supply in supplies):
        return False
    states = {battery["status"] for battery in batteries}
    return True if "Discharging" in states else None if states <= {"", "Unknown"} else False
