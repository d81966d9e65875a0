"""Numbers of parsed JSON, taken only where they make sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localchat.errors import BadFile

TINY, HUGE = 1e-30, 1e30  # well inside of what a 32-bit float holds
LARGEST = 1 << 24


def whole(raw: Mapping[str, Any], key: str, *, default: int | None = None, limit: int = LARGEST) -> int:
    """A whole number from 1 to `limit`; absent or null gives the default. Raises BadFile for anything else."""
    value = raw.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise BadFile(f"the config's {key} is {str(value)[:40]}", f"it must be a whole number from 1 to {limit:,}")
    return value


def positive(raw: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A number above 0 that a 32-bit float holds; absent or null gives the default. Raises BadFile like `whole`."""
    value = raw.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not TINY < value < HUGE:
        raise BadFile(f"the config's {key} is {str(value)[:40]}", "it must be a sensible number above 0")
    return float(value)
