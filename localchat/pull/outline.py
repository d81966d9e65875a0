"""Checkpoints on the Hub as folders here: real descriptions, and stand-ins for the weights.

A stand-in is as long as its file and has nothing but what its reader looked at: header, directory, names. It is a
file with holes, which takes no room on the disk; so whatever reads checkpoints can read one that is not here.
"""

from __future__ import annotations

import io
import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import BinaryIO, cast

from localchat.convert.safetensors import read_shard
from localchat.convert.small_files import small_files
from localchat.convert.torch.torchpickle import read_torch
from localchat.convert.torch.torchzip import SIGNATURE, header_places
from localchat.convert.torch.unpickler import Unsound
from localchat.errors import LocalchatError
from localchat.files import disk_error, make_hollow
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.parts import Parts
from localchat.pull.ranges import read

PAGE_BYTES = 4096
FIRST_BYTES, LAST_BYTES = 256 << 10, 64 << 10  # where nearly all of a header, or of a directory, lies
CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Outline:
    """Folders in the place of those of a pull's parts, and which of their files are stand-ins."""

    folder: Path
    base: Path | None
    remote: tuple[tuple[Path, Repo, RemoteFile], ...]


@contextmanager
def outlined(parts: Parts) -> Iterator[Outline]:
    """Outlines of all repositories that hold a checkpoint; adapters, which are small, must be here as they are.

    Raises BadFile where a file is not sound, LocalchatError where the Hub or the disk refuses.
    """
    folders: dict[Path, Path] = {}
    remote: list[tuple[Path, Repo, RemoteFile]] = []
    with TemporaryDirectory(prefix="outline-", dir=parts.workshop) as place:  # of one that is killed it goes with that
        try:
            for repo, folder in parts.repos:
                if not repo.is_adapter:
                    folders[folder] = Path(place) / str(len(folders))
                    remote += _outline(repo, folder, folders[folder])
        except OSError as error:
            raise disk_error(error, Path(place) / "outline") from error
        base = folders.get(parts.base, parts.base) if parts.base is not None else None
        yield Outline(folders.get(parts.folder, parts.folder), base, tuple(remote))


def _outline(repo: Repo, folder: Path, place: Path) -> list[tuple[Path, Repo, RemoteFile]]:
    for name, path in small_files(folder).items():
        (place / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, place / name)
    found = [(place / file.name, repo, file) for file in repo.weights(folder)]
    for path, _, file in found:
        stand_in(repo, file, path)
    return found


def stand_in(repo: Repo, file: RemoteFile, path: Path) -> None:
    """Make a stand-in at `path` that its reader can read.

    Raises BadFile where the file is not sound, LocalchatError where the Hub or the disk refuses.
    """
    make_hollow(path, file.bytes)

    def opened(_: Path) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Filling(repo, file, path), PAGE_BYTES))

    if path.suffix == ".safetensors":
        read_shard(path, opened)
        return
    with opened(path) as reader:
        _prepare_archive(cast("_Filling", cast("io.BufferedReader", reader).raw), reader)
    read_torch(path, opened)


def _prepare_archive(filling: _Filling, reader: BinaryIO) -> None:
    """Fetch all headers inside an archive at the same time: there are hundreds, each far from the next."""
    if reader.read(4) != SIGNATURE:
        return
    try:
        places = header_places(reader)
    except Unsound:
        return  # its reader says so better
    todo, errors = deque(places), list[Exception]()

    def work() -> None:
        try:
            with suppress(IndexError):  # nothing is left
                while True:
                    place = todo.popleft()
                    filling.fill(place, place + PAGE_BYTES)
        except (LocalchatError, OSError) as error:
            errors.append(error)
            todo.clear()

    # A pool would be waited for when the program is stopped, through all attempts of a stalled download.
    threads = [Thread(target=work, daemon=True, name="outline") for _ in range(CONNECTIONS)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        todo.clear()
    if errors:
        raise errors[0]


class _Filling(io.RawIOBase):
    """A stand-in that is filled where it is read."""

    def __init__(self, repo: Repo, file: RemoteFile, path: Path) -> None:
        self._repo, self._remote, self._path = repo, file, path
        self._file = path.open("r+b", buffering=0)
        self._have: set[int] = set()
        self._at = 0
        self.fill(0, min(FIRST_BYTES, file.bytes))
        if path.suffix != ".safetensors":
            self.fill(max(0, file.bytes - LAST_BYTES), file.bytes)

    def fill(self, start: int, end: int) -> None:
        """Fetch the pages of these bytes that are not there yet; several threads may."""
        end = min(end, self._remote.bytes)
        missing = [page for page in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)) if page not in self._have]
        if not missing:
            return
        first, last = missing[0] * PAGE_BYTES, min((missing[-1] + 1) * PAGE_BYTES, self._remote.bytes)
        data = read(self._repo, self._remote, first, last)
        with self._path.open("r+b") as file:
            file.seek(first)
            file.write(data)
        self._have.update(missing)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._remote.bytes}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self.fill(self._at, self._at + len(buffer))
        self._file.seek(self._at)
        count = self._file.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
