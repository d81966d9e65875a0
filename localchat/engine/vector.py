"""Vectors as they travel: the bytes of little-endian float32, which is what llama.cpp computes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLOAT = np.dtype("<f4")


def packed(vector: NDArray[np.floating]) -> bytes:
    """The numbers as bytes."""
    return vector.astype(FLOAT).tobytes()


def unpacked(data: bytes) -> NDArray[np.float32]:
    """The numbers in the bytes."""
    return np.frombuffer(data, FLOAT)


def scaled(vector: NDArray[np.float32]) -> bytes:
    """The vector with a length of 1; nothing where it has no direction."""
    wide = vector.astype(np.float64)
    length = float(np.sqrt(wide @ wide))
    return packed(wide / length) if length and np.isfinite(length) else b""


def shortened(data: bytes, count: int) -> bytes:
    """The first numbers of a vector, with a length of 1 again; all zeros stay what they are."""
    first = unpacked(data)[:count]
    return scaled(first) or packed(first)
