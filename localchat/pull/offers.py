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
from localchat.plan.facts import subject_of
from localchat.plan.here import this_machine
from localchat.plan.make import Machine, make_plans
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.decide import subject_for, types_for
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


def offers(machine: Machine | None = None) -> list[Offer]:
    """The whole catalog for this machine as it is now, or another: what needs no download first, then by name.

    Raises LocalchatError where llama.cpp cannot be asked what models take.
    """
    machine = machine or this_machine(models_folder())
    names = {model.name for model in library.installed()}
    files = [package_file(entry) for entry in entries()]
    plans = make_plans([_subject(entry, file) for entry, file in zip(entries(), files, strict=True)], machine, Wish())
    found = [
        Offer(entry, *_outcome(chosen), entry.name in names, file is not None)
        for entry, chosen, file in zip(entries(), plans, files, strict=True)
    ]
    return sorted(found, key=lambda offer: (not offer.is_local, offer.plan is None, offer.entry.name))


def _outcome(chosen: Plan | LocalchatError) -> tuple[Plan | None, str]:
    return (None, str(chosen)) if isinstance(chosen, LocalchatError) else (chosen, "")


def _subject(entry: Entry, file: Path | None) -> Subject:
    """The file that is there, or the checkpoint that would be converted."""
    if file is None:
        return subject_for(parse_config(entry.config), types_for(Wish()))
    return subject_of(read_header(file))
