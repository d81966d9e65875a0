"""The catalog as it looks from this machine: what of each model would be run here, and what is there already."""

from __future__ import annotations

import json
from collections.abc import Iterable
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

UNPLANNED = ("rope_theta", "eos_token_id")  # in which tunes differ and on which no plan depends
INSTALLED = "installed"
Kind = Path | str
"""What a plan is made for: a file, or as JSON the config of all models that are alike to a plan."""


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

    @property
    def marks(self) -> list[str]:
        """What a person should know before choosing, a word each."""
        entry = self.entry
        marks = {
            INSTALLED: self.is_installed, "gated": entry.gated, "uncensored": entry.uncensored, "base": not entry.chats
        }  # fmt: skip
        return [mark for mark, holds in marks.items() if holds]


def offers(machine: Machine | None = None) -> list[Offer]:
    """The whole catalog for this machine as it is now, or another: what needs no download first, then by name.

    Raises LocalchatError where llama.cpp cannot be asked what models take.
    """
    machine = machine or this_machine(models_folder())
    names = {model.name for model in library.installed()}
    kinds = {entry.name: _kind(entry) for entry in entries()}
    plans = _plans(kinds.values(), machine)
    found = [
        Offer(entry, *_outcome(plans[kind]), entry.name in names, isinstance(kind, Path))
        for entry, kind in zip(entries(), kinds.values(), strict=True)
    ]
    return sorted(found, key=lambda offer: (not offer.is_local, offer.plan is None, offer.entry.name))


def _kind(entry: Entry) -> Kind:
    file = package_file(entry)
    shape = {key: value for key, value in entry.config.items() if key not in UNPLANNED}
    return json.dumps(shape, sort_keys=True) if file is None else file


def _plans(kinds: Iterable[Kind], machine: Machine) -> dict[Kind, Plan | LocalchatError]:
    """One plan for each kind: most tunes of a model are of the same."""
    subjects = {kind: _subject(kind) for kind in dict.fromkeys(kinds)}
    return dict(zip(subjects, make_plans(list(subjects.values()), machine, Wish()), strict=True))


def _subject(kind: Kind) -> Subject:
    """The file that is there, or the checkpoint that would be converted."""
    if isinstance(kind, Path):
        return subject_of(read_header(kind))
    return subject_for(parse_config(json.loads(kind)), types_for(Wish()))


def _outcome(chosen: Plan | LocalchatError) -> tuple[Plan | None, str]:
    return (None, str(chosen)) if isinstance(chosen, LocalchatError) else (chosen, "")
