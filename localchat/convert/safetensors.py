"""Safetensors headers, read strictly; the data itself stays on the disk and is mapped when it is converted.

Format: 8 bytes of header length, a JSON object of names, then the data, contiguous and without holes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NoReturn

from localchat.convert.tensors import TensorRef
from localchat.errors import BadFile
from localchat.files import Opener, opened, parse_json

HEADER_LIMIT_BYTES = 32 << 20  # of 100,000 tensors and more; one strange letter makes a text four times as large
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,256}")
WIDTHS = {
    "F32": 4, "F16": 2, "BF16": 2,
    "F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


def read_shard(path: Path, open_file: Opener = opened) -> list[TensorRef]:
    """The tensors of one file, in the order they lie. Raises BadFile for whatever the format does not allow."""
    try:
        with open_file(path) as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            header_bytes = int.from_bytes(file.read(8), "little")
            if not 2 <= header_bytes <= min(HEADER_LIMIT_BYTES, file_bytes - 8):
                _fail(path, "its header does not fit into it; it may be cut short")
            header = parse_json(file.read(header_bytes), path.name)
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}", "check the checkpoint") from error
    header.pop("__metadata__", None)
    refs = sorted((_tensor(path, name, entry, 8 + header_bytes) for name, entry in header.items()), key=_start)
    _check_coverage(path, refs, 8 + header_bytes, file_bytes)
    return refs


def _tensor(path: Path, name: str, entry: Any, data_start: int) -> TensorRef:
    if not NAME.fullmatch(name) or not isinstance(entry, dict):
        _fail(path, "a tensor has an unusable name or description")
    dtype, width = str(entry.get("dtype")), WIDTHS.get(str(entry.get("dtype")))
    if width is None:
        _fail(path, f"tensor {name} has the type {dtype[:20]}, which is not supported")
    shape, offsets = _whole_numbers(entry.get("shape"), 8), _whole_numbers(entry.get("data_offsets"), 2)
    if shape is None or offsets is None or len(offsets) != 2:
        _fail(path, f"tensor {name} has no sound shape or offsets")
    start, end = offsets
    if end - start != math.prod(shape) * width:
        _fail(path, f"tensor {name} has a shape that does not match its bytes")
    return TensorRef(name, dtype, shape, path, data_start + start, data_start + end)


def _whole_numbers(value: Any, limit: int) -> tuple[int, ...] | None:
    """The value if it is a list of sensible whole numbers."""
    if isinstance(value, list) and len(value) <= limit and all(type(n) is int and 0 <= n < 1 << 48 for n in value):
        return tuple(value)
    return None


def _check_coverage(path: Path, refs: list[TensorRef], data_start: int, file_bytes: int) -> None:
    position = data_start
    for ref in refs:
        if ref.start != position:
            _fail(path, f"tensor {ref.name} overlaps another or leaves a hole")
        position = ref.end
    if position > file_bytes:
        _fail(path, "it is cut short")
    if position < file_bytes:
        _fail(path, "there is something behind its last tensor")


def _start(ref: TensorRef) -> tuple[int, int]:
    return ref.start, ref.end


def _fail(path: Path, what: str) -> NoReturn:
    raise BadFile(f"{path.name} is not a sound safetensors file: {what}", "download the file again")
