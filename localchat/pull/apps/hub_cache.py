"""The Hugging Face Hub's cache: models--OWNER--REPO/snapshots/COMMIT/FILE, a link to blobs/SHA256.

Only .gguf files are looked for; a checkpoint in the cache is used by a pull of its repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.walk import SUFFIX, files_below, is_folder, suggested

APP = "Hub cache"
REPO = "models--"
SHA256 = re.compile(r"[0-9a-f]{64}")


def folders(place: Place) -> list[Path]:
    """Where the cache is, as huggingface_hub finds it."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := _named(place, variable):
            return [chosen]
    general = _named(place, "XDG_CACHE_HOME") or place.home / ".cache"
    return [(_named(place, "HF_HOME") or general / "huggingface") / "hub"]


def _named(place: Place, variable: str) -> Path | None:
    """The folder of a variable, in which a tilde means the home: not every file of settings is read by a shell."""
    path = place.named(variable)
    return place.home.joinpath(*path.parts[1:]) if path and path.parts[:1] == ("~",) else path


def is_one(folder: Path) -> bool:
    """Is this the Hub's cache?"""
    return any(is_folder(path / "snapshots") for path in folder.glob(f"{REPO}*"))


def models_in(folder: Path) -> Iterator[Candidate]:
    """The model files of all commits; the same file of two commits comes twice."""
    for repo in sorted(folder.glob(f"{REPO}*")):
        name = repo.name.removeprefix(REPO).replace("--", "/", 1)
        for path in files_below(repo / "snapshots"):
            if path.suffix.lower() == SUFFIX:
                yield _candidate(repo, name, path)


def _candidate(repo: Path, name: str, path: Path) -> Candidate:
    inside = path.relative_to(repo / "snapshots").parts[1:]
    title = "/".join((name, *inside)) if inside else f"{name}/{path.name}"
    suggestion = suggested(path, name.rpartition("/")[2])
    blob = Path(os.path.realpath(path))  # unlike `resolve` it takes links in a circle
    if not blob.is_relative_to(os.path.realpath(repo)):
        return Candidate(APP, title, path, suggestion, trouble="it is a link that leads out of the cache")
    is_named = blob.parent.name == "blobs" and SHA256.fullmatch(blob.name)
    return Candidate(APP, title, path, suggestion, blob.name if is_named else "")
