"""What a checkpoint should become on this machine, and whether there is room for it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from localchat.convert.config import Config
from localchat.convert.header import aligned
from localchat.convert.names import targets
from localchat.convert.recipe import facts_of, file_type, tensor_type
from localchat.convert.sketch import sketched
from localchat.errors import LocalchatError
from localchat.llama.quantize import row_bytes
from localchat.plan.make import Machine, make_plan
from localchat.plan.plan import Plan
from localchat.plan.rungs import GOOD, LOW
from localchat.plan.shape import Shape, candidate
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.text import size

SPARE_BYTES = 64 << 20  # receipts, history and everybody else on the same disk


def subject_for(config: Config, quants: Sequence[str]) -> Subject:
    """What a plan needs of a checkpoint, from its config alone: it could become any of these types."""
    wanted, facts = targets(config), facts_of(config)
    found = []
    for quant in quants:
        kinds = [(target, tensor_type(quant, target.name, target.shape, facts)) for target in wanted]
        sizes = ((one.name, kind.name, aligned(row_bytes(kind, one.columns) * one.rows)) for one, kind in kinds)
        found.append(candidate(quant, config.layers, sizes))
    found.sort(key=lambda one: -one.weights_bytes)
    return Subject(shape_for(config), tuple(found), lambda quant: sketched(config, quant))


def shape_for(config: Config) -> Shape:
    """What memory depends on, from config.json."""
    return Shape(
        architecture=config.architecture,
        layers=config.layers,
        hidden=config.hidden,
        feed_forward=config.feed_forward,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        vocabulary=config.vocabulary,
        context=config.context,
        parameters=sum(math.prod(target.shape) for target in targets(config)),
        experts=config.experts,
        experts_used=config.experts_used,
    )


def types_for(wish: Wish) -> list[str]:
    """The types that are considered. Raises LocalchatError where the one that is asked for is none."""
    asked = file_type(wish.quant) if wish.quant else GOOD[0]
    return list(dict.fromkeys([*GOOD, *LOW, asked]))


def plan_for(config: Config, machine: Machine, wish: Wish) -> Plan:
    """The plan for a checkpoint of this shape, from its config alone. Raises LocalchatError where it cannot run."""
    quants = types_for(wish)
    return make_plan(subject_for(config, quants), machine, normal(wish))


def normal(wish: Wish) -> Wish:
    """The wish with its type as llama.cpp names it. Raises LocalchatError where there is no such type."""
    return replace(wish, quant=file_type(wish.quant)) if wish.quant else wish


def check_disk(folder: Path, needed_bytes: int) -> None:
    """Raises LocalchatError where the disk of the folder has no room for so many bytes more."""
    if not folder.is_dir():
        raise LocalchatError(f"there is no folder {folder}", "make it, or choose another")
    free = shutil.disk_usage(folder).free
    if needed_bytes + SPARE_BYTES > free:
        raise LocalchatError(
            f"this needs {size(needed_bytes)} of disk and {size(free)} are free",
            f"free some space on the disk of {folder}, or set LOCALCHAT_HOME to a folder on another",
        )
