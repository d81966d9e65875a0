"""Hardware and findings for a person: words first, and a bar where something is used up."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from localchat.doctor.finding import Finding
from localchat.plan.hardware import Hardware
from localchat.text import counted, one_line, size

BAR_CELLS, LABEL_CELLS, FINDING_CELLS = 20, 10, 19
BLOCKS, PLAIN = ("█", "░"), ("#", "-")  # used and free; the second where the terminal is not UTF-8
MARKS = {"ok": "✓", "note": "·", "broken": "✗"}
KIND_WORDS = {"gpu": "GPU", "igpu": "graphics in the processor, shares the memory", "accelerator": "accelerator"}


def print_hardware(hardware: Hardware, disk_bytes: int) -> None:
    """The machine on standard output; `disk_bytes` is the size of the disk where models are kept."""
    for label, text in [*_computing(hardware), *_room(hardware, disk_bytes), *_around(hardware)]:
        _print_row(label, text)
    for gpu in hardware.unused_gpus:
        _print_row("Not used", f"{gpu.name}: llama.cpp was built without it, or does not see it. This mends it:")
        print(f"  {one_line(gpu.fix, 2000)}")  # not wrapped: it is to be copied


def print_findings(findings: Sequence[Finding]) -> None:
    """A line for each thing that was looked at, and the command beneath what is not as it should be."""
    for finding in findings:
        word = "" if finding.state == "ok" else f"{finding.state}: "
        _print_row(f"{MARKS[finding.state]} {finding.name}", word + finding.sentence, FINDING_CELLS)
        if finding.fix and finding.state != "ok":
            print(f"    {one_line(finding.fix, 2000)}")


def bar(used: int, total: int) -> str:
    """The part of something that is used."""
    signs = BLOCKS if can_show("".join(BLOCKS)) else PLAIN
    cells = round(BAR_CELLS * used / total) if total > 0 else 0
    cells = min(BAR_CELLS, max(cells, 1 if used > 0 else 0))
    return signs[0] * cells + signs[1] * (BAR_CELLS - cells)


def can_show(text: str) -> bool:
    """Can standard output write these characters?"""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _print_row(label: str, text: str, cells: int = LABEL_CELLS) -> None:
    """A label and its text, which goes on beneath itself."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=cells, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1)
    table.add_row(Text(one_line(label)), Text(one_line(text, 1000)))
    Console(highlight=False).print(table)


def _computing(hardware: Hardware) -> Iterator[tuple[str, str]]:
    processor = hardware.processor
    yield "System", {"linux": "Linux", "macos": "macOS", "windows": "Windows"}[hardware.system]
    yield "Processor", processor.name
    cores = f"{counted(processor.performance_cores, 'core')} to compute with"
    yield "", f"{cores}, {processor.logical_cores} logical"
    if processor.features:
        yield "", f"llama.cpp uses {' '.join(processor.features)}"


def _room(hardware: Hardware, disk_bytes: int) -> Iterator[tuple[str, str]]:
    memory = hardware.memory
    yield "Memory", _meter(memory.total_bytes - memory.available_bytes, memory.total_bytes)
    rate = hardware.memory_bandwidth_bytes_per_second
    yield "", _bandwidth(rate) if rate else "its speed is not known; it is measured while other programs rest"
    if memory.swap_total_bytes:
        yield "Swap", _meter(memory.swap_total_bytes - memory.swap_free_bytes, memory.swap_total_bytes)
    for device in hardware.devices:
        yield device.name, _meter(device.total_bytes - device.free_bytes, device.total_bytes)
        yield "", f"{device.description}, {KIND_WORDS[device.kind]}, by {device.backend}"
        if device.memory_bandwidth_bytes_per_second:
            yield "", _bandwidth(device.memory_bandwidth_bytes_per_second)
    if not hardware.devices:
        yield "GPU", "none that llama.cpp uses; the processor does all the work"
    yield "Disk", _meter(max(0, disk_bytes - hardware.disk_free_bytes), disk_bytes)


def _meter(used: int, total: int) -> str:
    return f"{bar(used, total)} {size(used)} of {size(total)} used, {size(max(0, total - used))} free"


def _bandwidth(rate: float) -> str:
    return f"reads {size(rate)} a second"


def _around(hardware: Hardware) -> Iterator[tuple[str, str]]:
    if hardware.on_battery is not None:
        yield "Power", "on battery" if hardware.on_battery else "from the mains"
    yield "Screen", "connected" if hardware.has_screen else "none"
