"""GGUF files put together field by field, so that every field can be made wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10
F32, Q8_0 = 0, 8
ALIGNMENT = 32


def text(value: str | bytes) -> bytes:
    """A length and the bytes."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    """One key with a value that is encoded already."""
    return text(key) + struct.pack("<I", kind) + value


def number(value: int) -> bytes:
    """The value of a UINT32, or of an INT32 below zero."""
    return struct.pack("<I", value & 0xFFFFFFFF)


def array(kind: int, count: int, values: bytes) -> bytes:
    """The value of an ARRAY."""
    return struct.pack("<IQ", kind, count) + values


def entry(name: str | bytes, dimensions: Sequence[int], kind: int, offset: int, count: int | None = None) -> bytes:
    """One tensor; `count` is the number of dimensions that it claims."""
    mask = (1 << 64) - 1
    sizes = struct.pack(f"<{len(dimensions)}Q", *(length & mask for length in dimensions))
    claimed = struct.pack("<I", len(dimensions) if count is None else count)
    return text(name) + claimed + sizes + struct.pack("<IQ", kind, offset & mask)


PAIRS = (
    pair("general.architecture", STRING, text("llama")),
    pair("general.file_type", UINT32, number(7)),
    pair("llama.block_count", UINT32, number(2)),
    pair("tokenizer.ggml.tokens", ARRAY, array(STRING, 2, text("a") + text("b"))),
)
# a vector of 32 bytes and two rows of 34 bytes each
ENTRIES = (entry("norm.weight", [8], F32, 0), entry("output.weight", [32, 2], Q8_0, 32))
DATA = bytes(range(100))


def gguf(
    pairs: Sequence[bytes] = PAIRS,
    entries: Sequence[bytes] = ENTRIES,
    data: bytes = DATA,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    pair_count: int | None = None,
    alignment: int = ALIGNMENT,
) -> bytes:
    """A whole file, a sound one unless something is changed; counts are those it claims."""
    mask = (1 << 64) - 1
    counts = [len(entries) if tensor_count is None else tensor_count, len(pairs) if pair_count is None else pair_count]
    head = magic + struct.pack("<IQQ", version, *(count & mask for count in counts))
    header = b"".join([head, *pairs, *entries])
    return header.ljust(-(-len(header) // alignment) * alignment, b"\0") + data
