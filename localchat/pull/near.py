"""Repositories that a user may have meant: those of the catalog and of the Hub whose names are near."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from localchat.catalog import entries
from localchat.errors import LocalchatError
from localchat.pull.search import search

SHOWN = 3
NEAR = 0.6  # as difflib measures it


def near_names(repo: str) -> tuple[str, ...]:
    """Up to three repositories with a name like this one, the nearest first; none where the Hub cannot say."""
    owner, _, title = repo.partition("/")
    own = [name for entry in entries() for name in (entry.repo, *entry.former_repos) if name]
    found = _nearest(repo, [*own, *_on_hub(title)])
    return found or _nearest(repo, _on_hub(f"{owner}/"))


def _nearest(repo: str, names: Sequence[str]) -> tuple[str, ...]:
    others = {name.lower(): name for name in names if name.lower() != repo.lower()}
    return tuple(others[near] for near in difflib.get_close_matches(repo.lower(), others, SHOWN, NEAR))


def _on_hub(text: str) -> list[str]:
    try:
        return [one.id for one in search(text)]
    except LocalchatError:
        return []
