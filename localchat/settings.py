"""Settings: a default, then `config.toml`, then `LOCALCHAT_*`, then the flag, the later the stronger."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from localchat.errors import LocalchatError
from localchat.files import read_bytes
from localchat.paths import config_file

CONFIG_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set for good; every field is a key of `config.toml` and a `LOCALCHAT_` variable."""

    context: int = 0
    """Tokens of context to plan for; 0 lets the plan choose (8,192 where the model and the memory allow)."""
    threads: int = 0
    """Threads for quantizing and inference; 0 takes one for each physical core."""
    sessions_gib: int = 4
    """GiB of disk for what was read of conversations, so that they open at once; 0 keeps nothing."""
    idle_minutes: int = 30
    """After so long without a question the app gives the model's memory back until the next one; 0 is never."""
    theme: str = "localchat"
    """`localchat`, `localchat-light`, or the name of a theme of Textual."""
    system: str = ""
    """System message of new conversations; empty leaves it to the model."""


LIMITS = {"context": (0, 1 << 24), "threads": (0, 1024), "sessions_gib": (0, 1 << 16), "idle_minutes": (0, 7 * 24 * 60)}


def load(path: Path | None = None) -> Settings:
    """The settings in force without flags. Raises LocalchatError that names the file or variable and the key."""
    path = config_file() if path is None else path
    settings = _with(Settings(), _from_file(path), str(path)) if path.exists() else Settings()
    return _with(settings, _from_environment(), "the environment (LOCALCHAT_…)")


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(path, CONFIG_LIMIT_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LocalchatError(f"{path} is not valid TOML: {error}", "mend or delete the file") from error


def _from_environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(Settings):
        text = os.environ.get(f"LOCALCHAT_{field.name.upper()}")
        if text is not None:
            found[field.name] = int(text) if field.name in LIMITS and text.isdecimal() and len(text) < 10 else text
    return found


def _with(settings: Settings, values: dict[str, Any], origin: str) -> Settings:
    known = {field.name: type(field.default) for field in fields(Settings)}
    for name, value in values.items():
        if name not in known:
            raise LocalchatError(f"{origin} has an unknown setting {name!r}", f"known are: {', '.join(known)}")
        if type(value) is not known[name]:
            raise LocalchatError(f"{origin}: {name} must be a {known[name].__name__}", "mend the value")
        low, high = LIMITS.get(name, (0, 0))
        if isinstance(value, int) and not low <= value <= high:
            raise LocalchatError(f"{origin}: {name} must be from {low:,} to {high:,}", "mend the value")
    return replace(settings, **values)
