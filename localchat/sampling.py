"""How the next token is chosen, in the field's usual terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from localchat.errors import LocalchatError

UNBOUNDED = float("inf")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampler settings of one reply; the defaults are llama.cpp's but for the milder temperature."""

    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_k: int = 40
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keep the likeliest tokens that together reach this probability; 1 keeps all."""
    min_p: float = 0.05
    """Keep tokens at least this likely relative to the likeliest; 0 keeps all."""
    repeat_penalty: float = 1.0
    """Divides the logits of the last 64 tokens; 1 changes nothing."""
    seed: int | None = None
    """None draws a new one for each reply."""
    max_tokens: int | None = None
    """Length limit of the reply; None is as long as the context lasts."""


RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 10),
    "top_k": (0, 1_000_000),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (0.01, 10),
    "seed": (0, 2**32 - 1),
    "max_tokens": (1, UNBOUNDED),
}


def is_sensible(name: str, value: float) -> bool:
    """Is this a field and a value that it may have?"""
    low, high = RANGES.get(name, (UNBOUNDED, 0))
    return isinstance(value, int | float) and low <= value <= high


def checked(sampling: Sampling) -> Sampling:
    """The same sampling if every number is in its range; raises LocalchatError naming the first that is not."""
    for field in fields(sampling):
        value = getattr(sampling, field.name)
        if value is not None and not is_sensible(field.name, value):
            flag = field.name.replace("_", "-")
            low, high = RANGES[field.name]
            bound = f"from {low:,} to {high:,}" if high != UNBOUNDED else f"{low:g} or more"
            raise LocalchatError(f"{flag} is out of range", f"give --{flag} a number {bound}")
    return sampling


def overridden(sampling: Sampling, changes: Mapping[str, Any]) -> Sampling:
    """The sampling with those of the changes that are not None, checked."""
    return checked(replace(sampling, **{name: value for name, value in changes.items() if value is not None}))
