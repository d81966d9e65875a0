"""Settings: a default, then `config.toml`, then `LOCALCHAT_*`, then the flag, the later the stronger."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from localchat.errors import LocalchatError
from localchat.files import read_bytes, writing
from localchat.paths import config_file, private_folder
from localchat.presets import preset_faults

CONFIG_LIMIT_BYTES = 1 << 20

Source = Literal["default", "file", "environment"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set for good: keys and tables of `config.toml`; every key is a `LOCALCHAT_` variable too."""

    context: int = field(default=0, metadata={"about": "Room for a conversation; 0 is 8,192 where that fits."})
    threads: int = field(
        default=0,
        metadata={"about": "For the processor; 0 takes one for each physical core."},
    )
    sessions_gib: int = field(
        default=4,
        metadata={"about": "Disk for what was read, to open it at once; 0 is none."},
    )
    idle_minutes: int = field(
        default=30,
        metadata={"about": "After so long idle the model leaves the memory; 0 is never."},
    )
    theme: str = field(
        default="localchat",
        metadata={"about": "Colors; localchat-16 is for terminals of few."},
    )
    system: str = field(default="", metadata={"about": "What the model is told first in new conversations."})
    titles: bool = field(default=True, metadata={"about": "New conversations get a title from the model."})
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of the app's actions, in the place of the usual ones: `[keys]`, such as `new = "ctrl+g"`."""
    presets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The user's sampling presets: `[presets.NAME]` with fields of `localchat.sampling`."""


TABLES = ("keys", "presets")
SCALARS = {known.name: known.default for known in fields(Settings) if known.name not in TABLES}
"""The settings that are one value, with their defaults."""
ABOUT: dict[str, str] = {known.name: known.metadata["about"] for known in fields(Settings) if known.name in SCALARS}
LIMITS = {"context": (0, 1 << 24), "threads": (0, 1024), "sessions_gib": (0, 1 << 16), "idle_minutes": (0, 7 * 24 * 60)}
KINDS = {int: "a whole number", str: "text", bool: "true or false"}
TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def load(path: Path | None = None) -> Settings:
    """The settings in force without flags. Raises LocalchatError that names the file or variable and the key."""
    path = config_file() if path is None else path
    settings = _with(Settings(), _from_file(path), str(path))
    return _with(settings, _from_environment(), "the environment (LOCALCHAT_…)")


def sources(path: Path | None = None) -> dict[str, Source]:
    """Where the value in force of each setting comes from. Raises LocalchatError for a file that is no TOML."""
    in_file = _from_file(config_file() if path is None else path)
    found: dict[str, Source] = {name: "file" if name in in_file else "default" for name in (*SCALARS, *TABLES)}
    return {**found, **dict.fromkeys(_from_environment(), "environment")}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"LOCALCHAT_{name.upper()}"


def checked(name: str, value: Any, origin: str = "the settings") -> Any:
    """The value of one setting. Raises LocalchatError where it cannot be that of this setting."""
    if name in TABLES:
        return _checked_table(name, value, origin)
    if name not in SCALARS:
        known = ", ".join((*SCALARS, *TABLES))
        raise LocalchatError(f"{origin} has an unknown setting {name!r}", f"known are: {known}")
    kind = type(SCALARS[name])
    if type(value) is not kind:
        raise LocalchatError(f"{origin}: {name} must be {KINDS[kind]}", "mend the value")
    low, high = LIMITS.get(name, (0, 1))
    if isinstance(value, int) and not low <= value <= high:
        raise LocalchatError(f"{origin}: {name} must be from {low:,} to {high:,}", "mend the value")
    return value


def save(changes: Mapping[str, Any], path: Path | None = None) -> Settings:
    """Write these settings into the file, whose other lines and comments stay as they are; None takes one out of it.

    A table is given whole. Returns the settings that are then in force. Raises LocalchatError, and changes nothing, for
    a value that cannot be, a file that cannot be read, and what an environment variable overrides.
    """
    path = (config_file() if path is None else path).resolve()  # where the file is a link, that stays one
    for name in changes.keys() & _from_environment().keys():
        raise LocalchatError(f"{variable(name)} sets {name}, and is stronger than {path.name}", "unset it to change it")
    before = _from_file(path)
    settings = _with(Settings(), _merged(before, changes), str(path))
    written = _edited(_text(path), before, changes, path)
    private_folder(path.parent)
    with writing(path) as partial:
        partial.touch(mode=0o600)
        partial.write_bytes(written)
    return _with(settings, _from_environment(), "the environment (LOCALCHAT_…)")


def _edited(text: str, before: dict[str, Any], changes: Mapping[str, Any], path: Path) -> bytes:
    """The text of the file with the changes in it, read again to be sure that it says this and nothing else."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    after = _merged(before, changes)
    try:
        document = tomlkit.parse(text)
        for name, value in changes.items():
            _put(document, name, value)
        written = tomlkit.dumps(document)
        if tomllib.loads(written) == after:
            return written.encode("utf-8")
    except (TOMLKitError, ValueError, RecursionError):
        pass
    raise LocalchatError(f"{path.name} is written in a way that cannot be changed from here", f"edit {path} by hand")


def _put(table: Any, name: str, value: Any) -> None:
    """Set, change or take out one key. In a table that stays, only what differs is touched."""
    import tomlkit

    if value is None or value == {}:
        table.pop(name, None)
    elif not isinstance(value, Mapping):
        table[name] = value
    else:
        if name not in table:
            table[name] = tomlkit.table()
        for key in [key for key in table[name] if key not in value]:
            table[name].pop(key)
        for key, entry in value.items():
            if key not in table[name] or table[name][key] != entry:
                _put(table[name], key, entry)


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says after the changes; a table without entries is left out."""
    merged = {**before, **{name: _plain(value) for name, value in changes.items()}}
    return {name: value for name, value in merged.items() if not (name in changes and value in (None, {}))}


def _plain(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    plain = {key: _plain(entry) for key, entry in value.items()}
    return {key: entry for key, entry in plain.items() if entry != {}}


def _text(path: Path) -> str:
    return read_bytes(path, CONFIG_LIMIT_BYTES).decode("utf-8") if path.exists() else ""


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise LocalchatError(f"{path} is not valid TOML: {error}", "mend or delete the file") from error


def _from_environment() -> dict[str, Any]:
    return {name: _of_text(name, os.environ[variable(name)]) for name in SCALARS if variable(name) in os.environ}


def _of_text(name: str, text: str) -> Any:
    """The value that a variable's text stands for; text that stands for none stays text, and is refused later."""
    if isinstance(SCALARS[name], bool):
        return TRUTHS.get(text.lower(), text)
    return int(text) if name in LIMITS and text.isdecimal() and len(text) < 10 else text


def _with(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    return replace(settings, **{name: checked(name, value, origin) for name, value in values.items()})


def _checked_table(name: str, value: Any, origin: str) -> Mapping[str, Any]:
    """The `[keys]` or `[presets]` of a file. Raises LocalchatError for what is not of their form."""
    faults = _key_faults(value) if name == "keys" else preset_faults(value)
    for fault in faults:
        raise LocalchatError(f"{origin}: {fault}", "mend the value")
    table: Mapping[str, Any] = value
    return table


def _key_faults(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield 'keys must be a table of actions and keys, such as new = "ctrl+g"'
        return
    for action, keys in value.items():
        if not isinstance(keys, str):
            yield f"keys.{action} must be the name of a key"
