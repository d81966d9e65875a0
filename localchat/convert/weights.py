"""How the weights of one tensor come about: stored, one below another, side by side, reordered, merged, padded.

Nothing is read until rows are asked for; then only those rows are. A vector counts as one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.convert.inputs import RAW, Inputs
from localchat.convert.tensors import TensorRef
from localchat.errors import BadFile
from localchat.llama.quantize import Floats, dequantize, to_floats

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Raw:
    """Rows as a file has them, to be read in a given order."""

    stored: NDArray[Any]
    """Shape (rows, columns); BF16 as uint16."""
    dtype: str
    order: Rows | None = None
    """Numbers of the rows that are wanted; None stands for all as they are."""


class Weights(Protocol):
    """A matrix that can be read row by row."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def refs(self) -> tuple[TensorRef, ...]:
        """Every stored tensor that takes part."""

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        """The rows of these numbers, shape (len(rows), columns)."""


@dataclass(frozen=True, slots=True)
class _Single:
    """One tensor of a file."""

    ref: TensorRef

    @property
    def shape(self) -> tuple[int, int]:
        return _flat(self.ref.shape)

    @property
    def refs(self) -> tuple[TensorRef, ...]:
        return (self.ref,)


@dataclass(frozen=True, slots=True)
class _Joined:
    """Several matrices that become one."""

    parts: tuple[Weights, ...]

    @property
    def refs(self) -> tuple[TensorRef, ...]:
        return _all_refs(self.parts)


@dataclass(frozen=True, slots=True)
class _Changed:
    """A matrix that is read in another way."""

    part: Weights

    @property
    def shape(self) -> tuple[int, int]:
        return self.part.shape

    @property
    def refs(self) -> tuple[TensorRef, ...]:
        return self.part.refs


@dataclass(frozen=True, slots=True)
class Stored(_Single):
    """A tensor as it lies in a file. Raises BadFile where its type or shape holds no weights that can be used."""

    def __post_init__(self) -> None:
        ref = self.ref
        if ref.dtype not in RAW:
            raise BadFile(
                f"the tensor {ref.name} is of type {ref.dtype[:20]}, which is not supported",
                "look for a repository with weights in BF16, F16 or F32",
            )
        # A view may step over weights, but one that repeats them makes terabytes out of a small file.
        repeats = math.prod(ref.shape) * np.dtype(RAW[ref.dtype]).itemsize > ref.end - ref.start
        if repeats or len(ref.shape) not in (1, 2) or 0 in ref.shape:
            why = "repeats its weights" if repeats else f"has the shape {ref.shape}, which no weights have"
            raise BadFile(
                f"the tensor {ref.name} {why}",
                "it is not the plain model that its config.json describes",
            )

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        raw = inputs.array(self.ref)
        raw = raw if raw.ndim == 2 else raw.reshape(self.shape)
        is_run = bool((np.diff(rows) == 1).all())  # rows that follow each other need not be copied together
        found = raw[rows[0] : rows[-1] + 1] if is_run else raw[rows]
        floats = np.empty(found.shape, np.float32)
        to_floats(found, self.ref.dtype, floats)
        return floats


@dataclass(frozen=True, slots=True)
class Packed(_Single):
    """A tensor of a model file, quantized or not; `ref` spans its bytes."""

    type: GGMLQuantizationType

    def packed(self, inputs: Inputs, rows: Rows) -> NDArray[np.uint8]:
        """The bytes of these rows as they lie, shape (len(rows), bytes of a row)."""
        found: NDArray[np.uint8] = inputs.array(self.ref).reshape(self.shape[0], -1)[rows]
        return found

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        return dequantize(self.type, self.packed(inputs, rows), self.shape[1])


@dataclass(frozen=True, slots=True)
class Computed:
    """Numbers that follow from the config, shape (rows, columns)."""

    values: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return _flat(self.values.shape)

    @property
    def refs(self) -> tuple[TensorRef, ...]:
        return ()

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        return self.values.reshape(self.shape)[rows]


@dataclass(frozen=True, slots=True)
class Stacked(_Joined):
    """Parts of equal width below each other: experts, or slices of a tensor cut along its rows."""

    @property
    def shape(self) -> tuple[int, int]:
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        floats = np.empty((len(rows), self.shape[1]), np.float32)
        start = 0
        for part in self.parts:
            here = (rows >= start) & (rows < start + part.shape[0])
            if here.any():
                floats[here] = part.read(inputs, rows[here] - start)
            start += part.shape[0]
        return floats


@dataclass(frozen=True, slots=True)
class Beside(_Joined):
    """Parts of equal height beside each other: slices of a tensor cut along its columns."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.parts[0].shape[0], sum(part.shape[1] for part in self.parts)

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        return np.concatenate([part.read(inputs, rows) for part in self.parts], axis=1)


@dataclass(frozen=True, slots=True)
class Rotated(_Changed):
    """Queries or keys in Hugging Face's rotary order, read in llama.cpp's."""

    heads: int

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        count, columns = self.shape
        if count == 1:  # a bias
            return self.part.read(inputs, rows)[:, rotary_order(columns, self.heads)]
        return self.part.read(inputs, rotary_order(count, self.heads)[rows])


@dataclass(frozen=True, slots=True)
class Merged(_Changed):
    """Weights with a low-rank adapter added: W + scale * B A (LoRA, https://arxiv.org/abs/2106.09685).

    In float64 and rounded once: in float32 the bits would depend on how many rows are read together.
    """

    down: Weights
    """A, shape (rank, columns)."""
    up: Weights
    """B, shape (rows, rank)."""
    scale: float

    @property
    def refs(self) -> tuple[TensorRef, ...]:
        return _all_refs((self.part, self.down, self.up))

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        down = self.down.read(inputs, np.arange(self.down.shape[0])).astype(np.float64)
        with np.errstate(all="ignore"):  # what overflows here is refused when it is quantized
            change = self.up.read(inputs, rows).astype(np.float64) @ down
            return (self.part.read(inputs, rows) + self.scale * change).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Padded(_Changed):
    """Weights with rows of zeros below them."""

    rows: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.part.shape[1]

    def read(self, inputs: Inputs, rows: Rows) -> Floats:
        floats = np.zeros((len(rows), self.shape[1]), np.float32)
        there = rows < self.part.shape[0]
        if there.any():
            floats[there] = self.part.read(inputs, rows[there])
        return floats


def raw(weights: Weights, inputs: Inputs, rows: Rows) -> Raw | None:
    """Rows that follow each other, if nothing but their order has to be changed; they are not copied."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    match weights:
        case Stored(ref):
            return Raw(inputs.array(ref).reshape(weights.shape)[first:last], ref.dtype)
        case Rotated(Stored(ref) as part, heads) if part.shape[0] > 1:
            order = rotary_order(part.shape[0], heads)[first:last]
            return Raw(inputs.array(ref).reshape(part.shape), ref.dtype, order)
        case Stacked(parts):
            for one in parts:
                if last <= one.shape[0]:
                    return raw(one, inputs, np.arange(first, last)) if first >= 0 else None
                first, last = first - one.shape[0], last - one.shape[0]
    return None


def rotary_order(rows: int, heads: int) -> Rows:
    """Source row of each row: Hugging Face keeps a head's rotary pairs as two halves (a a b b), llama.cpp a b a b."""
    halves = np.arange(rows, dtype=np.intp).reshape(heads, 2, -1)
    return halves.swapaxes(1, 2).reshape(-1)


def _flat(shape: Sequence[int]) -> tuple[int, int]:
    rows = 1
    for length in shape[:-1]:
        rows *= length
    return rows, shape[-1] if shape else 1


def _all_refs(parts: Sequence[Weights]) -> tuple[TensorRef, ...]:
    return tuple(ref for part in parts for ref in part.refs)
