"""What the hardware screen says, as values: bars of memories, rows of facts, sentences. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from textual.content import Content

from localchat.doctor.finding import Finding, State
from localchat.engine.events import Taken
from localchat.llama.devices import Device
from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware
from localchat.plan.places import gpu_name, place
from localchat.plan.plan import Plan
from localchat.plan.rooms import is_shared
from localchat.text import capitalized, counted, one_line, size
from localchat.tui.meter import Kind, Part

WEIGHTS = Kind("weights", "█", "$primary")
CACHE = Kind("KV cache", "▓", "$secondary")
WORK = Kind("work buffers", "▒", "$accent")
OTHERS = Kind("other programs", "░", "$foreground-muted")
FREE = Kind("free", "·", "$foreground 40%")
MAIN_MEMORY = "Main memory"
SYSTEMS = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}
KINDS = {"gpu": "GPU", "igpu": "graphics in the processor", "accelerator": "accelerator"}
SIGNS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "$text-success"),
    "note": ("·", "$text-warning"),
    "broken": ("✗", "$text-error"),
}
# Of all that a processor has, what makes llama.cpp quick.
FAST = ("avx2", "avx512", "avx512_vnni", "avx_vnni", "amx_int8", "neon", "dotprod", "matmul_int8", "sve", "sme")

Row = tuple[str, str]
TakenBy = Mapping[str, Taken]
"""What the loaded model takes, by the name of the memory."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One memory and what fills it."""

    name: str
    about: str
    parts: tuple[Part, ...]

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(part.amount for part in self.parts)

    @property
    def words(self) -> str:
        """How much of it is in use."""
        free = sum(part.amount for part in self.parts if part.kind is FREE)
        return f"{size(self.total_bytes - free)} of {size(self.total_bytes)} in use"


def bars(hardware: Hardware, taken: TakenBy, *, is_mapped: bool) -> list[Bar]:
    """Each device, and last the main memory. Of a mapped file the system says that its memory could be had."""
    return [*(_device_bar(device, taken) for device in hardware.devices), _memory_bar(hardware, taken, is_mapped)]


def _device_bar(device: Device, taken: TakenBy) -> Bar:
    model = _model_parts(taken.get(device.name))
    used = sum(part.amount for part in model)
    shared = ", shares the main memory" if is_shared(device) else ""
    about = f"{one_line(device.name, 20)}, {KINDS[device.kind]} by {one_line(device.backend, 20)}{shared}"
    others = device.total_bytes - device.free_bytes - used
    return Bar(gpu_name(device.description), about, _filled(model, others, device.total_bytes))


def _memory_bar(hardware: Hardware, taken: TakenBy, is_mapped: bool) -> Bar:
    memory, model = hardware.memory, _model_parts(taken.get(HOST))
    shared = [part for device in hardware.devices if is_shared(device) for part in _model_parts(taken.get(device.name))]
    model = tuple(Part(one.kind, one.amount + _of(shared, one.kind)) for one in model)
    held = sum(part.amount for part in model if not (is_mapped and part.kind is WEIGHTS))
    others = memory.total_bytes - memory.available_bytes - held
    return Bar(MAIN_MEMORY, "", _filled(model, others, memory.total_bytes))


def _model_parts(taken: Taken | None) -> tuple[Part, ...]:
    if taken is None:
        return Part(WEIGHTS, 0), Part(CACHE, 0), Part(WORK, 0)
    return Part(WEIGHTS, taken.weights_bytes), Part(CACHE, taken.kv_bytes), Part(WORK, taken.compute_bytes)


def _of(parts: Sequence[Part], kind: Kind) -> int:
    return sum(part.amount for part in parts if part.kind is kind)


def _filled(model: Sequence[Part], others: int, total: int) -> tuple[Part, ...]:
    """What is not used; the figures are of different moments and need not add up."""
    others = max(0, others)
    free = max(0, total - others - sum(part.amount for part in model))
    return (*model, Part(OTHERS, others), Part(FREE, free))


def machine_rows(hardware: Hardware) -> Iterator[Row]:
    """The machine, a label and a text each."""
    processor = hardware.processor
    yield "System", SYSTEMS[hardware.system]
    yield "Processor", one_line(processor.name, 100)
    yield "", f"{counted(processor.performance_cores, 'core')} to compute with, {processor.logical_cores} logical"
    if features := [name for name in processor.features if name in FAST]:
        yield "", f"llama.cpp uses {one_line(', '.join(features), 120)}"
    if rate := hardware.memory_bandwidth_bytes_per_second:
        yield "Memory", f"reads {size(rate)} a second"
    for device in hardware.devices:
        if rate := device.memory_bandwidth_bytes_per_second:
            yield gpu_name(device.description), f"reads {size(rate)} a second"
    if not hardware.devices:
        yield "GPU", "none that llama.cpp uses; the processor does all the work"
    if total := hardware.memory.swap_total_bytes:
        yield "Swap", f"{size(total - hardware.memory.swap_free_bytes)} of {size(total)} in use"
    yield "Disk", f"{size(hardware.disk_free_bytes)} free where models are kept"
    yield "Power", {None: "no battery", True: "on battery", False: "from the mains"}[hardware.on_battery]


def choice(name: str, plan: Plan) -> str:
    """What was chosen, in one sentence."""
    what = (
        f"{one_line(name, 60)} as {plan.quant} with {plan.context:,} tokens of context and an {plan.kv_type} KV cache"
    )
    if plan.kv_type == "q8_0":
        what = what.replace(" an q8_0", " a q8_0")
    return f"{what}, on {'the CPU' if plan.fits == 'memory' else place(plan)}."


def sentences(reasons: Sequence[str]) -> list[str]:
    """Reasons as sentences of their own."""
    return [f"{capitalized(one_line(reason, 1000))}." for reason in reasons]


def comparison(plan: Plan, taken: TakenBy, rate: float | None) -> Iterator[tuple[str, str, str]]:
    """What it is of, what was predicted, and what was measured."""
    for part in plan.predicted:
        name = MAIN_MEMORY if part.use.name == HOST else gpu_name(part.room.description or part.use.name)
        there = taken.get(part.use.name)
        yield name, size(part.use.total_bytes), size(_measured(there)) if there else "not known"
    predicted = f"{plan.tokens_per_second:.1f} tokens/s" if plan.tokens_per_second else "not known"
    yield "Rate of writing", predicted, f"{rate:.1f} tokens/s" if rate else "nothing yet"


def _measured(taken: Taken) -> int:
    return taken.resident_bytes or taken.weights_bytes + taken.kv_bytes + taken.compute_bytes


def finding_content(finding: Finding) -> tuple[Content, Content]:
    """What was looked at, with a sign; and what was found, after the word for it."""
    sign, style = SIGNS[finding.state]
    name = Content.assemble((f"{sign} ", style), (one_line(finding.name, 17), "bold"))
    return name, Content.assemble((f"{finding.state}: ", style), one_line(finding.sentence, 1000))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns beneath each other; the last column is as wide as it is."""
    columns = len(rows[0]) - 1 if rows else 0
    widths = [max(len(row[column]) for row in rows) for column in range(columns)]
    return [
        "  ".join([*(cell.ljust(cells) for cell, cells in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
