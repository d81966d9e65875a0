"""What is looked at rather than made, as progress of the stage `check`."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TypeVar, cast

from localchat.convert.proof.rows import Checking
from localchat.errors import BadFile
from localchat.pull.events import Progress

HASH_CHUNK_BYTES = 16 << 20
Found = TypeVar("Found")


def hashing(path: Path, before_bytes: int = 0, all_bytes: int = 0) -> Generator[Progress, None, str]:
    """The sha256 of a large file; one of several, of which so many bytes were hashed before it, counts on.

    Raises BadFile where it cannot be read.
    """
    sha256 = hashlib.sha256()
    try:
        total = all_bytes or path.stat().st_size
        with path.open("rb") as file:
            while chunk := file.read(HASH_CHUNK_BYTES):
                sha256.update(chunk)
                yield Progress("check", path.name, before_bytes + file.tell(), total)
    except OSError as error:
        why = error.strerror or error
        raise BadFile(f"{path.name} cannot be read: {why}", "pull it again, or remove it") from error
    return sha256.hexdigest()


def shown(looking: Generator[Checking, None, Found]) -> Generator[Progress, None, Found]:
    """The progress of checks as a stage of a pull."""
    with closing(looking):
        while True:
            try:
                event = next(looking)
            except StopIteration as end:
                return cast("Found", end.value)
            yield Progress("check", event.item, event.done_bytes, event.total_bytes)
