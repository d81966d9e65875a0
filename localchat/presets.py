"""Sampling presets: what of the sampling is changed, under a name. Some are built in, others are in `config.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localchat.errors import LocalchatError
from localchat.sampling import RANGES, UNBOUNDED, is_sensible

if TYPE_CHECKING:
    from localchat.settings import Settings

FIELDS = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty",
    "max_tokens", "seed",
)  # fmt: skip
"""What a preset may change, the most used first."""
WHOLE = ("top_k", "max_tokens", "seed")
NAME = re.compile(r"\w[\w .+-]{0,39}")
PRESETS_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Preset:
    """A name for some changes of the sampling that a model recommends."""

    name: str
    numbers: Mapping[str, float]
    about: str = ""
    is_built_in: bool = False


BUILT_IN = (
    Preset("balanced", {}, "what the model recommends", is_built_in=True),
    Preset("precise", {"temperature": 0.2, "top_p": 0.9}, "for facts and code: stays close", is_built_in=True),
    Preset("creative", {"temperature": 1.0, "top_p": 0.98}, "for stories and ideas: strays further", is_built_in=True),
    Preset("greedy", {"temperature": 0.0}, "always the likeliest word: the same each time", is_built_in=True),
)
USUAL = BUILT_IN[0].name
"""The preset of a conversation that has none."""


def presets(settings: Settings) -> tuple[Preset, ...]:
    """All presets: those that are built in, then the user's by name."""
    own = (Preset(name, numbers) for name, numbers in sorted(settings.presets.items()))
    return (*BUILT_IN, *own)


def preset(name: str, settings: Settings) -> Mapping[str, float]:
    """What a preset changes; an empty name is the usual one. Raises LocalchatError for an unknown one."""
    known = {preset.name: preset.numbers for preset in presets(settings)}
    try:
        return known[name or USUAL]
    except KeyError as error:
        raise LocalchatError(f"there is no preset {name!r}", f"known are: {', '.join(known)}") from error


def with_preset(settings: Settings, name: str, numbers: Mapping[str, float], instead_of: str = "") -> dict[str, Any]:
    """The user's presets with this one, in the place of the one that it was made from. Raises LocalchatError."""
    others = {own: values for own, values in settings.presets.items() if own != instead_of}
    if fault := name_fault(name, others):
        raise LocalchatError(fault, "give it another name")
    if not numbers:
        raise LocalchatError("this preset changes nothing", "give it at least one number")
    if len(others) >= PRESETS_LIMIT:
        raise LocalchatError(f"there are {len(others)} presets already", "delete one first")
    return {**others, name: dict(numbers)}


def without_preset(settings: Settings, name: str) -> dict[str, Any]:
    """The user's presets without this one."""
    return {own: numbers for own, numbers in settings.presets.items() if own != name}


def name_fault(name: str, others: Mapping[str, Any]) -> str:
    """What is wrong with a new preset's name; empty where nothing is."""
    if not NAME.fullmatch(name) or name != name.strip():
        return "a preset's name is 1 to 40 letters, digits, spaces, dots, + and -"
    if name in others or name in {built_in.name for built_in in BUILT_IN}:
        return f"there is a preset {name} already"
    return ""


def number_fault(field: str, value: Any) -> str:
    """What is wrong with a number of a preset; empty where nothing is."""
    if field not in FIELDS:
        return f"there is no field {field!r}; known are {', '.join(FIELDS)}"
    is_of_kind = isinstance(value, int) or (isinstance(value, float) and field not in WHOLE)
    if is_of_kind and not isinstance(value, bool) and is_sensible(field, value):
        return ""
    low, high = RANGES[field]
    bounds = f"{low:g} or more" if high == UNBOUNDED else f"from {low:,} to {high:,}"
    return f"{field} must be a {'whole ' if field in WHOLE else ''}number {bounds}"


def number_of(field: str, text: str) -> float | None:
    """The number that was typed for a field, None where nothing was. Raises LocalchatError for what it cannot be."""
    text = text.strip()
    if not text:
        return None
    try:
        number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else float(text)
    except ValueError:
        number = UNBOUNDED
    if fault := number_fault(field, number):
        raise LocalchatError(fault, "leave it empty to keep what the model recommends")
    return number


def preset_faults(value: Any) -> Iterator[str]:
    """What is wrong with the `[presets]` of a file."""
    if not isinstance(value, Mapping):
        yield "presets must be tables, such as [presets.calm]"
        return
    for name, numbers in value.items():
        if fault := name_fault(name, {}):
            yield f"presets.{name}: {fault}"
        elif not isinstance(numbers, Mapping):
            yield f"presets.{name} must be a table of numbers"
        else:
            yield from (f"presets.{name}: {fault}" for key in numbers if (fault := number_fault(key, numbers[key])))


def summary(numbers: Mapping[str, float]) -> str:
    """The numbers in one line: `temperature 0.2 · top_p 0.9`."""
    return " · ".join(f"{field} {shown(numbers[field])}" for field in FIELDS if field in numbers)


def shown(number: float) -> str:
    """A number as it is typed."""
    return str(number) if isinstance(number, int) else f"{number:g}"
