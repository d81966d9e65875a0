"""The catalog as it looks from this machine: what of each model would be run here, and what is there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localchat import library
from localchat.catalog import Entry, entries
from localchat.convert.config import parse_config
from localchat.errors import LocalchatError
from localchat.gguf_file import read_header
from localchat.paths import models_folder
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.hardware import Hardware, detect
from localchat.plan.plan import Plan, Wish, plan
from localchat.pull.decide import plan_for
from localchat.pull.source import package_file


@dataclass(frozen=True, slots=True)
class Offer:
    """A published model, and what this machine would make of it."""

    entry: Entry
    plan: Plan | None
    problem: str
    """Why there is no plan."""
    is_installed: bool
    is_local: bool
    """Can it be installed at once, without a download?"""


def offers() -> list[Offer]:
    """The whole catalog: what needs no download first, then by name."""
    hardware = detect(models_folder())
    names = {model.name for model in library.installed()}
    found = [_offer(entry, hardware, names) for entry in entries()]
    return sorted(found, key=lambda offer: (not offer.is_local, offer.plan is None, offer.entry.name))


def _offer(entry: Entry, hardware: Hardware, installed: set[str]) -> Offer:
    file = package_file(entry)
    try:
        chosen, problem = _plan(entry, file, hardware), ""
    except LocalchatError as error:
        chosen, problem = None, str(error)
    return Offer(entry, chosen, problem, entry.name in installed, file is not None)


def _plan(entry: Entry, file: Path | None, hardware: Hardware) -> Plan:
    """The plan of the file that is there, or of the checkpoint that would be converted."""
    if file is None:
        return plan_for(parse_config(entry.config), hardware, Wish())
    model = read_header(file)
    return plan(shape_of(model), [candidate_of(model)], hardware, Wish())
