"""What a finder is told of the machine, and what it finds: files that an app says are models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """The facts on which it depends where apps keep things."""

    home: Path
    environment: Mapping[str, str]
    platform: str
    """As `sys.platform` says it."""
    root: Path = Path("/")

    def named(self, variable: str) -> Path | None:
        """The folder that a variable of the environment names, if it does."""
        value = self.environment.get(variable, "")
        return Path(value) if value and "\0" not in value else None

    @property
    def data(self) -> Path:
        """The folder of apps' data."""
        return self._folder(
            "APPDATA", "AppData/Roaming", "Library/Application Support", "XDG_DATA_HOME", ".local/share"
        )

    @property
    def config(self) -> Path:
        """The folder of apps' settings."""
        return self._folder("APPDATA", "AppData/Roaming", "Library/Application Support", "XDG_CONFIG_HOME", ".config")

    @property
    def cache(self) -> Path:
        """The folder of what apps could get again."""
        return self._folder("LOCALAPPDATA", "AppData/Local", "Library/Caches", "XDG_CACHE_HOME", ".cache")

    def _folder(self, windows: str, else_windows: str, macos: str, linux: str, else_linux: str) -> Path:
        if self.platform == "win32":
            return self.named(windows) or self.home / else_windows
        if self.platform == "darwin":
            return self.home / macos
        return self.named(linux) or self.home / else_linux


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that an app holds; nothing of the file itself was read."""

    app: str
    title: str
    """What the app calls it."""
    path: Path
    suggestion: str = ""
    """Text to make a name of; empty takes the title."""
    sha256: str = ""
    """What the bytes must hash to, where the app says so."""
    stops: tuple[str, ...] = ()
    system: str = ""
    sampling: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was not taken over, a sentence each."""
    trouble: str = ""
    """Why it cannot be adopted, where the app's own files say so."""

    @property
    def has_manner(self) -> bool:
        """Does the app say how the model is to be run?"""
        return bool(self.stops or self.system or self.sampling)
