"""A plan for a person, one line a choice and a bar for each memory, and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from localchat.commands.machine_page import can_show
from localchat.llama.placement import HOST
from localchat.plan.make import Choice
from localchat.plan.plan import Plan, Predicted
from localchat.printing import print_table, say
from localchat.text import one_line, size

NO_RATE = "No rate is predicted: the memory's speed is measured only while other programs leave the processor alone."
BAR_CELLS = 48
WIDEST_CELLS = 110
NO_BREAK = "\u00a0"
# The parts of a bar: what it is, its sign, and its sign where the terminal is not UTF-8.
PARTS = (("weights", "█", "#"), ("KV", "▓", "="), ("work", "▒", "+"), ("margin", "╌", ":"), ("free", "·", "."))


def print_plan(name: str, chosen: Plan, choices: Sequence[Choice]) -> None:
    """The choices, the chosen one marked; a bar for each memory that is used; and the reasons."""
    rows = [_row(choice, chosen) for choice in choices]
    print_table(("", "Type", "Weights", "Context", "KV", "Where", "Memory", "Tokens/s"), rows, right=(2, 3, 6, 7))
    for part in chosen.predicted:
        print(f"\n{wrapped(_title(part), later='  ')}\n{_bar(part)}\n{_legend(part)}")
    print(f"\nWhy {chosen.quant} for {one_line(name)}:")
    for reason in chosen.reasons:
        print(wrapped(one_line(reason, 2000), "  - ", "    "))
    say("Memory and tokens/s are predictions. Each load is measured, and the next plan learns from it.")
    if chosen.tokens_per_second is None:
        say(NO_RATE)


def wrapped(text: str, start: str = "", later: str = "") -> str:
    """Lines as wide as the terminal; no word is broken, for commands are to be copied."""
    columns = min(get_terminal_size().columns, WIDEST_CELLS)
    return fill(
        text, columns, initial_indent=start, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def plan_facts(name: str, plan: Plan, download_bytes: int, disk_bytes: int) -> dict[str, Any]:
    """A plan as programs read it."""
    return {
        "model": name,
        **_how(plan),
        "bits_per_weight": plan.bits_per_weight,
        "layers": plan.layers,
        "threads": plan.threads,
        "batch": plan.batch,
        "flash_attention": "auto",
        "experts_on_host": plan.layout.experts_on_host,
        "predicted": {
            "devices": [_memory_facts(part) for part in plan.predicted],
            "tokens_per_second": plan.tokens_per_second,
        },
        "download_bytes": download_bytes,
        "disk_bytes": disk_bytes,
        "reasons": list(plan.reasons),
    }


def choice_facts(choice: Choice) -> dict[str, Any]:
    """One type that could be had, as programs read it."""
    facts: dict[str, Any] = {"quant": choice.candidate.quant, "weights_bytes": choice.candidate.weights_bytes}
    if choice.plan is None:
        return {**facts, "fits": "no", "problem": choice.problem}
    rate = choice.plan.tokens_per_second
    return {**facts, **_how(choice.plan), "total_bytes": choice.plan.total_bytes, "tokens_per_second": rate}


def _how(plan: Plan) -> dict[str, Any]:
    return {
        "quant": plan.quant,
        "context": plan.context,
        "kv_type": plan.kv_type,
        "gpu_layers": plan.gpu_layers,
        "fits": plan.fits,
    }


def _memory_facts(part: Predicted) -> dict[str, Any]:
    return {
        "name": part.use.name,
        "weights_bytes": part.use.weights_bytes,
        "kv_bytes": part.use.kv_bytes,
        "compute_bytes": part.use.compute_bytes,
        "margin_bytes": part.room.margin_bytes,
        "free_bytes": part.room.free_bytes,
    }


def _row(choice: Choice, chosen: Plan) -> tuple[str, ...]:
    plan, mark = choice.plan, "→" if can_show("→") else ">"
    start = (mark if choice.candidate.quant == chosen.quant else "", choice.candidate.quant)
    weights = size(choice.candidate.weights_bytes)
    if plan is None:
        return (*start, weights, "", "", "does not fit", "", "")
    rate = f"{plan.tokens_per_second:.1f}" if plan.tokens_per_second else ""
    return (*start, weights, f"{plan.context:,}", plan.kv_type, where(plan), size(plan.total_bytes), rate)


def where(plan: Plan) -> str:
    """Where a model runs, in a few words."""
    if plan.fits == "memory":
        return "memory"
    if plan.fits == "gpu":
        return " + ".join(share.device for share in plan.layout.shares)
    if plan.layout.experts_on_host and plan.gpu_layers > plan.layers:
        return f"GPU, {plan.layout.experts_on_host}/{plan.layers} experts CPU"
    return f"{plan.gpu_layers}/{plan.layers + 1} on GPU"


def _title(part: Predicted) -> str:
    kind = "Memory" if part.use.name == HOST else part.use.name
    described = f" ({one_line(part.room.description)})" if part.room.description and part.use.name != HOST else ""
    return f"{kind}{described}: {size(part.use.total_bytes)} of the {size(part.room.free_bytes)} that are free now"


def _counts(part: Predicted) -> tuple[int, ...]:
    use = part.use
    left = max(0, part.room.free_bytes - use.total_bytes - part.room.margin_bytes)
    return use.weights_bytes, use.kv_bytes, use.compute_bytes, part.room.margin_bytes, left


def _bar(part: Predicted) -> str:
    """Each part in its length; what is there at all is seen."""
    column = 1 if can_show("".join(sign for _, sign, _ in PARTS)) else 2
    total = sum(_counts(part)) or 1
    ends, reached = [], 0
    for count in _counts(part):
        reached += count
        ends.append(round(BAR_CELLS * reached / total))
    starts = [0, *ends[:-1]]
    signs = "".join(
        str(row[column]) * max(end - start, 1 if count else 0)
        for row, start, end, count in zip(PARTS, starts, ends, _counts(part), strict=True)
    )
    return f"  {signs[:BAR_CELLS]}"


def _legend(part: Predicted) -> str:
    column = 1 if can_show("".join(sign for _, sign, _ in PARTS)) else 2
    words = (f"{row[column]} {row[0]} {size(count)}" for row, count in zip(PARTS, _counts(part), strict=True))
    kept = "  ".join(word.replace(" ", NO_BREAK) for word in words)
    return wrapped(kept, "  ", "  ").replace(NO_BREAK, " ")
