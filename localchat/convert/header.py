"""GGUF headers as bytes: metadata, then one description for each tensor, padded to the alignment (version 3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf.constants import GGMLQuantizationType, GGUFValueType

VERSION = 3
ALIGNMENT = 32
Kind = GGUFValueType
PACKING = {Kind.UINT32: "<I", Kind.INT32: "<i", Kind.FLOAT32: "<f", Kind.BOOL: "<?", Kind.UINT64: "<Q"}


@dataclass(frozen=True, slots=True)
class Array:
    """A metadata value that is a list of one kind."""

    kind: GGUFValueType
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A metadata value as the bytes of another file, its type number before it."""

    data: bytes


Metadata = Mapping[str, tuple[GGUFValueType, Any] | Encoded]


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as the header describes it; `shape` row-major, `offset` from the start of the data."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int


def aligned(count: int) -> int:
    """The next multiple of the alignment."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def encode(metadata: Metadata, tensors: Sequence[TensorEntry]) -> bytes:
    """The whole header; the tensor data begins where it ends."""
    parts = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, entry in metadata.items():
        parts += [_text(key), entry.data if isinstance(entry, Encoded) else _typed(*entry)]
    parts += [_entry(tensor) for tensor in tensors]
    header = b"".join(parts)
    return header.ljust(aligned(len(header)), b"\0")


def _typed(kind: GGUFValueType, value: Any) -> bytes:
    return struct.pack("<I", kind) + _value(kind, value)


def _value(kind: GGUFValueType, value: Any) -> bytes:
    if kind == Kind.STRING:
        return _text(value)
    if isinstance(value, Array):
        return struct.pack("<IQ", value.kind, len(value.values)) + _values(value.kind, value.values)
    return struct.pack(PACKING[kind], value)


def _values(kind: GGUFValueType, values: Iterable[Any]) -> bytes:
    if kind == Kind.STRING:
        return b"".join(map(_text, values))
    number = float if kind == Kind.FLOAT32 else int
    return b"".join(struct.pack(PACKING[kind], number(value)) for value in values)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return struct.pack("<Q", len(data)) + data


def _entry(tensor: TensorEntry) -> bytes:
    dimensions = tensor.shape[::-1]  # ggml counts the row length first
    return _text(tensor.name) + struct.pack(
        f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.type, tensor.offset
    )
