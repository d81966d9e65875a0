"""Rows of weights in a quantized type: by our own kernels where they are built and know the type, else by ggml.

The bits are the same either way. ctypes releases the interpreter lock during a call, so one Python thread for each
core keeps all of them busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.kernels.library import Task, kernels, run
from localchat.llama import quantize as ggml
from localchat.llama.quantize import Floats, check_importance, row_bytes, to_floats

Type = GGMLQuantizationType
KINDS = frozenset({
    Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K,
    Type.IQ4_NL, Type.IQ4_XS,
})  # fmt: skip
SOURCES = {"F32": 0, "F16": 1, "BF16": 2}  # `Source` of c/quantize.h


def quantize(kind: Type, rows: Floats, importance: Floats | None = None) -> NDArray[np.uint8]:
    """Rows of float32, shape (rows, columns), in the given type: shape (rows, `row_bytes(kind, columns)`).

    `importance` has shape (columns,): how much an error in each column matters. The bits are those of llama-quantize
    with or without an importance matrix. Raises LocalchatError if a value is not finite, or too large for the type, or
    if the type cannot be made without an importance.
    """
    return quantize_stored(kind, rows, "F32", importance=importance)


def quantize_stored(
    kind: Type,
    stored: NDArray[Any],
    dtype: str,
    order: NDArray[np.intp] | None = None,
    importance: Floats | None = None,
) -> NDArray[np.uint8]:
    """The same from rows as a checkpoint stores them: `BF16` (as uint16), `F16` or `F32`; each weight is read once.

    `order` are the numbers of the rows that are wanted, as they are wanted; without, all of them.
    """
    job = Job(kind, stored, dtype, order, importance)
    lanes = kernels().lanes
    made = quantize_in_lanes(job, lanes[0]) if lanes else None
    return _by_ggml(job) if made is None else made


@dataclass(frozen=True, slots=True)
class Job:
    """What `quantize_stored` is asked for."""

    kind: Type
    stored: NDArray[Any]
    dtype: str
    order: NDArray[np.intp] | None = None
    importance: Floats | None = None


def quantize_in_lanes(job: Job, lanes: int) -> NDArray[np.uint8] | None:
    """By our kernel with so many lanes. None where ggml has to make them, or to say why they cannot be made."""
    if job.kind not in KINDS:
        return None
    stored, columns = job.stored, job.stored.shape[1]
    importance, order = _importance(job), _order(job)
    if stored.strides[1] != stored.itemsize:
        stored = np.ascontiguousarray(stored)
    out = np.empty((len(stored) if order is None else len(order), row_bytes(job.kind, columns)), np.uint8)
    task = Task(
        int(job.kind), SOURCES[job.dtype], stored.ctypes.data, _address(order), stored.strides[0], len(out), columns,
        _address(importance), out.ctypes.data,
    )  # fmt: skip
    return out if run(task, lanes) else None


def _importance(job: Job) -> Floats | None:
    if job.importance is None:
        return None
    check_importance(job.kind, job.stored.shape[1], job.importance)
    return np.require(job.importance, np.float32, ["C", "ALIGNED"])


def _order(job: Job) -> NDArray[np.int64] | None:
    """Checked, for beyond the rows lies other memory."""
    if job.order is None:
        return None
    order = np.require(job.order, np.int64, ["C", "ALIGNED"])
    if order.size and not 0 <= order.min() <= order.max() < len(job.stored):
        raise IndexError("there is no such row")
    return order


def _address(values: NDArray[Any] | None) -> int | None:
    return None if values is None else values.ctypes.data


def _by_ggml(job: Job) -> NDArray[np.uint8]:
    wanted = job.stored if job.order is None else job.stored[job.order]
    floats = np.empty(wanted.shape, np.float32)
    to_floats(wanted, job.dtype, floats)
    return ggml.quantize(job.kind, floats, job.importance)
