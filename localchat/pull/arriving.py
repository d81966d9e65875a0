"""Weights that arrive while they are converted: a few tensors are in memory, the rest is on its way or gone already.

Several connections fetch pieces of the files in their order; a window bounds how far they run ahead of the conversion.
What the conversion releases is hashed in order, so that a whole file is known to be the Hub's when its last byte goes.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localchat import sha256
from localchat.convert.inputs import MappedInputs, shaped
from localchat.convert.tensors import TensorRef
from localchat.errors import LocalchatError
from localchat.pull.journal import Mark
from localchat.pull.segments import edges, pieces

CONNECTIONS = 4
Fetch = Callable[[int, int], Generator[bytes]]
"""The bytes of a file from one place to before another, in chunks; raises LocalchatError."""


class WrongFile(LocalchatError):
    """A file that arrived whole is not the Hub's."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} arrived damaged: its hash is not the one that the Hub gives", "run the same command again"
        )
        self.path = path


@dataclass(frozen=True, slots=True)
class Shard:
    """A file that arrives: the path by which tensors name it, and what is still needed of it."""

    path: Path
    bytes: int
    sha256: str
    fetch: Fetch
    refs: tuple[TensorRef, ...]
    mark: Mark


@dataclass(slots=True)
class _Segment:
    """A part of a file that is kept and let go as a whole."""

    start: int
    end: int
    is_needed: bool
    """Is a tensor in it?"""
    data: NDArray[np.uint8] | None = None
    have: int = 0
    """Bytes that are there; they need not be the first ones."""

    @property
    def is_whole(self) -> bool:
        return self.have == self.end - self.start


@dataclass(slots=True)
class _File:
    """A shard while it arrives."""

    shard: Shard
    base: int
    """Bytes of all files before it."""
    borders: list[int]
    segments: list[_Segment]
    hash: sha256.Sha256
    released: int = field(default=0)
    """How many of the segments are gone."""

    @property
    def position(self) -> int:
        return self.borders[self.released]


@dataclass(frozen=True, slots=True)
class _Piece:
    file: _File
    start: int
    end: int


class Arriving:
    """The inputs of a conversion whose large files are still at the Hub."""

    def __init__(self, shards: Sequence[Shard], here: Sequence[Path], window_bytes: int) -> None:
        """`here` are files on this disk that take part. The window must hold what `peak_bytes` says."""
        self._here, self._window = MappedInputs(here), window_bytes
        self._files = dict(_opened(shards))
        self._pieces = (_Piece(file, *ends) for file in self._files.values() for ends in pieces(file.borders))
        self._next = next(self._pieces, None)
        self._changed = threading.Condition()
        self._error: LocalchatError | None = None
        self._is_stopped = False
        self._marked: dict[str, Mark] = {}
        self.received_bytes = self.released_bytes
        """Of all shards, what is gone already among them."""
        for number in range(CONNECTIONS):
            threading.Thread(target=self._work, name=f"arriving-{number}", daemon=True).start()

    def array(self, ref: TensorRef) -> NDArray[Any]:
        """Waits until the tensor is there. Raises LocalchatError where it will not come."""
        file = self._files.get(ref.file)
        if file is None:
            return self._here.array(ref)
        segment = file.segments[bisect_right(file.borders, ref.start) - 1]
        self._await(segment)
        assert segment.data is not None, "nothing is released that is still read"
        return shaped(segment.data[ref.start - segment.start : ref.end - segment.start], ref)

    def release(self, path: Path, up_to: int | None) -> None:
        """Hash the segments before this byte and let them go. Raises WrongFile at the end of one that is not right."""
        file = self._files.get(path)
        if file is None:
            self._here.release(path, up_to)
            return
        limit = file.shard.bytes if up_to is None else up_to
        while file.released < len(file.segments) and file.segments[file.released].end <= limit:
            self._await(file.segments[file.released])
            self._let_go(file)
        self._marked[path.name] = Mark(file.position, file.hash.state())

    def advance(self) -> None:
        """Let go of what no tensor needs and nothing before it holds back. Raises WrongFile like `release`.

        To be called again and again: what lies before the first tensor may be more than the window holds.
        """
        for file in self._files.values():
            while file.released < len(file.segments):
                segment = file.segments[file.released]
                if segment.is_needed or not segment.is_whole:
                    break
                self._let_go(file)

    def marks(self) -> dict[str, Mark]:
        """How far files were used up since this was asked last."""
        found, self._marked = self._marked, {}
        return found

    def stop(self) -> None:
        """Nothing is wanted any more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    @property
    def released_bytes(self) -> int:
        """How much of all shards is used up."""
        return sum(file.position for file in self._files.values())

    def digests(self) -> Mapping[str, str]:
        """The sha256 of every file, by its name, once all are released."""
        return {**self._here.digests(), **{path.name: file.hash.hexdigest() for path, file in self._files.items()}}

    def _let_go(self, file: _File) -> None:
        segment = file.segments[file.released]
        assert segment.data is not None, "it is whole"
        file.hash.update(segment.data)
        with self._changed:
            segment.data, file.released = None, file.released + 1
            self._changed.notify_all()
        if file.position == file.shard.bytes and file.hash.hexdigest() != file.shard.sha256:
            raise WrongFile(file.shard.path)

    def _await(self, segment: _Segment) -> None:
        with self._changed:
            self._changed.wait_for(lambda: segment.is_whole or self._error or self._is_stopped)
            if not segment.is_whole:
                raise self._error or LocalchatError("the download was stopped", "run the same command again")

    # The connections

    def _work(self) -> None:
        error: LocalchatError | None = LocalchatError("a download ended unexpectedly", "run the same command again")
        try:
            while (piece := self._take()) is not None:
                self._fetch(piece)
            error = None
        except LocalchatError as known:
            error = known
        finally:
            if error is not None:
                with self._changed:
                    self._error = self._error or error
                    self._changed.notify_all()

    def _take(self) -> _Piece | None:
        """The next piece, once there is room for it; None where nothing is left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._has_room())
            if self._is_over:
                return None
            piece, self._next = self._next, next(self._pieces, None)
            return piece

    @property
    def _is_over(self) -> bool:
        return self._is_stopped or self._error is not None or self._next is None

    def _has_room(self) -> bool:
        """Does the window hold all from the first byte that is not released to the end of the next piece?

        A segment has its room from the beginning, but of that the system gives only what is written to.
        """
        piece = self._next
        assert piece is not None, "it is not over"
        return piece.file.base + piece.end - self.released_bytes <= self._window

    def _fetch(self, piece: _Piece) -> None:
        at = piece.start
        with closing(piece.file.shard.fetch(piece.start, piece.end)) as chunks:
            for chunk in chunks:
                if self._is_stopped:
                    return
                self._put(piece.file, at, np.frombuffer(chunk, np.uint8))
                at += len(chunk)

    def _put(self, file: _File, at: int, data: NDArray[np.uint8]) -> None:
        number = bisect_right(file.borders, at) - 1
        while len(data):
            segment = file.segments[number]
            part, data = data[: segment.end - at], data[segment.end - at :]
            with self._changed:
                if segment.data is None:
                    segment.data = np.empty(segment.end - segment.start, np.uint8)
            segment.data[at - segment.start : at - segment.start + len(part)] = part
            with self._changed:
                segment.have += len(part)
                self.received_bytes += len(part)
                if segment.is_whole:
                    self._changed.notify_all()
            at, number = at + len(part), number + 1


def _opened(shards: Sequence[Shard]) -> Iterator[tuple[Path, _File]]:
    base = 0
    for shard in shards:
        known = sha256.resumed(shard.mark.state, shard.mark.at) if shard.mark.at else None
        borders = edges(shard.refs, shard.mark.at if known else 0, shard.bytes)
        starts = {ref.start for ref in shard.refs}
        segments = [_Segment(start, end, start in starts) for start, end in pairwise(borders)]
        yield shard.path, _File(shard, base, borders, segments, known or sha256.begun())
        base += shard.bytes
