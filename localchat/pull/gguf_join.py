"""The parts of a model on the Hub become one file while they arrive: no part is ever on the disk by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from localchat.errors import LocalchatError
from localchat.files import disk_error
from localchat.pull.gguf_parts import Joined, Stretch
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.ranges import stream

CHUNK_BYTES = 16 << 20


def join(repo: Repo, files: Sequence[RemoteFile], whole: Joined, path: Path) -> Generator[int, None, str]:
    """Write the whole file at `path`; yields the bytes of it that are there, returns its sha256.

    Each part is hashed as it passes, what an earlier attempt left included; while that is read again, the bytes stay.
    Stopped or cut, it goes on next time.
    Raises LocalchatError where the network, the Hub or the disk refuses, or where the bytes are not the Hub's.
    """
    try:
        path.touch(mode=0o600)
        with path.open("r+b") as out:
            there = _begin(out, whole.header)
            total = hashlib.sha256(whole.header)
            for file, stretch in zip(files, whole.stretches, strict=True):
                for done in _part(repo, file, stretch, out, total):
                    yield max(done, there)
                _pad(out, stretch.start + stretch.bytes, whole, total)
            out.truncate(whole.file_bytes)
    except OSError as error:
        raise disk_error(error, path) from error
    return total.hexdigest()


def _begin(out: BinaryIO, header: bytes) -> int:
    """Bytes that are there already; they count only below the same header."""
    if out.read(len(header)) != header:
        out.seek(0)
        out.truncate()
        out.write(header)
    return out.seek(0, 2)


def _part(repo: Repo, file: RemoteFile, stretch: Stretch, out: BinaryIO, total: hashlib._Hash) -> Generator[int]:
    own, data_offset = hashlib.sha256(), stretch.part.data_offset
    with stretch.part.path.open("rb") as header:
        own.update(header.read(data_offset))
    have = yield from _left(stretch, out, (own, total))
    with closing(stream(repo, file, data_offset + have, file.bytes)) as chunks:
        for chunk in chunks:
            own.update(chunk)
            useful = chunk[: stretch.bytes - have]
            out.write(useful)
            total.update(useful)
            have += len(useful)
            yield stretch.start + have
    if own.hexdigest() != file.sha256:
        out.truncate(stretch.start)
        raise LocalchatError(
            f"{file.name} arrived damaged: its hash is not the one that the Hub gives", "run the same command again"
        )


def _left(stretch: Stretch, out: BinaryIO, hashes: Sequence[hashlib._Hash]) -> Generator[int, None, int]:
    """Hash what an earlier attempt left of a part, and stand where it ends; returns how much that is."""
    out.seek(stretch.start)
    have = 0
    while chunk := out.read(min(CHUNK_BYTES, stretch.bytes - have)):
        for one in hashes:
            one.update(chunk)
        have += len(chunk)
        yield stretch.start + have
    return have


def _pad(out: BinaryIO, end: int, whole: Joined, total: hashlib._Hash) -> None:
    """Zeros up to where the next part begins."""
    following = (stretch.start for stretch in whole.stretches if stretch.start >= end)
    zeros = bytes(min(following, default=whole.file_bytes) - end)
    out.seek(end)
    out.write(zeros)
    total.update(zeros)
