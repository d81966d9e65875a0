"""ggml's own conversions and quantizers, called on blocks of rows.

Only `libggml-base` is loaded, by path: it has no devices and starts no threads, so the main process may use it while
llama.cpp itself stays in child processes. ctypes releases the interpreter lock during a call, so one Python thread
for each core keeps all of them busy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from localchat.errors import LocalchatError
from localchat.llama.libraries import load_library

Floats = NDArray[np.float32]

TO_FLOAT = {"BF16": "ggml_bf16_to_fp32_row", "F16": "ggml_fp16_to_fp32_row"}

# ggml looks up the nearest point of a grid for these, and ends the process where a sum of squares overflowed before.
# Within the limits no product of theirs reaches what float32 holds; weights beyond do not fit into the types anyway.
GRID_TYPES = frozenset({
    GGMLQuantizationType.IQ1_S, GGMLQuantizationType.IQ1_M, GGMLQuantizationType.IQ2_XXS, GGMLQuantizationType.IQ2_XS,
    GGMLQuantizationType.IQ2_S, GGMLQuantizationType.IQ3_XXS, GGMLQuantizationType.IQ3_S,
})  # fmt: skip
HALF_LIMIT = 65_504.0  # the largest number of float16, in which scales are kept
GRID_WEIGHT_LIMIT = 1e8
IMPORTANCE_LIMIT = 1e15


class _Traits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h (0.25), which is never changed here."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("block_interleave", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float", ctypes.c_void_p),
    )


@cache
def _ggml() -> ctypes.CDLL:
    library = load_library("ggml-base")
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    library.ggml_quantize_requires_imatrix.argtypes = [ctypes.c_int]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    library.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
    library.ggml_get_type_traits.argtypes = [ctypes.c_int]
    for name in TO_FLOAT.values():
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        getattr(library, name).restype = None
    return library


def row_bytes(kind: GGMLQuantizationType, columns: int) -> int:
    """Bytes of a row of `columns` weights; `columns` must be a multiple of the type's block."""
    block, block_bytes = GGML_QUANT_SIZES[kind]
    return int(columns // block * block_bytes)


def prepare(kinds: Sequence[GGMLQuantizationType]) -> None:
    """Fill ggml's tables for these types; to be called before threads quantize at the same time."""
    for kind in kinds:
        _ggml().ggml_quantize_init(int(kind))


def to_floats(rows: NDArray[Any], dtype: str, out: Floats) -> None:
    """Widen rows of `BF16` (as uint16), `F16` or `F32` exactly into `out`, an array of the same shape."""
    if dtype == "F32":
        np.copyto(out, rows)
        return
    rows = np.require(rows, requirements=["C", "ALIGNED"])
    getattr(_ggml(), TO_FLOAT[dtype])(rows.ctypes.data, out.ctypes.data, rows.size)


def quantize(kind: GGMLQuantizationType, rows: Floats, importance: Floats | None = None) -> NDArray[np.uint8]:
    """Rows of float32, shape (rows, columns), in the given type: shape (rows, `row_bytes(kind, columns)`).

    `importance` has shape (columns,): how much an error in each column matters. The bits are those of llama-quantize
    with or without an importance matrix. Raises LocalchatError if a value is not finite, which ggml would not always
    notice, or too large for the type, or if the type cannot be made without an importance.
    """
    count, columns = rows.shape
    if not np.isfinite(rows).all():
        raise LocalchatError("a weight is not a finite number", "the checkpoint is damaged: get it again")
    check_importance(kind, columns, importance)
    out = np.empty((count, row_bytes(kind, columns)), np.uint8)
    rows = np.require(rows, requirements=["C", "ALIGNED"])
    guide = None if importance is None else np.require(importance, np.float32, ["C", "ALIGNED"])
    largest = max(rows.max(initial=0), -rows.min(initial=0))
    if kind not in GRID_TYPES or largest <= GRID_WEIGHT_LIMIT:
        pointer = None if guide is None else guide.ctypes.data
        _ggml().ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, count, columns, pointer)
        if _is_sound(kind, out, columns, may_overflow=largest > HALF_LIMIT):
            return out
    raise LocalchatError(f"a weight is too large for {kind.name}", "choose another type, such as BF16")


def _is_sound(kind: GGMLQuantizationType, data: NDArray[np.uint8], columns: int, may_overflow: bool) -> bool:
    """Is every scale a finite number? ggml's own check prints what it finds where the app draws its screen."""
    if may_overflow:
        return bool(np.isfinite(dequantize(kind, data, columns)).all())
    return bool(_ggml().ggml_validate_row_data(int(kind), data.ctypes.data, data.nbytes))


def dequantize(kind: GGMLQuantizationType, data: NDArray[np.uint8], columns: int) -> Floats:
    """The float32 rows, shape (rows, columns), of rows of the given type, shape (rows, `row_bytes(kind, columns)`).

    Raises LocalchatError where the shape is another, or the type has no way back. Damaged data gives wrong numbers,
    also such as are not finite, but no failure.
    """
    block = GGML_QUANT_SIZES[kind][0]
    if data.ndim != 2 or columns % block or data.shape[1] != row_bytes(kind, columns):
        raise LocalchatError(f"rows of {columns} {kind.name} weights do not have this size", "get the file again")
    data = np.require(data, np.uint8, ["C", "ALIGNED"])
    if kind == GGMLQuantizationType.F32:
        return data.view(np.float32).copy()
    to_float = _ggml().ggml_get_type_traits(int(kind)).contents.to_float
    if not to_float:
        raise LocalchatError(f"{kind.name} cannot be read back as numbers", "give a file of F16, BF16, F32 or Q8_0")
    out = np.empty((len(data), columns), np.float32)
    to_float(data.ctypes.data, out.ctypes.data, out.size)
    return out


def check_importance(kind: GGMLQuantizationType, columns: int, importance: Floats | None) -> None:
    """ggml would end the process over what is refused here."""
    if importance is None:
        if _ggml().ggml_quantize_requires_imatrix(int(kind)):
            raise LocalchatError(f"{kind.name} cannot be made without an importance matrix", "give --imatrix FILE")
        return
    if importance.shape != (columns,):
        raise LocalchatError(
            f"the importance matrix has {importance.size} values where a row has {columns}",
            "make it from this very model with llama-imatrix",
        )
    if not ((importance >= 0) & (importance <= IMPORTANCE_LIMIT)).all():
        raise LocalchatError("the importance matrix holds impossible values", "make it again with llama-imatrix")
