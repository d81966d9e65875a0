"""Downloads to the disk that go on where they stopped and are hashed as they arrive.

huggingface_hub finds out where a file lies and signs the request; the bytes are fetched by plain ranged requests,
because its own download neither resumes after the process ended nor checks a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from localchat.errors import LocalchatError
from localchat.files import PARTIAL, disk_error
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.ranges import stream


def fetch(repo: Repo, file: RemoteFile, folder: Path) -> Generator[int]:
    """Download a file into the folder; yields the bytes of it that are there. Stopped or cut, it resumes next time.

    Raises LocalchatError where the network, the Hub or the disk refuses, or where the bytes are not the Hub's.
    """
    target = folder / file.name
    if target.exists() and target.stat().st_size == file.bytes:
        yield file.bytes
        return
    partial = folder / (file.name + PARTIAL)
    try:
        yield from _filled(repo, file, partial)
        partial.replace(target)
    except OSError as error:
        raise disk_error(error, partial) from error


def git_sha1(data: bytes) -> str:
    """The hash by which git knows a file."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _filled(repo: Repo, file: RemoteFile, partial: Path) -> Generator[int]:
    partial.touch(mode=0o600)
    with partial.open("ab") as out:
        sha256 = _resumed(partial, out, file)
        with closing(stream(repo, file, out.tell(), file.bytes)) as chunks:
            for chunk in chunks:
                out.write(chunk)
                sha256.update(chunk)
                yield out.tell()
    if (sha256.hexdigest() if file.sha256 else git_sha1(partial.read_bytes())) != (file.sha256 or file.git_sha1):
        partial.unlink()
        raise LocalchatError(
            f"{file.name} arrived damaged: its hash is not the one that the Hub gives", "run the same command again"
        )


def _resumed(partial: Path, out: BinaryIO, file: RemoteFile) -> hashlib._Hash:
    """The hash of what an earlier attempt left; whatever is too long to be right is thrown away."""
    if out.tell() > file.bytes:
        out.truncate(0)
        out.seek(0)
    with partial.open("rb") as left:
        return hashlib.file_digest(left, "sha256")
