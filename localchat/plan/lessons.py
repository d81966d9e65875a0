"""What a plan can learn from earlier loads, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a plan can learn from earlier loads."""

    overheads: Mapping[str, int] = field(default_factory=dict)
    """Bytes by memory that loads took beyond what had been predicted."""
    ceilings: Mapping[str, int] = field(default_factory=dict)
    """Bytes by memory that a plan for this model must stay below, because so many could not be had."""


NONE = Lessons()
"""Of somebody who has never loaded a model."""
