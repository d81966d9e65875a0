"""The model file while it is written: parts come in whatever order, each at its final place."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from localchat.convert.header import aligned

READ_BYTES = 1 << 20


class Output:
    """A file open for writing and reading. Its hash follows as far as the parts lie one behind the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha256, self._hashed = file, hashlib.sha256(), 0

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes at their place. What lies between tensors are zeros, which nobody writes."""
        self._file.seek(offset)
        self._file.write(data)
        if offset == aligned(self._hashed):
            self._sha256.update(bytes(offset - self._hashed))
            self._sha256.update(data)
            self._hashed = offset + memoryview(data).nbytes

    def read(self, offset: int, count: int) -> bytes:
        """Bytes that were written."""
        self._file.seek(offset)
        return self._file.read(count)

    def finish(self, file_bytes: int) -> str:
        """Give the file its length and return its sha256; what could not be hashed on the way is read once more."""
        self._file.truncate(file_bytes)
        self._file.seek(self._hashed)
        while data := self._file.read(READ_BYTES):
            self._sha256.update(data)
        return self._sha256.hexdigest()
