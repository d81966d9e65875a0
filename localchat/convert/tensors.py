"""Where the tensors of a checkpoint lie, whichever format it is in; the data itself stays on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TensorRef:
    """Where one tensor lies: the first of its weights at byte `start` of `file`, the last ends before byte `end`."""

    name: str
    dtype: str
    """`F32`, `F16` or `BF16`, or another type where the tensor is of no use to us."""
    shape: tuple[int, ...]
    """Row-major: rows before columns."""
    file: Path
    start: int
    end: int
    strides: tuple[int, ...] | None = None
    """Steps along each dimension, counted in weights; None means row-major without gaps."""
