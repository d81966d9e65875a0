"""The Hugging Face Hub's own cache: what it has is not downloaded again. Nothing in it is ever changed or deleted.

Weights are used by links from a pull's own folder, which go with it; descriptions, which are small, are copied.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from localchat.convert.small_files import describes
from localchat.errors import LocalchatError
from localchat.files import PARTIAL
from localchat.paths import is_safe_name
from localchat.pull.fetch import git_sha1
from localchat.pull.hub import COMMIT, RemoteFile, Repo, read_repo
from localchat.pull.hub_errors import Unreachable
from localchat.pull.link import Step, hard_link, link, reference

LADDER: tuple[Step, ...] = (("reference", reference), ("hard link", hard_link))
BLOB = re.compile(r"(?P<git>[0-9a-f]{40})|(?P<lfs>[0-9a-f]{64})")
REF_BYTES = 100
COMMIT_SIGNS = 7  # as git shows them


def repo_or_cached(repo: str, revision: str) -> tuple[Repo, tuple[str, ...]]:
    """What the Hub says of a repository, else what the cache has of it, with a note that it is that.

    Raises LocalchatError as `read_repo` does, also where the cache lacks some of it.
    """
    try:
        return read_repo(repo, revision), ()
    except Unreachable as error:
        known = _as_cached(repo, revision)
        if known is None:
            raise
        return known, (f"{error}; taken is what the Hub cache has of it, at {known.commit[:COMMIT_SIGNS]}",)


def copy_small(repo: Repo, folder: Path) -> None:
    """Copy the describing files that the cache has, and that are the Hub's, into the folder."""
    here = in_cache(repo)
    for file in repo.small():
        target = folder / file.name
        if file.name in here and not target.exists():
            partial = target.with_name(target.name + PARTIAL)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(here[file.name], partial)
            if _is_right(file, partial.read_bytes()):
                partial.replace(target)
            else:
                partial.unlink()


def link_weights(repo: Repo, folder: Path) -> bool:
    """Link the weights into the folder, if the cache has all that is not there; returns whether all are there now."""
    here, missing = in_cache(repo), [file.name for file in repo.weights(folder) if not (folder / file.name).exists()]
    if not here.keys() >= set(missing):
        return False
    try:
        for name in missing:
            link(here[name], folder / name, LADDER)
    except LocalchatError:  # no links on this system, or the file is gone again: it is downloaded
        return False
    return True


def is_linked(path: Path) -> bool:
    """Is a file of the folder one of the cache?"""
    return path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1)


def wrong_file(path: Path) -> LocalchatError:
    """A file of weights has not the hash that the Hub gives. What is not the cache's goes."""
    what = f"{path.name} is damaged: its hash is not the one that the Hub gives"
    if is_linked(path):
        return LocalchatError(f"the Hub cache's {what}", f"delete {path.resolve()}, then run the same command again")
    path.unlink(missing_ok=True)
    return LocalchatError(what, "run the same command again")


def in_cache(repo: Repo) -> Mapping[str, Path]:
    """The files that the cache has of this commit, by name, if they are as long as they should be."""
    snapshot = _folder_of(repo.id) / "snapshots" / repo.commit
    found = {name: snapshot / name for name in repo.files}
    return {name: path for name, path in found.items() if _bytes(path) == repo.files[name].bytes}


def cache_folder() -> Path:
    """Where the cache is, as huggingface_hub finds it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _folder_of(repo: str) -> Path:
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def _as_cached(repo: str, revision: str) -> Repo | None:
    """The repository as it is in the cache; None where its weights are not all there."""
    commit = revision if COMMIT.fullmatch(revision) else _ref(_folder_of(repo) / "refs", revision)
    snapshot = _folder_of(repo) / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        return None
    names = (path.relative_to(snapshot).as_posix() for path in sorted(snapshot.rglob("*")) if path.is_file())
    files = {name: _file(name, snapshot / name) for name in names if describes(name) or is_safe_name(name)}
    found = Repo(repo, commit, files)
    try:
        found.weights(snapshot)
    except LocalchatError:
        return None
    return found


def _ref(folder: Path, revision: str) -> str:
    """The commit at which a branch or tag was last; empty where that is not known."""
    if not all(map(is_safe_name, revision.split("/"))):
        return ""
    with suppress(OSError), (folder / revision).open("rb") as file:
        commit = file.read(REF_BYTES).decode("ascii", "replace").strip()
        return commit if COMMIT.fullmatch(commit) else ""
    return ""


def _file(name: str, path: Path) -> RemoteFile:
    """What the cache says of a file: it names what it keeps by the Hub's hash."""
    blob = Path(os.path.realpath(path))
    match = BLOB.fullmatch(blob.name) if blob.parent.name == "blobs" else None
    return RemoteFile(name, path.stat().st_size, *((match["lfs"], match["git"]) if match else (None, None)))


def _is_right(file: RemoteFile, data: bytes) -> bool:
    """Are these the bytes of a file? One without any hash is only known from the cache."""
    found = hashlib.sha256(data).hexdigest() if file.sha256 else git_sha1(data)
    return found == (file.sha256 or file.git_sha1 or found)


def _bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
