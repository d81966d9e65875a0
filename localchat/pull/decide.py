"""What a checkpoint should become on this machine, and whether there is room for it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from localchat.convert.config import Config
from localchat.convert.layout import weights_bytes
from localchat.convert.names import targets
from localchat.convert.recipe import facts_of, file_type, tensor_type
from localchat.errors import LocalchatError
from localchat.plan.hardware import Hardware
from localchat.plan.plan import GOOD, LOW, Candidate, Plan, Shape, Wish, plan
from localchat.text import size

SPARE_BYTES = 64 << 20  # receipts, history and everybody else on the same disk


def candidates(config: Config, quants: Sequence[str]) -> list[Candidate]:
    """The types that a model of this shape could be given, with the bytes of its weights in each."""
    wanted, facts = targets(config), facts_of(config)
    return [
        Candidate(
            quant, weights_bytes(wanted, [tensor_type(quant, target.name, target.shape, facts) for target in wanted])
        )
        for quant in quants
    ]


def shape_for(config: Config) -> Shape:
    """What memory depends on, from config.json."""
    return Shape(
        layers=config.layers,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        feed_forward=config.feed_forward,
        vocabulary=config.vocabulary,
        context=config.context,
        parameters=sum(math.prod(target.shape) for target in targets(config)),
    )


def plan_for(config: Config, hardware: Hardware, wish: Wish) -> Plan:
    """The plan for a checkpoint of this shape, from its config alone. Raises LocalchatError where it cannot run."""
    quants = [file_type(wish.quant)] if wish.quant else [*GOOD, *LOW]
    return plan(shape_for(config), candidates(config, quants), hardware, wish)


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
