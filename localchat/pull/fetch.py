"""Downloads that go on where they stopped and are hashed as they arrive.

huggingface_hub finds out where a file lies and signs the request; the bytes are fetched by plain ranged requests,
because its own download neither resumes after the process ended nor checks a hash.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx2

from localchat.errors import LocalchatError
from localchat.files import PARTIAL, disk_error
from localchat.pull.hub import RemoteFile, Repo, explained, http_error, offline_error
from localchat.pull.source import endpoint

CHUNK_BYTES = 1 << 20
STALL_SECONDS = 30.0
ATTEMPTS = 5
RETRIED = (429, 500, 502, 503, 504)


class _Again(Exception):
    """This attempt failed in a way that another may not; carries what to tell the user otherwise."""

    def __init__(self, error: LocalchatError) -> None:
        self.error = error


def fetch(repo: Repo, file: RemoteFile, folder: Path) -> Generator[int]:
    """Download a file into the folder; yields the bytes of it that are there. Stopped or cut, it resumes next time.

    Raises LocalchatError where the network, the Hub or the disk refuses, or where the bytes are not the Hub's.
    """
    target = folder / file.name
    if target.exists() and target.stat().st_size == file.bytes:
        yield file.bytes
        return
    partial = folder / (file.name + PARTIAL)
    failures, before = 0, -1
    while True:
        try:
            yield from _attempt(repo, file, partial)
            break
        except _Again as again:
            have = partial.stat().st_size if partial.exists() else 0
            failures = failures + 1 if have <= before else 1
            before = have
            if failures == ATTEMPTS:
                raise again.error from again
            time.sleep(2 ** (failures - 1))
    partial.replace(target)


def _attempt(repo: Repo, file: RemoteFile, partial: Path) -> Generator[int]:
    try:
        partial.touch(mode=0o600)
        with partial.open("ab") as out:
            sha256 = _resumed(partial, out, file)
            while out.tell() < file.bytes:
                for chunk in _body(repo, file, out):
                    out.write(chunk)
                    sha256.update(chunk)
                    yield out.tell()
    except OSError as error:
        raise disk_error(error, partial) from error
    if (sha256.hexdigest() if file.sha256 else git_sha1(partial.read_bytes())) != (file.sha256 or file.git_sha1):
        partial.unlink()
        raise LocalchatError(
            f"{file.name} arrived damaged: its hash is not the one that the Hub gives", "run the same command again"
        )


def git_sha1(data: bytes) -> str:
    """The hash by which git knows a file."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _resumed(partial: Path, out: BinaryIO, file: RemoteFile) -> hashlib._Hash:
    """The hash of what an earlier attempt left; whatever is too long to be right is thrown away."""
    if out.tell() > file.bytes:
        out.truncate(0)
        out.seek(0)
    with partial.open("rb") as left:
        return hashlib.file_digest(left, "sha256")


def _body(repo: Repo, file: RemoteFile, out: BinaryIO) -> Iterator[bytes]:
    """The bytes of the file from where `out` stands to its end."""
    start = out.tell()
    with _response(repo, file, start) as response:
        if start and response.status_code == 200:
            out.truncate(0)
            raise _Again(LocalchatError("the server does not resume downloads", "try again later"))
        expected = f"bytes {start}-{file.bytes - 1}/{file.bytes}"
        if response.status_code == 206 and response.headers.get("Content-Range") != expected:
            raise LocalchatError(f"the server sent other bytes of {file.name} than asked for", "try again later")
        room = file.bytes - start
        for chunk in response.iter_raw(CHUNK_BYTES):
            room -= len(chunk)
            if room < 0:
                raise LocalchatError(f"{file.name} is longer than the Hub says", "run the same command again")
            yield chunk
        if room:
            raise _Again(LocalchatError(f"the download of {file.name} was cut", "run the same command again"))


@contextmanager
def _response(repo: Repo, file: RemoteFile, start: int) -> Iterator[httpx2.Response]:
    from huggingface_hub import get_session

    url, headers = _location(repo, file)
    headers |= {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    try:
        with get_session().stream("GET", url, headers=headers, timeout=STALL_SECONDS) as response:
            if response.status_code in RETRIED:
                raise _Again(http_error(response.status_code, repo.id))
            if response.status_code not in (200, 206):
                raise http_error(response.status_code, repo.id)
            yield response
    except httpx2.HTTPError as error:
        raise _Again(offline_error(error)) from error


def _location(repo: Repo, file: RemoteFile) -> tuple[str, dict[str, str]]:
    """Where the bytes lie, and the headers to send there: the token goes to the Hub's own host only."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    page = hf_hub_url(repo.id, file.name, revision=repo.commit, endpoint=endpoint())
    with explained(repo.id):
        found = get_hf_file_metadata(page, endpoint=endpoint(), retry_on_errors=True)
    if found.commit_hash != repo.commit:
        raise LocalchatError(f"{repo.id} changed while it was pulled", "run the same command again")
    is_own_host = urlsplit(found.location)[:2] == urlsplit(endpoint())[:2]  # scheme and host
    token = get_token() if is_own_host else None
    return found.location, {"Authorization": f"Bearer {token}"} if token else {}
