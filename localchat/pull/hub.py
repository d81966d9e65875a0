"""The Hub: what a repository holds, and what of it is needed. What a refusal means is in hub_errors."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from localchat.convert.adapter import adapter_file, is_adapter
from localchat.convert.small_files import describes
from localchat.convert.weight_set import choose, has_weights
from localchat.errors import LocalchatError
from localchat.paths import is_safe_name
from localchat.pull.gguf_names import is_gguf
from localchat.pull.hub_errors import (
    NoRepository,
    explained,
    http_error,
    missing_words,
    not_a_hub,
    offline_error,
    refusal,
)
from localchat.pull.source import REPO, endpoint
from localchat.pull.token import token
from localchat.text import one_line

__all__ = ["RemoteFile", "Repo", "explained", "http_error", "offline_error", "read_repo", "repo_in"]

# Read by huggingface_hub when it is imported: without it, a first request reports which program calls.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
LISTING_LIMIT_BYTES = 32 << 20  # of a repository with far more files than any model has
FILES_LIMIT = 20_000
FILE_LIMIT_BYTES = 1 << 44
FOLDERS_LIMIT = 4  # that a model file may lie in
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
SHA256 = re.compile(r"[0-9a-f]{64}")
SHA1 = re.compile(r"[0-9a-f]{40}")
TRUST = "do not trust where it came from"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: those kept in LFS are known by their sha256, others by git's own hash."""

    name: str
    bytes: int
    sha256: str | None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository at one commit."""

    id: str
    commit: str
    files: dict[str, RemoteFile]

    def small(self) -> list[RemoteFile]:
        """What describes the model: config, tokenizer, templates and the indexes of the weights."""
        return [file for name, file in self.files.items() if describes(name)]

    @property
    def is_adapter(self) -> bool:
        """Does it hold an adapter instead of a model?"""
        return is_adapter(self.files)

    @property
    def is_gguf_only(self) -> bool:
        """Does it hold model files, and nothing that one could be made of?"""
        return any(map(is_gguf, self.files)) and not self.is_adapter and not has_weights(self.files)

    def weights(self, folder: Path | None = None) -> list[RemoteFile]:
        """One set of weights of a checkpoint; `folder` has the indexes once they are downloaded.

        Raises LocalchatError where the repository has no weights that can be used.
        """
        try:
            names = [adapter_file(self.files)] if self.is_adapter else choose(self.files, folder).files
            return [self.files[name] for name in names]
        except LocalchatError as error:
            raise _without_weights(self) or error from error


def read_repo(repo: str, revision: str) -> Repo:
    """What the Hub says of a repository. Raises LocalchatError for whatever stands in the way."""
    if not REPO.fullmatch(repo):
        raise LocalchatError(f"{one_line(repo, 80)!r} is not a name of a repository", "it reads owner/repo")
    try:
        with explained(repo):
            text = _listing(f"{endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}", repo)
    except NoRepository as error:
        from localchat.pull.near import near_names  # it asks the Hub itself

        raise NoRepository(*missing_words(repo, near_names(repo))) from error
    return repo_in(text, repo)


def _listing(url: str, repo: str) -> bytes:
    """The text of a listing. Raises LocalchatError, and whatever `explained` explains."""
    from huggingface_hub import get_session

    known, found = token(), bytearray()
    headers, query = {"Authorization": f"Bearer {known}"} if known else {}, {"blobs": "true"}
    with get_session().stream("GET", url, headers=headers, params=query, timeout=TIMEOUT_SECONDS) as response:
        if response.is_error:
            raise refusal(response, repo)
        for chunk in response.iter_bytes(CHUNK_BYTES):
            found += chunk
            if len(found) > LISTING_LIMIT_BYTES:
                raise LocalchatError(f"{repo} lists more files than any model has", TRUST)
    return bytes(found)


def repo_in(text: bytes, asked: str) -> Repo:
    """The repository in the text of a listing; names that no file here may have are left out.

    Raises LocalchatError where it is no listing, or one that no repository has.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise not_a_hub() from error
    repo, commit, files = (raw.get(key) for key in ("id", "sha", "siblings")) if isinstance(raw, dict) else [None] * 3
    if not isinstance(repo, str) or not REPO.fullmatch(repo):
        raise not_a_hub()
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise LocalchatError(f"the Hub does not say which commit {asked} is at", "try again later")
    entries = files if isinstance(files, list) else []
    if len(entries) > FILES_LIMIT:
        raise LocalchatError(f"{asked} lists {len(entries):,} files, more than any model has", TRUST)
    return Repo(repo, commit, _by_name(_file(entry, asked) for entry in entries if isinstance(entry, dict)))


def _by_name(found: Iterable[RemoteFile | None]) -> dict[str, RemoteFile]:
    """The files by name. Of names that are one on some system, such as `A` and `a`, the first is taken."""
    files: dict[str, RemoteFile] = {}
    for file in found:
        if file is not None:
            files.setdefault(unicodedata.normalize("NFC", file.name).casefold(), file)
    return {file.name: file for file in files.values()}


def _file(entry: Mapping[str, Any], repo: str) -> RemoteFile | None:
    """The file of an entry; None for one that is of no use, or whose name could lead elsewhere."""
    name, count, lfs = entry.get("rfilename"), entry.get("size"), entry.get("lfs")
    if not isinstance(name, str) or not _may_be_kept(name):
        return None
    if count is not None and (type(count) is not int or not 0 <= count <= FILE_LIMIT_BYTES):
        raise LocalchatError(f"{repo} lists the file {one_line(name, 80)} with an impossible size", TRUST)
    sha256 = _hash(lfs.get("sha256"), SHA256) if isinstance(lfs, dict) else None
    git_sha1 = _hash(entry.get("blobId"), SHA1)
    return RemoteFile(name, count or 0, sha256, git_sha1) if sha256 or git_sha1 else None


def _may_be_kept(name: str) -> bool:
    parts = name.split("/")
    is_plain = len(parts) <= FOLDERS_LIMIT and all(map(is_safe_name, parts))
    return is_plain and (len(parts) == 1 or describes(name) or is_gguf(name))


def _hash(value: object, kind: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and kind.fullmatch(value) else None


def _without_weights(repo: Repo) -> LocalchatError | None:
    """A better sentence for repositories that have weights in another format."""
    if any(map(is_gguf, repo.files)):
        return LocalchatError(
            f"{repo.id} has its weights only in GGUF files, and no checkpoint that one could be made from",
            f"install one of them: localchat pull {repo.id}, or look for the repository that they were made from",
        )
    return None
