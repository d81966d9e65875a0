"""What a Hub repository says of itself (names, sizes, hashes, commit), computed from a folder of files."""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
TAGGED = ("safetensors", "gguf")
EXPANDED = ("gated", "lastModified")  # what a list has only where it is asked for
# The Hub's own limit for a file kept in git; anything larger must go through LFS.
GIT_LIMIT_BYTES = 10_000_000
# What git and huggingface_hub leave in a checkpoint's folder is never part of the repository.
UNPUBLISHED_FOLDERS = {".git", ".cache"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a repository; `sha256` is None for a file kept in git itself, not in LFS."""

    name: str
    path: Path
    size: int
    modified_seconds: float
    blob_id: str
    sha256: str | None

    @property
    def etag(self) -> str:
        return self.sha256 or self.blob_id

    def sibling(self) -> Json:
        """The file as `model_info(files_metadata=True)` lists it."""
        return {"rfilename": self.name, "size": self.size, "blobId": self.blob_id, **self._lfs("sha256")}

    def entry(self) -> Json:
        """The file as `list_repo_tree` and `get_paths_info` list it."""
        return {"type": "file", "path": self.name, "size": self.size, "oid": self.blob_id, **self._lfs("oid")}

    def _lfs(self, hash_name: str) -> Json:
        if self.sha256 is None:
            return {}
        pointer_size = len(lfs_pointer(self.sha256, self.size))
        return {"lfs": {hash_name: self.sha256, "size": self.size, "pointerSize": pointer_size}}


@dataclass(frozen=True, slots=True)
class Repository:
    """The files of one repository by name, sorted."""

    id: str
    files: dict[str, StoredFile]

    @property
    def commit(self) -> str:
        return _sha1(f"{file.name}\0{file.blob_id}" for file in self.files.values())

    @property
    def modified(self) -> str:
        latest = max((file.modified_seconds for file in self.files.values()), default=0)
        return datetime.fromtimestamp(latest, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def info(self, *, blobs: bool, gated: bool, private: bool) -> Json:
        files = self.files.values()
        return {
            "id": self.id,
            "modelId": self.id,
            "author": self.id.partition("/")[0],
            "sha": self.commit,
            "lastModified": self.modified,
            "private": private,
            "gated": "manual" if gated else False,
            "disabled": False,
            "tags": [],
            "siblings": [file.sibling() if blobs else {"rfilename": file.name} for file in files],
        }

    def listed(self, expand: Collection[str], *, gated: bool) -> Json:
        """The repository as a search lists it: the kinds of its weights as tags, and what else is asked for."""
        tags = sorted({kind for kind in TAGGED for name in self.files if name.endswith(f".{kind}")})
        facts = {**self.info(blobs=False, gated=gated, private=False), "tags": tags, "downloads": 0, "likes": 0}
        return {name: fact for name, fact in facts.items() if name not in EXPANDED or name in expand}

    def tree(self, folder: str = "", *, recursive: bool, expand: bool = False) -> list[Json]:
        """Files and folders below `folder`, sorted by path; empty when there is no such folder."""
        prefix = f"{folder}/" if folder else ""
        below = [file for file in self.files.values() if file.name.startswith(prefix)]
        folders = {str(parent) for file in below for parent in PurePosixPath(file.name).parents} - {"."}
        entries = [file.entry() for file in below] + [self._folder(name) for name in folders if name.startswith(prefix)]
        found = [entry for entry in entries if recursive or "/" not in entry["path"].removeprefix(prefix)]
        more = {"lastCommit": {"id": self.commit, "title": "Upload", "date": self.modified}} if expand else {}
        return [entry | more for entry in sorted(found, key=lambda entry: str(entry["path"]))]

    def paths(self, names: list[str]) -> list[Json]:
        """The entries of those names that exist; the others are left out, as the Hub does."""
        entries = {entry["path"]: entry for entry in self.tree(recursive=True)}
        return [entries[name] for name in names if name in entries]

    def _folder(self, name: str) -> Json:
        blobs = (file.blob_id for file in self.files.values() if file.name.startswith(f"{name}/"))
        return {"type": "directory", "path": name, "size": 0, "oid": _sha1(blobs)}


def read_repository(root: Path, repo: str) -> Repository | None:
    """The repository kept at `root/OWNER/REPO`, or None; an id can never point outside `root`."""
    folder = root / repo
    if not REPO_ID.fullmatch(repo) or not folder.is_dir():
        return None
    names = sorted(path.relative_to(folder).as_posix() for path in _files(folder))
    return Repository(repo, {name: _stored_file(folder, name) for name in names})


def repository_ids(root: Path) -> list[str]:
    ids = (folder.relative_to(root).as_posix() for folder in root.glob("*/*") if folder.is_dir())
    return sorted(repo for repo in ids if REPO_ID.fullmatch(repo))


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The small text file that git keeps in place of a large one."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in UNPUBLISHED_FOLDERS]
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _stored_file(folder: Path, name: str) -> StoredFile:
    path = folder / name
    facts = path.stat()
    return _hashed(name, path, facts.st_size, facts.st_mtime_ns)


@cache
def _hashed(name: str, path: Path, size: int, modified_ns: int) -> StoredFile:
    """Hash a file once for each size and time of change: weights are large and every request asks."""
    if not _in_lfs(name, size):
        return StoredFile(name, path, size, modified_ns / 1e9, git_blob_id(path.read_bytes()), None)
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return StoredFile(name, path, size, modified_ns / 1e9, git_blob_id(lfs_pointer(sha256, size)), sha256)


def _in_lfs(name: str, size: int) -> bool:
    is_weight = name.endswith(WEIGHT_SUFFIXES) or PurePosixPath(name).name == "tokenizer.model"
    return is_weight or size > GIT_LIMIT_BYTES


def _sha1(lines: Iterator[str]) -> str:
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()
