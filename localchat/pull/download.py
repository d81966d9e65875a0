"""A repository's checkpoint on this disk, as far as it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localchat.files import PARTIAL
from localchat.paths import downloads_folder, private_folder
from localchat.pull.cached import copy_small, in_cache, is_linked, link_weights
from localchat.pull.events import Progress
from localchat.pull.fetch import fetch
from localchat.pull.hub import Repo
from localchat.pull.unfinished import discard_folder


def download_small(repo: Repo) -> Path:
    """Fetch what describes the model, a few MB; returns the folder that the weights will join.

    What the Hub's cache has is taken from there, the weights as well if they are all there. What was downloaded of an
    older commit goes.
    """
    name = repo.id.replace("/", "--")
    folder = private_folder(downloads_folder() / f"{name}@{repo.commit[:12]}")
    for other in downloads_folder().glob(f"{name}@*"):
        if other != folder:
            discard_folder(other)
    copy_small(repo, folder)
    for file in repo.small():
        (folder / file.name).parent.mkdir(mode=0o700, exist_ok=True)
        for _ in fetch(repo, file, folder):
            pass
    link_weights(repo, folder)
    return folder


def missing_bytes(repo: Repo, folder: Path) -> int:
    """Bytes of weights that are not in the folder yet."""
    here = [folder / (file.name + ending) for file in repo.weights(folder) for ending in ("", PARTIAL)]
    return sum(file.bytes for file in repo.weights(folder)) - sum(path.stat().st_size for path in here if path.exists())


def uncached_bytes(repo: Repo, folder: Path) -> int:
    """Bytes of weights that the Hub's cache does not have yet."""
    here = in_cache(repo)
    return sum(file.bytes for file in repo.weights(folder) if file.name not in here)


def is_from_cache(repo: Repo, folder: Path) -> bool:
    """Are all weights in the Hub's cache, and none downloaded?"""
    return all(is_linked(folder / file.name) for file in repo.weights(folder)) and not missing_bytes(repo, folder)


def downloaded_bytes(repo: Repo, folder: Path) -> int:
    """Bytes of weights that were downloaded into the folder."""
    here = [folder / (file.name + ending) for file in repo.weights(folder) for ending in ("", PARTIAL)]
    return sum(path.stat().st_size for path in here if path.exists() and not is_linked(path))


def download_weights(repo: Repo, folder: Path) -> Iterator[Progress]:
    """Fetch the weights, one file after the other; what is there already counts as done."""
    if is_from_cache(repo, folder):
        return
    files = repo.weights(folder)
    total, before = sum(file.bytes for file in files), 0
    for file in files:
        for done in fetch(repo, file, folder):
            yield Progress("download", file.name, before + done, total)
        before += file.bytes
