"""Model files that are being made of weights that arrive, and what is kept beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from localchat.errors import LocalchatError
from localchat.files import PARTIAL
from localchat.pull.journal import used_bytes

JOURNAL, ROWS, LOCK = ".journal", ".rows", ".lock"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A model file that is not finished."""

    path: Path

    @property
    def rows(self) -> Path:
        """Rows of the source that the proof asks for."""
        return self.path.with_name(self.path.name + ROWS)

    @property
    def journal(self) -> Path:
        """What is done."""
        return self.path.with_name(self.path.name + JOURNAL)

    @property
    def disk_bytes(self) -> int:
        """What of it is on the disk already."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def discard(self) -> None:
        """Nothing of it is of use."""
        for path in (self.journal, self.rows, self.path):
            path.unlink(missing_ok=True)


def unfinished(folder: Path, name: str) -> Unfinished:
    """The place of a model file of this name while it is made."""
    return Unfinished(folder / (name + PARTIAL))


def begun_in(folder: Path) -> Iterator[tuple[str, int]]:
    """The names of the model files that were begun in a folder, and how many bytes of their inputs are used up."""
    for path in sorted(folder.glob(f"*{PARTIAL}{JOURNAL}")):
        yield path.name.removesuffix(PARTIAL + JOURNAL), used_bytes(path)


@contextmanager
def alone(place: Unfinished) -> Iterator[None]:
    """Nobody else works on this file meanwhile. Raises LocalchatError where somebody does."""
    path = place.path.with_name(place.path.name + LOCK)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LocalchatError(
            "another program is pulling this model already", "wait until it is done, or stop it"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
