"""How an app runs a model, as far as it means the same here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localchat.sampling import is_sensible
from localchat.text import one_line

STOPS_LIMIT, STOP_LIMIT_CHARACTERS = 32, 200
SYSTEM_LIMIT_CHARACTERS = 64 << 10
WHOLE = ("top_k", "seed", "max_tokens")
HALF = re.compile("[\ud800-\udfff]")  # of a sign: JSON may have it, and no file can be written with it


@dataclass(frozen=True, slots=True)
class Manner:
    """What is taken over, and in words what is not."""

    stops: tuple[str, ...] = ()
    system: str = ""
    sampling: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def manner_of(app: str, facts: Mapping[str, Any], names: Mapping[str, str], system: str = "") -> Manner:
    """The app's settings in our terms: `names` says which of ours its own are; `stop` is a text or a list of them."""
    given = facts.get("stop", [])
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    stops = tuple(dict.fromkeys(text for text in texts if _is_stop(text)))[:STOPS_LIMIT]
    sampling = {names[key]: value for key, value in facts.items() if key in names and _is_value(names[key], value)}
    left = sorted(key for key in facts if key != "stop" and names.get(key) not in sampling)
    notes = []
    if left:
        notes.append(f"not taken over from {app}: {one_line(', '.join(left))}")
    if len(stops) < len(texts):
        notes.append(f"{len(texts) - len(stops)} of {app}'s stop texts were not taken over")
    if len(system) > SYSTEM_LIMIT_CHARACTERS:
        notes.append(f"{app}'s system prompt is too long and was not taken over")
        system = ""
    return Manner(stops, system, sampling, tuple(notes))


def _is_stop(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= STOP_LIMIT_CHARACTERS and not HALF.search(text)


def _is_value(name: str, value: Any) -> bool:
    if isinstance(value, bool) or (name in WHOLE and not isinstance(value, int)):
        return False
    return isinstance(value, int | float) and is_sensible(name, value)
