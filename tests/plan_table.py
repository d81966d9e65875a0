"""The plans for every machine in data/machines, as a table to read: `python tests/plan_table.py` writes it anew.

The dry runs are real. Where a machine has a GPU, the CPU here stands in for it, as it does for `plan --hardware FILE`.
"""

from __future__ import annotations

from pathlib import Path

from localchat.catalog import lookup
from localchat.convert.config import parse_config
from localchat.errors import LocalchatError
from localchat.llama.placement import HOST
from localchat.plan.hardware_file import read_hardware
from localchat.plan.make import Machine, make_plans
from localchat.plan.plan import Plan, Predicted
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.decide import subject_for, types_for

FOLDER = Path(__file__).parent / "data" / "machines"
TABLE = FOLDER / "plans.md"
GIB = 1 << 30
MODELS = {
    "Mistral 7B": "mistral-7b-instruct-v0.2",
    "Mixtral 8x7B": "mixtral-8x7b-instruct-v0.1",
    "SmolLM2 135M": "smollm2",
}
HEADINGS = ("Machine", "Model", "Type", "Context", "KV", "Layers", "GPU memory, GiB", "Memory, GiB", "Tokens/s")
NUMBERS = HEADINGS[6:]
WORDS = """# What would be chosen

Made by `python tests/plan_table.py` from the machines beside this file and the catalog; a test compares it with what is
chosen now. Memory is what the model takes, of what it may take, of what is free; the difference of the last two is
left alone. Layers count the output as one more. Rates are predictions from the bandwidths in the machine files, and
upper limits for a small model, whose layers take longer than reading their weights.

"""


def subject(name: str) -> Subject:
    """A model of the catalog in all types that it could have."""
    entry = lookup(name)
    assert entry is not None
    return subject_for(parse_config(entry.config), types_for(Wish()))


def rows() -> list[tuple[str, ...]]:
    """A row for each machine and model."""
    subjects, found = [subject(name) for name in MODELS.values()], []
    for path in sorted(FOLDER.glob("*.json")):
        plans = make_plans(subjects, Machine(read_hardware(path), is_here=False), Wish())
        found += [(path.stem, title, *_cells(plan)) for title, plan in zip(MODELS, plans, strict=True)]
    return found


def _cells(plan: Plan | LocalchatError) -> tuple[str, ...]:
    if isinstance(plan, LocalchatError):
        return ("does not fit", "", "", "", "", _refusal(str(plan)), "")
    on_devices = [part for part in plan.predicted if part.use.name != HOST]
    return (
        plan.quant,
        f"{plan.context:,}",
        plan.kv_type,
        _layers(plan),
        " + ".join(_memory(part) for part in on_devices),
        _memory(plan.predicted[-1]),
        f"{plan.tokens_per_second:.1f}" if plan.tokens_per_second else "",
    )


def _layers(plan: Plan) -> str:
    where = [f"{share.layers} on {share.device}" for share in plan.layout.shares]
    left = plan.layers + 1 - plan.gpu_layers
    where += [f"{left} on the CPU"] if left else []
    where += [f"experts of {plan.layout.experts_on_host} on the CPU"] if plan.layout.experts_on_host else []
    return ", ".join(where)


def _memory(part: Predicted) -> str:
    sizes = (part.use.total_bytes, part.room.limit_bytes, part.room.free_bytes)
    return " of ".join(f"{count / GIB:.1f}" for count in sizes)


def _refusal(sentence: str) -> str:
    """What is needed, of what can be had."""
    words = sentence.split()
    return f"{words[words.index('least') + 1]} of {words[words.index('and') + 1]}"


def text(found: list[tuple[str, ...]]) -> str:
    """The table as Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *found]
    return WORDS + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read() -> list[tuple[str, ...]]:
    """The rows of the file."""
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ")][2:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


if __name__ == "__main__":
    TABLE.write_text(text(rows()), "utf-8")
