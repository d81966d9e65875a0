"""Published models that are known: facts from `models/*.toml`, one file each, shipped with the package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from localchat.errors import BadFile
from localchat.files import read_bytes

ENTRY_LIMIT_BYTES = 256 << 10
NO_FORMAT = "none"
OPEN_LICENCES = ("apache-2.0", "mit")


@dataclass(frozen=True, slots=True)
class Entry:
    """One published model. What the downloaded files say counts more than what is written here."""

    name: str
    title: str
    """One line on what it is."""
    licence: str
    format: str
    """Prompt format, such as `ChatML`; `none` for a base model, which only continues text."""
    repo: str = ""
    former_repos: tuple[str, ...] = ()
    package: str = ""
    """A Python package that carries the model file, instead of a repository."""
    gated: bool = False
    uncensored: bool = False
    stops: tuple[str, ...] = ()
    """Texts that end a reply where no token does."""
    template: str = ""
    """Chat template for checkpoints that come without one."""
    system: str = ""
    """System message of conversations that have none of their own; empty leaves it to the template."""
    sampling: Mapping[str, float] = field(default_factory=dict)
    scores: tuple[Mapping[str, Any], ...] = ()
    """Published results: task, value and where it was published."""
    unsure: tuple[str, ...] = ()
    """Statements of this entry that were not seen in the model's own files."""
    download_bytes: int = 0
    """Weights that a pull reads, about."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What config.json says of the model's shape, so that a plan can be made before anything is downloaded."""

    @property
    def context(self) -> int:
        """Tokens of context that the model was made for; 0 where the entry does not say."""
        return int(self.config.get("max_position_embeddings", 0))

    @property
    def chats(self) -> bool:
        """Was it tuned to answer? A base model only continues text."""
        return self.format != NO_FORMAT

    @property
    def is_open(self) -> bool:
        """May anyone use it for anything, as far as is known?"""
        return self.licence in OPEN_LICENCES


@cache
def entries() -> tuple[Entry, ...]:
    """The whole catalog, by name. Raises BadFile where an entry is not as it should be."""
    return tuple(sorted((_read(path) for path in _folder().glob("*.toml")), key=lambda entry: entry.name))


def lookup(text: str) -> Entry | None:
    """The entry of a name or of a repository, its former ones included; case does not matter."""
    wanted = text.lower()
    for entry in entries():
        if wanted in (name.lower() for name in (entry.name, entry.repo, *entry.former_repos) if name):
            return entry
    return None


def _folder() -> Path:
    """`models/` inside the installed package, or beside it in a checkout of the project."""
    inside = Path(__file__).parent / "models"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "models"


def _read(path: Path) -> Entry:
    try:
        raw = tomllib.loads(read_bytes(path, ENTRY_LIMIT_BYTES).decode("utf-8"))
        lists = {key: tuple(value) for key, value in raw.items() if isinstance(value, list)}
        entry = Entry(name=path.stem, **{**raw, **lists})
    except (ValueError, TypeError) as error:
        raise BadFile(f"the catalog entry {path.name} is not sound: {error}", "reinstall localchat") from error
    if bool(entry.repo) == bool(entry.package):
        raise BadFile(f"the catalog entry {path.name} must name a repository or a package", "reinstall localchat")
    return entry
