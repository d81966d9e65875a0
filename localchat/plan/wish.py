"""What a user may ask of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Goal = Literal["balanced", "quality", "speed", "context"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; 0 and None leave it to the plan."""

    quant: str | None = None
    context: int = 0
    """Tokens."""
    size_bytes: int = 0
    """Largest size of the weights."""
    threads: int = 0
    goal: Goal = "balanced"
    gpu_memory_bytes: int = 0
    """At most so much of each device is used."""
    memory_bytes: int = 0
    """At most so much of the main memory is used."""
