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


@cache
def _ggml() -> ctypes.CDLL:
    library = load_library("ggml-base")
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
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


def quantize(kind: GGMLQuantizationType, rows: Floats) -> NDArray[np.uint8]:
    """Rows of float32, shape (rows, columns), in the given type: shape (rows, `row_bytes(kind, columns)`).

    The bits are those of llama-quantize without an importance matrix.
    Raises LocalchatError if a value is not finite, which ggml would not always notice, or too large for the type.
    """
    count, columns = rows.shape
    if not np.isfinite(rows).all():
        raise LocalchatError("a weight is not a finite number", "the checkpoint is damaged: get it again")
    out = np.empty((count, row_bytes(kind, columns)), np.uint8)
    _ggml().ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, count, columns, None)
    if not _ggml().ggml_validate_row_data(int(kind), out.ctypes.data, out.nbytes):
        raise LocalchatError(f"a weight is too large for {kind.name}", "choose another type, such as BF16")
    return out
