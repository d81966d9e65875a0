"""SHA-256 that can be put down and taken up again, so that the hash of a long download outlives the program.

Python's hashlib does not let its state out. libcrypto, on which hashlib itself stands, does: its SHA256_CTX (sha.h of
OpenSSL, the same since version 0.9.8) is an open structure of the eight words of the hash, the length in bits, the 64
bytes of the block that is not full yet, how many of them are there, and the length of the digest. Where the library is
not found, hashes cannot be kept.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from struct import pack
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CONTEXT_BYTES, DIGEST_BYTES, BLOCK_BYTES = 112, 32, 64
LENGTH, BLOCK_AND_DIGEST = slice(32, 40), slice(104, 112)  # where they lie in the structure
# With their versions: macOS ends a program that loads the library without one.
FILES = (
    "libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.3.dylib", "libcrypto-3-x64.dll", "libcrypto-3-arm64.dll",
    "libcrypto-3.dll",
)  # fmt: skip
TRIAL = np.arange(200, dtype=np.uint8)

Bytes = NDArray[np.uint8]


class Sha256(Protocol):
    """A hash that grows."""

    def update(self, data: Bytes) -> None:
        """Add bytes; other threads run meanwhile."""

    def hexdigest(self) -> str:
        """The hash of all that was added."""

    def state(self) -> str:
        """What `resumed` takes; empty where this system cannot say it."""


def begun() -> Sha256:
    """The hash of nothing so far."""
    library = _library()
    return _Plain() if library is None else _Kept(library)


def resumed(state: str, count: int) -> Sha256 | None:
    """The hash that was put down after `count` bytes; None where it is damaged or cannot be taken up here."""
    library = _library()
    try:
        raw = bytes.fromhex(state)
    except ValueError:
        return None
    ends = pack("<II", count % BLOCK_BYTES, DIGEST_BYTES)
    is_sound = len(raw) == CONTEXT_BYTES and raw[LENGTH] == pack("<Q", count * 8) and raw[BLOCK_AND_DIGEST] == ends
    return _Kept(library, raw) if library is not None and is_sound else None


class _Plain:
    """hashlib's."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: Bytes) -> None:
        self._hash.update(data.data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def state(self) -> str:
        return ""


class _Kept:
    """libcrypto's."""

    def __init__(self, library: ctypes.CDLL, raw: bytes | None = None) -> None:
        self._library, self._context = library, ctypes.create_string_buffer(CONTEXT_BYTES)
        if raw is None:
            library.SHA256_Init(self._context)
        else:
            self._context.raw = raw

    def update(self, data: Bytes) -> None:
        self._library.SHA256_Update(self._context, data.ctypes.data, data.nbytes)

    def hexdigest(self) -> str:
        copy, digest = ctypes.create_string_buffer(self._context.raw), ctypes.create_string_buffer(DIGEST_BYTES)
        self._library.SHA256_Final(digest, copy)
        return digest.raw[:DIGEST_BYTES].hex()

    def state(self) -> str:
        return self._context.raw[:CONTEXT_BYTES].hex()


@cache
def _library() -> ctypes.CDLL | None:
    """libcrypto, if it does what is expected of it."""
    if sys.byteorder != "little":
        return None
    for name in _names():
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            library.SHA256_Init.argtypes = [ctypes.c_void_p]
            library.SHA256_Update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
            library.SHA256_Final.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
            if _is_right(library):
                return library
    return None


def _names() -> Iterator[str]:
    """Where it may be: where the system looks, and beside this Python."""
    yield from FILES
    for folder in (Path(sys.base_prefix) / "lib", Path(sys.base_prefix) / "DLLs"):
        yield from (str(folder / name) for name in FILES)


def _is_right(library: ctypes.CDLL) -> bool:
    """Is the hash right, and its state what it is thought to be? A copy that goes on must come to the same end."""
    first = _Kept(library)
    first.update(TRIAL[:101])
    raw = bytes.fromhex(first.state())
    if raw[LENGTH] != pack("<Q", 808) or raw[BLOCK_AND_DIGEST] != pack("<II", 101 % BLOCK_BYTES, DIGEST_BYTES):
        return False
    second = _Kept(library, raw)
    second.update(TRIAL[101:])
    return second.hexdigest() == hashlib.sha256(TRIAL.data).hexdigest()
