"""Some rows of every tensor, read back from the model file: finite, and what the checkpoint has there."""

from __future__ import annotations

import random
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.convert.inputs import MappedInputs
from localchat.convert.layout import TensorPlan
from localchat.convert.weights import Rows
from localchat.gguf_file import ModelFile, Tensor
from localchat.library import Check
from localchat.llama.quantize import Floats, dequantize, quantize, row_bytes

RANDOM_ROWS = 2  # of each matrix, besides its first and its last
Bytes = NDArray[np.uint8]

# How far a row may be from its source: length of the difference by length of the row. Twice what ggml's quantizers
# were measured to lose on rows of normal weights (4,096 wide, also scaled, shifted and with heavier tails). Another
# row of the same matrix is 1.4 away, so a row at a wrong place is seen whatever the type. Single rows may lose more
# (one large weight among tiny ones, weights below half precision); these must have the very bytes that the quantizer
# gives for their source. Types that are not listed here must always.
ALLOWED = {
    "F32": 0.0, "BF16": 0.004, "F16": 0.0005, "Q8_0": 0.012, "Q6_K": 0.04,
    "Q5_K": 0.08, "Q5_1": 0.08, "Q5_0": 0.09, "Q4_K": 0.15, "Q4_1": 0.17, "Q4_0": 0.18, "IQ4_NL": 0.16, "IQ4_XS": 0.17,
    "Q3_K": 0.32, "IQ3_S": 0.35, "IQ3_XXS": 0.38, "Q2_K": 0.6, "IQ2_S": 0.52, "IQ2_XS": 0.62, "IQ2_XXS": 0.7,
    "MXFP4": 0.25,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checking:
    """Progress: this is looked at now; bytes are those of the model file."""

    item: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one tensor's rows are like."""

    tensor: str
    type: str
    rows: int
    is_finite: bool
    error: float = 0.0
    """The largest relative one of a row."""
    lossy: int = 0
    """Rows that lost more than is usual, as the quantizer does with them."""
    wrong: int | None = None
    """A row that is not that of the source."""

    @property
    def share(self) -> float:
        """How much of what is allowed the error takes."""
        return self.error / ALLOWED.get(self.type, 0.0) if ALLOWED.get(self.type) else 0.0


Looking = Generator[Checking, None, tuple[Check, ...]]


class Source(Protocol):
    """What model files are compared with."""

    def rows(self, plan: TensorPlan, rows: Rows) -> Floats:
        """Rows of the tensor as the checkpoint has them, shape (len(rows), columns)."""


class Files:
    """Files of a checkpoint that are here."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._inputs = MappedInputs(paths)

    def rows(self, plan: TensorPlan, rows: Rows) -> Floats:
        """Read from the disk."""
        return plan.weights.read(self._inputs, rows)


def check_rows(plans: Sequence[TensorPlan], source: Source, model: ModelFile) -> Looking:
    """Compare rows of every tensor with the source they were made from: a check of the rows, and one of finiteness."""
    by_name = {tensor.name: tensor for tensor in model.tensors}
    with model.path.open("rb") as file:
        found: list[_Finding] = []
        for plan in plans:
            tensor = by_name[plan.target.name]
            found.append(_compared(plan, tensor, source, _read(file, model, tensor)))
            yield _progress(model, tensor)
    return _finite(found), _close(found)


def check_finite(model: ModelFile) -> Looking:
    """The same where there is no source: only that the weights are numbers."""
    with model.path.open("rb") as file:
        found: list[_Finding] = []
        for tensor in model.tensors:
            rows, data = _read(file, model, tensor)
            floats = dequantize(tensor.type, data, tensor.dimensions[0])
            found.append(_Finding(tensor.name, tensor.type.name, len(rows), bool(np.isfinite(floats).all())))
            yield _progress(model, tensor)
    return (_finite(found),)


def sampled(name: str, matrices: int, matrix_rows: int) -> Rows:
    """The first, the last and some other rows of each matrix, the same ones each time, in rising order."""
    choice = random.Random(zlib.crc32(name.encode()))
    found = {
        matrix * matrix_rows + row
        for matrix in range(matrices)
        for row in (0, matrix_rows - 1, *(choice.randrange(matrix_rows) for _ in range(RANDOM_ROWS)))
    }
    return np.asarray(sorted(found), np.intp)


def _progress(model: ModelFile, tensor: Tensor) -> Checking:
    return Checking(tensor.name, tensor.offset + tensor.bytes, model.tensors[-1].offset + model.tensors[-1].bytes)


def _read(file: BinaryIO, model: ModelFile, tensor: Tensor) -> tuple[Rows, Bytes]:
    """Numbers of the rows that are looked at, and their bytes as they lie in the file, a row each."""
    columns, *lengths = tensor.dimensions
    matrix_rows = lengths[0] if lengths else 1
    matrices = int(np.prod(lengths[1:]))
    rows, width = sampled(tensor.name, matrices, matrix_rows), row_bytes(tensor.type, columns)
    data = np.empty((len(rows), width), np.uint8)
    for place, row in enumerate(rows):
        file.seek(model.data_offset + tensor.offset + int(row) * width)
        data[place] = np.frombuffer(file.read(width), np.uint8)
    return rows, data


def _compared(plan: TensorPlan, tensor: Tensor, source: Source, read: tuple[Rows, Bytes]) -> _Finding:
    rows, data = read
    wanted = source.rows(plan, rows)
    found = dequantize(tensor.type, data, plan.target.columns)
    if not np.isfinite(found).all():
        return _Finding(tensor.name, tensor.type.name, len(rows), is_finite=False)
    lengths = np.linalg.norm(wanted.astype(np.float64), axis=1)
    differences = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    errors = np.divide(differences, lengths, out=np.where(differences > 0, np.inf, 0.0), where=lengths > 0)
    suspects = [int(place) for place in np.flatnonzero(errors > ALLOWED.get(tensor.type.name, -1.0))]
    wrong = [int(rows[place]) for place in suspects if not _is_quantized(plan, tensor.type, wanted, data, rows, place)]
    usual = np.delete(errors, suspects)
    return _Finding(
        tensor.name, tensor.type.name, len(rows), is_finite=True, error=float(usual.max(initial=0.0)),
        lossy=len(suspects) - len(wrong), wrong=wrong[0] if wrong else None,
    )  # fmt: skip


def _is_quantized(
    plan: TensorPlan, kind: GGMLQuantizationType, wanted: NDArray[np.float32], data: Bytes, rows: Rows, place: int
) -> bool:
    """Are the bytes of a row what the quantizer makes of its source?"""
    importance = plan.importance
    if importance is not None:
        importance = importance[int(rows[place]) // plan.target.matrix_rows]
    return bool((quantize(kind, wanted[place : place + 1].copy(), importance)[0] == data[place]).all())


def _finite(found: Sequence[_Finding]) -> Check:
    bad = next((finding for finding in found if not finding.is_finite), None)
    if bad is not None:
        return Check("finite", "failed", f"{bad.tensor} has a weight that is not a finite number")
    return Check("finite", "passed", f"every weight of {_rows(found)} is a finite number")


def _close(found: Sequence[_Finding]) -> Check:
    wrong = next((finding for finding in found if finding.wrong is not None), None)
    if wrong is not None:
        return Check("rows", "failed", f"row {wrong.wrong} of {wrong.tensor} is not that of the source")
    return Check("rows", "passed", "; ".join(_account(found)))


def _account(found: Sequence[_Finding]) -> Iterator[str]:
    yield f"{_rows(found)} are those of the source"
    worst = max(found, key=lambda finding: finding.share, default=None)
    if worst is not None and worst.share:
        yield f"worst error {worst.error:.2g} of {worst.tensor} ({worst.type} allows {ALLOWED[worst.type]:g})"
    if lossy := sum(finding.lossy for finding in found):
        yield f"{lossy:,} of them lost more, as llama.cpp's quantizer makes them"


def _rows(found: Sequence[_Finding]) -> str:
    return f"{sum(finding.rows for finding in found):,} rows of {len(found):,} tensors"
