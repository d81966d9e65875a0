"""The files of a checkpoint while it is converted: read in the order they lie, and hashed as they are gone through."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from localchat.convert.tensors import TensorRef
from localchat.errors import BadFile

RAW = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Inputs(Protocol):
    """All files that tensors come from. Threads read them while another one releases what was read."""

    def array(self, ref: TensorRef) -> NDArray[Any]:
        """The tensor's weights as `shaped` gives them. Raises LocalchatError where they cannot be had."""

    def release(self, path: Path, up_to: int | None) -> None:
        """Nothing before this byte of a file will be read again; None stands for the whole file."""

    def stop(self) -> None:
        """Nothing will be read any more: whoever waits for weights may go."""


class MappedInputs:
    """Files on this disk; open until the last reader has let go."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = {path: _Input(path) for path in files}

    def array(self, ref: TensorRef) -> NDArray[Any]:
        """Raises BadFile where the file is no longer what it was when its header was read."""
        raw = self._files[ref.file].bytes[ref.start : ref.end]
        if len(raw) != ref.end - ref.start:
            raise _shorter(ref.file)
        return shaped(raw, ref)

    def release(self, path: Path, up_to: int | None) -> None:
        """What is released is hashed, and does not count as memory of this process any more."""
        self._files[path].done_up_to(len(self._files[path].bytes) if up_to is None else up_to)

    def stop(self) -> None:
        """Nobody waits for a file."""

    def digests(self) -> Mapping[str, str]:
        """The sha256 of every file, by its name."""
        return {path.name: file.digest() for path, file in self._files.items()}


def shaped(raw: NDArray[np.uint8], ref: TensorRef) -> NDArray[Any]:
    """The bytes of a tensor in its own shape and type; types without numbers here stay bytes."""
    if ref.dtype not in RAW:
        return raw
    kind = np.dtype(RAW[ref.dtype])
    if ref.strides is None:
        return raw.view(kind).reshape(ref.shape)
    steps = tuple(step * kind.itemsize for step in ref.strides)
    whole = raw[: len(raw) // kind.itemsize * kind.itemsize].view(kind)
    # The reader of the file has proved that every weight of a view lies between `start` and `end`.
    return as_strided(whole, ref.shape, steps, writeable=False)


class _Input:
    """One mapped file and the hash of its bytes so far."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            if not file.seek(0, 2):  # nothing cannot be mapped
                raise _shorter(path)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self._map, np.uint8)
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def done_up_to(self, end: int) -> None:
        """Hash what was not hashed yet, and let go of the pages, which would count as memory of this process."""
        self._sha256.update(self.bytes[self._hashed : end].data)
        self._hashed = max(self._hashed, end)
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, 0, self._hashed // mmap.PAGESIZE * mmap.PAGESIZE)

    def digest(self) -> str:
        self.done_up_to(len(self.bytes))
        return self._sha256.hexdigest()


def _shorter(path: Path) -> BadFile:
    return BadFile(f"{path.name} became shorter while it was read", "start again when nothing writes to it")
