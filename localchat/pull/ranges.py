"""Bytes of a file on the Hub from one place to another, asked for again where they are cut.

huggingface_hub finds out where a file lies and signs the request; the token goes to the Hub's own host only.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from time import monotonic
from urllib.parse import urlsplit

import httpx2

from localchat.errors import LocalchatError
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.hub_errors import explained, http_error, not_a_hub, offline_error, wait_seconds
from localchat.pull.source import endpoint
from localchat.pull.token import token

CHUNK_BYTES = 1 << 20
STALL_SECONDS = 30.0
ATTEMPTS = 5
PAUSE_LIMIT_SECONDS = 60.0
RETRIED = (429, 500, 502, 503, 504)
EXPIRED = (400, 401, 403, 404, 410)  # what a signed address answers that was good before
SKIPPED_LIMIT_BYTES = 64 << 20  # of a file that is sent as a whole though a part of it was asked for
LOCATION_SECONDS = 240.0  # addresses of the Hub's files are signed for longer than that

_known: dict[tuple[str, str, str], tuple[float, str, dict[str, str]]] = {}
"""When and where files were found, by endpoint, commit and name: a file is asked for in many parts."""


class _Again(Exception):
    """This attempt failed in a way that another may not; carries what to tell the user otherwise."""

    def __init__(self, error: LocalchatError, pause_seconds: float = 0.0) -> None:
        self.error, self.pause_seconds = error, pause_seconds


def stream(repo: Repo, file: RemoteFile, start: int, end: int) -> Generator[bytes]:
    """The bytes from `start` to before `end`, in chunks.

    Raises LocalchatError where the network or the Hub refuses, or where the answer is not what was asked for.
    """
    at, failures, before = start, 0, -1
    while at < end:
        try:
            for chunk in _body(repo, file, at, end):
                at += len(chunk)
                yield chunk
        except _Again as again:
            _known.pop(_key(repo, file), None)
            failures, before = failures + 1 if at <= before else 1, at
            if failures == ATTEMPTS:
                raise again.error from again
            time.sleep(max(2 ** (failures - 1), min(again.pause_seconds, PAUSE_LIMIT_SECONDS)))


def read(repo: Repo, file: RemoteFile, start: int, end: int) -> bytes:
    """The same at once. Raises LocalchatError."""
    with closing(stream(repo, file, start, end)) as chunks:
        return b"".join(chunks)


def location(repo: Repo, file: RemoteFile) -> tuple[str, dict[str, str]]:
    """Where the bytes lie, and the headers to send there. Raises LocalchatError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    page = hf_hub_url(repo.id, file.name, revision=repo.commit, endpoint=endpoint())
    with explained(repo.id):
        found = get_hf_file_metadata(page, endpoint=endpoint(), retry_on_errors=True)
    if not found.commit_hash:  # the Hub always says it; the page of a hotel's network does not
        raise not_a_hub()
    if found.commit_hash != repo.commit:
        raise LocalchatError(f"{repo.id} changed while it was pulled", "run the same command again")
    if found.size is not None and found.size != file.bytes:
        raise LocalchatError(f"{file.name} is not as long as the Hub says", "run the same command again")
    is_own_host = urlsplit(found.location)[:2] == urlsplit(endpoint())[:2]  # scheme and host
    known = token() if is_own_host else None
    return found.location, {"Authorization": f"Bearer {known}"} if known else {}


def _located(repo: Repo, file: RemoteFile) -> tuple[str, dict[str, str], bool]:
    """The same, and whether it was found out just now."""
    key, now = _key(repo, file), monotonic()
    known = _known.get(key)  # another thread may forget it at any time
    if known is not None and now - known[0] < LOCATION_SECONDS:
        return *known[1:], False
    url, headers = location(repo, file)
    _known[key] = (now, url, headers)
    return url, headers, True


def _key(repo: Repo, file: RemoteFile) -> tuple[str, str, str]:
    return f"{endpoint()}/{repo.id}", repo.commit, f"{file.bytes} {file.name}"


def _body(repo: Repo, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
    with _response(repo, file, start, end) as response:
        is_whole = response.status_code == 200
        expected = f"bytes {start}-{end - 1}/{file.bytes}"
        if is_whole and start > SKIPPED_LIMIT_BYTES and end < file.bytes:  # it would come from its beginning each time
            raise LocalchatError(
                f"the server sends {file.name} only as a whole",
                "pull it with --keep-checkpoint, which downloads it first",
            )
        if not is_whole and response.headers.get("Content-Range") != expected:
            raise LocalchatError(f"the server sent other bytes of {file.name} than asked for", "try again later")
        skipped, left = start if is_whole else 0, end - start
        for chunk in _chunks(response):
            useful, skipped = chunk[skipped:], max(0, skipped - len(chunk))
            if len(useful) > left and not is_whole:
                raise LocalchatError(f"the server sent more of {file.name} than asked for", "try again later")
            if useful:
                yield useful[:left]
            left -= len(useful)
            if left <= 0:
                return
        raise _Again(LocalchatError(f"the download of {file.name} was cut", "run the same command again"))


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    """A body in chunks. Where it is cut, what came before is not lost: else one that is always cut would never end."""
    gathered = bytearray()
    try:
        for part in response.iter_raw():
            gathered += part
            while len(gathered) >= CHUNK_BYTES:
                yield bytes(gathered[:CHUNK_BYTES])
                del gathered[:CHUNK_BYTES]
    except httpx2.HTTPError:
        yield bytes(gathered)
        raise
    yield bytes(gathered)


@contextmanager
def _response(repo: Repo, file: RemoteFile, start: int, end: int) -> Iterator[httpx2.Response]:
    from huggingface_hub import get_session

    url, known, is_fresh = _located(repo, file)
    headers = {**known, "Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
    try:
        with get_session().stream("GET", url, headers=headers, timeout=STALL_SECONDS) as response:
            status, wait = response.status_code, response.headers.get("Retry-After", "")
            if status in RETRIED:
                raise _Again(http_error(status, repo.id, wait), wait_seconds(wait))
            if status in EXPIRED and not is_fresh:
                raise _Again(http_error(status, repo.id, wait))
            if status not in (200, 206):
                raise http_error(status, repo.id, wait)
            yield response
    except httpx2.HTTPError as error:
        raise _Again(offline_error(error)) from error
