"""Model files that are being made of weights that arrive, and what is kept beside them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from localchat.errors import LocalchatError
from localchat.files import PARTIAL, disk_error
from localchat.pull.journal import used_bytes

JOURNAL, ROWS, LOCK = ".journal", ".rows", ".lock"
BLOCK_BYTES = 512  # of st_blocks, on every system that has it


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
        """What of it is on the disk already; holes, whose turn has not come yet, are not."""
        if not self.path.is_file():
            return 0
        facts = self.path.stat()
        return min(facts.st_size, getattr(facts, "st_blocks", facts.st_size) * BLOCK_BYTES)

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


def alone(place: Unfinished) -> AbstractContextManager[None]:
    """Nobody else works on this file meanwhile. Raises LocalchatError where somebody does."""
    return _locked(place.path.with_name(place.path.name + LOCK))


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """Nobody else works in this folder of downloads meanwhile, nor discards it. Raises LocalchatError like `alone`."""
    return _locked(folder / f"pull{LOCK}")


def discard_folder(folder: Path) -> None:
    """Throw a folder of downloads away, unless somebody works in it."""
    if all(map(_is_idle, folder.glob(f"*{LOCK}"))):
        shutil.rmtree(folder, ignore_errors=True)


def _is_idle(lock: Path) -> bool:
    """Does nobody hold this lock? That of a process that was killed stays behind."""
    try:
        with _locked(lock):
            return True
    except LocalchatError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LocalchatError(
            "another program is pulling this model already", "wait until it is done, or stop it"
        ) from error
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not let go of an open file; there it goes when the lock does
            path.unlink()
        lock.release()
