"""Where a model runs, in the few words that people use for it. Pure functions of a plan."""

from __future__ import annotations

import re

from localchat.llama.placement import HOST
from localchat.plan.plan import Plan, Predicted
from localchat.text import one_line

# What GPUs add before and after the words by which they are sold.
BEFORE = re.compile(r"^(NVIDIA|AMD|ATI|Intel)\s+|^(GeForce|Quadro)\s+(?=[A-Z]*\s?[0-9A-Z])", re.IGNORECASE)
ASIDE = re.compile(r"\s*\([^)]*\)?")
AFTER = " Graphics"
NAME_CELLS = 24


def gpu_name(description: str) -> str:
    """`RTX 4070` of `NVIDIA GeForce RTX 4070`; the whole description where nothing would be left."""
    name = ASIDE.sub("", one_line(description)).removesuffix(AFTER)
    while (shorter := BEFORE.sub("", name)) != name:
        name = shorter
    return one_line(name or description, NAME_CELLS)


def place(plan: Plan) -> str:
    """`CPU`, `RTX 3060`, `2 x RTX 3060`, `RTX 3060, 28 of 33 layers`; the output counts as a layer.

    `RTX 3060, 12/32 experts on CPU` where so many layers leave their experts in main memory.
    """
    devices = gpu_names(plan)
    if not devices:
        return "CPU"
    if plan.fits == "gpu":
        return devices
    if plan.gpu_layers > plan.layers:
        return f"{devices}, {plan.layout.experts_on_host}/{plan.layers} experts on CPU"
    return f"{devices}, {plan.gpu_layers} of {plan.layers + 1} layers"


def gpu_names(plan: Plan) -> str:
    """The devices that have a share, one after the other, equal ones counted; empty where there are none."""
    names = [gpu_name(part.room.description or part.use.name) for part in on_devices(plan)]
    return " + ".join(
        name if names.count(name) == 1 else f"{names.count(name)} x {name}" for name in dict.fromkeys(names)
    )


def on_devices(plan: Plan) -> tuple[Predicted, ...]:
    """The parts of a plan that are not in main memory."""
    return tuple(part for part in plan.predicted if part.use.name != HOST)


def threads(plan: Plan) -> str:
    """`8 threads`, where the CPU takes part in the work."""
    return "" if plan.fits == "gpu" else f"{plan.threads} thread{'' if plan.threads == 1 else 's'}"
