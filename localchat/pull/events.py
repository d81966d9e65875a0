"""What a pull says while it works."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from localchat.library import Installed
from localchat.plan.plan import Plan

Stage = Literal["download", "convert", "check"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What will be done, before anything large is read or written."""

    name: str
    source: str
    plan: Plan
    download_bytes: int
    disk_bytes: int
    commit: str | None = None
    """Of the repository, where it is one."""
    notes: tuple[str, ...] = ()
    """What a user should know of the source, a sentence each."""
    is_present: bool = False
    """Is it installed already, as it would be?"""
    source_bytes: int | None = None
    """Weights that are read to make the model file, 0 where it is taken as it is, None where that was not said."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is; `item` is the file or tensor at hand."""

    stage: Stage
    item: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is installed. Always the last event."""

    model: Installed


PullEvent = Chosen | Progress | Ready
Pull = Generator[PullEvent]
