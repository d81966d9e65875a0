"""The settings that are in force while the app runs: changed, checked and kept in one place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from localchat.paths import config_file
from localchat.settings import SCALARS, TABLES, Settings, Source, checked, save, sources

Heard = Callable[[Collection[str]], None]


class Preferences:
    """What the app and its screens look at whenever they need a setting."""

    def __init__(self, settings: Settings, path: Path | None = None) -> None:
        self.current = settings
        self.path = path or config_file()
        self._listeners: list[Heard] = []

    def hear(self, listener: Heard) -> None:
        """Call this with the names of what was changed, after every change."""
        self._listeners.append(listener)

    def change(self, **values: Any) -> None:
        """Keep these settings in the file, and let them hold from now on; None is the default.

        Raises LocalchatError, and changes nothing, for a value that cannot be and where it cannot be kept.
        """
        new = {name: self.default(name) if value is None else checked(name, value) for name, value in values.items()}
        changed = [name for name, value in new.items() if value != getattr(self.current, name)]
        if not changed and None not in values.values():
            return
        save(values, self.path)
        self.current = replace(self.current, **new)
        for listener in self._listeners:
            listener(changed)

    def sources(self) -> dict[str, Source]:
        """Where each setting comes from. Raises LocalchatError for a file that is no TOML."""
        return sources(self.path)

    @staticmethod
    def default(name: str) -> Any:
        """What a setting is where nobody set it."""
        return {} if name in TABLES else SCALARS[name]
