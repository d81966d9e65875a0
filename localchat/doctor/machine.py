"""Memory, disk and power: is there enough to work with?"""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from localchat import library
from localchat.doctor.finding import Finding, command
from localchat.plan.hardware import Hardware
from localchat.text import size

GIB = 1 << 30
LITTLE_MEMORY_BYTES = 2 * GIB
LITTLE_DISK_BYTES, NO_DISK_BYTES = 5 * GIB, 500 << 20
# From here on it is worth a word: more than half of the swap, and not just a few pages.
SWAP_PART, SWAP_BYTES = 0.5, GIB
DISKS = {"win32": "Get-PSDrive"}
LARGEST = {
    "linux": "ps aux --sort=-rss | head", "macos": "ps aux -m | head", "windows": "tasklist /fi \"memusage gt 500000\""
}  # fmt: skip


def check_memory(hardware: Hardware, system_bytes: int = 0) -> list[Finding]:
    """Is memory free? `system_bytes` is what the whole machine has."""
    memory, fix = hardware.memory, LARGEST[hardware.system]
    whole = system_bytes or psutil.virtual_memory().total
    limit = f"; a container's limit leaves that of {size(whole)}" if memory.total_bytes < whole else ""
    sentence = f"{size(memory.available_bytes)} of {size(memory.total_bytes)} are free{limit}"
    if memory.available_bytes < LITTLE_MEMORY_BYTES:
        return [Finding("memory", "note", f"little memory is free: {sentence}", fix), *_swap(hardware)]
    return [Finding("memory", "ok", sentence), *_swap(hardware)]


def _swap(hardware: Hardware) -> list[Finding]:
    total = hardware.memory.swap_total_bytes
    used = total - hardware.memory.swap_free_bytes
    if used < SWAP_BYTES or used < SWAP_PART * total:
        return []
    sentence = f"{size(used)} of {size(total)} of swap are used: programs want more memory than there is"
    return [Finding("swap", "note", sentence, LARGEST[hardware.system])]


def check_disk(hardware: Hardware, home: Path) -> list[Finding]:
    """Is there room for a model?"""
    free = hardware.disk_free_bytes
    sentence = f"{size(free)} are free where models are kept, in {home}"
    if free < NO_DISK_BYTES:
        return [Finding("disk", "broken", f"the disk is full: {sentence}", _room(home))]
    if free < LITTLE_DISK_BYTES:
        return [Finding("disk", "note", f"little room for a model: {sentence}", _room(home))]
    return [Finding("disk", "ok", sentence)]


def _room(home: Path) -> str:
    """The command that frees most for the least: it removes the model that was not used for the longest time."""
    models = library.installed() if (home / "models").is_dir() else []
    return (
        command("localchat", "remove", models[-1].name)
        if models
        else DISKS.get(sys.platform, command("df", "-h", home))
    )


def check_power(hardware: Hardware) -> list[Finding]:
    """Does the machine run at full speed?"""
    if hardware.on_battery is None:
        return []
    if hardware.on_battery:
        return [Finding("power", "note", "the machine runs on its battery, where many compute at a lower speed")]
    return [Finding("power", "ok", "the machine has mains power")]
