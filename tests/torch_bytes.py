"""Files as PyTorch saves them, in both formats, put together instruction by instruction so that all can be made wrong.

A value in a pickle is here the bytes that build it: `mapping(a=tensor(...))`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from localchat.convert.tensors import TensorRef
from localchat.convert.torch.torchpickle import read_torch

KINDS = {
    "F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2), "F64": ("DoubleStorage", 8),
    "I64": ("LongStorage", 8), "I32": ("IntStorage", 4), "I16": ("ShortStorage", 2), "I8": ("CharStorage", 1),
    "U8": ("ByteStorage", 1), "BOOL": ("BoolStorage", 1),
}  # fmt: skip
ARRAYS = {
    "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64, "I64": np.int64, "I32": np.int32,
    "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
NONE, TRUE, FALSE, NOTHING = b"N", b"\x88", b"\x89", b")"
FULL = 0xFFFFFFFF


def text(value: str) -> bytes:
    """A text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """A whole number, in the shortest way of protocol 2."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def global_name(module: str, name: str) -> bytes:
    """Something that lives in a module."""
    return f"c{module}\n{name}\n".encode()


def group(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def numbers(values: Sequence[int]) -> bytes:
    """A tuple of whole numbers."""
    return group(*map(number, values))


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """What a function gives."""
    return global_name(module, name) + group(*arguments) + b"R"


def mapping(items: Mapping[str, bytes]) -> bytes:
    """A dictionary."""
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def ordered(items: Mapping[str, bytes]) -> bytes:
    """An OrderedDict, as `state_dict()` gives it: with the versions of the modules as an attribute."""
    empty = global_name("collections", "OrderedDict") + b")R"
    state = mapping({"_metadata": empty + b"(" + text("") + mapping({"version": number(1)}) + b"u"})
    return empty + mapping(items)[1:] + state + b"b"


def storage(dtype: str = "F32", count: int = 6, key: str = "0", *more: bytes) -> bytes:
    """A reference to stored weights; the old format has one more item, None."""
    described = text("storage"), global_name("torch", KINDS[dtype][0]), text(key), text("cpu"), number(count)
    return group(*described, *more) + b"Q"


def tensor(
    stored: bytes, shape: Sequence[int] = (2, 3), strides: Sequence[int] | None = None, offset: int = 0
) -> bytes:
    """A look at stored weights, contiguous where there are no strides."""
    steps = [math.prod(shape[at + 1 :]) for at in range(len(shape))] if strides is None else strides
    hooks = global_name("collections", "OrderedDict") + b")R"
    arguments = stored, number(offset), numbers(shape), numbers(steps), FALSE, hooks
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def pickled(value: bytes) -> bytes:
    """The value as a whole pickle of protocol 2."""
    return b"\x80\x02" + value + b"."


@dataclass(frozen=True, slots=True)
class Part:
    """One file in an archive; what is given after its data is what headers claim of it."""

    name: str
    data: bytes
    flags: int = 0x0808
    method: int = 0
    size: int | None = None
    checksum: int | None = None
    local_name: str | None = None
    local_size: int | None = None
    header: int | None = None
    wide: bool = False
    """Numbers of 8 bytes in an extra field, as for what lies behind 4 GiB."""


def archive(parts: Sequence[Part], **end: int) -> bytes:
    """A zip archive as PyTorch writes it: data at multiples of 64, sizes behind the data, both end records."""
    out, directory = b"", b""
    for part in parts:
        header = len(out) if part.header is None else part.header
        out += _local(part, len(out)) + part.data
        if part.flags & 8:
            out += struct.pack("<4s3I", b"PK\x07\x08", crc32(part.data), len(part.data), len(part.data))
        directory += _listed(part, header)
    return out + directory + ending(len(parts), len(directory), len(out), **end)


def _local(part: Part, position: int) -> bytes:
    name = (part.local_name or part.name).encode()
    size = len(part.data) if part.local_size is None else part.local_size
    told = (0, 0, 0) if part.flags & 8 and part.local_size is None else (crc32(part.data) if size else 0, size, size)
    extra = struct.pack("<2H2Q", 1, 16, size, size) if part.wide and not part.flags & 8 else b""
    if extra:
        told = (told[0], FULL, FULL)
    room = -(position + 30 + len(name) + len(extra) + 4) % 64
    extra += struct.pack("<2s H", b"FB", room) + b"Z" * room
    return struct.pack("<4s5H3I2H", b"PK\3\4", 0, part.flags, part.method, 0, 0, *told, len(name), len(extra)) + (
        name + extra
    )


def _listed(part: Part, header: int) -> bytes:
    size = len(part.data) if part.size is None else part.size
    checksum = crc32(part.data) if part.checksum is None else part.checksum
    extra = struct.pack("<2H3Q", 1, 24, size, size, header) if part.wide else b""
    told = (FULL, FULL, FULL) if part.wide else (size, size, header)
    lengths = len(part.name.encode()), len(extra), 0
    front = struct.pack("<4s6H", b"PK\1\2", 0, 0, part.flags, part.method, 0, 0)
    back = struct.pack("<3I5H2I", checksum, *told[:2], *lengths, 0, 0, 0, told[2])
    return front + back + part.name.encode() + extra


def ending(count: int, size: int, offset: int, /, **changed: int) -> bytes:
    """The end records; a number can be changed in the narrow one alone, with `wide_` before its name in the wide."""
    narrow = {
        "here": changed.get("count", count),
        "count": count,
        "size": size,
        "offset": offset,
        "disk": 0,
        "comment": 0,
    } | changed
    wide = {"count": count, "size": size, "offset": offset, "place": offset + size}
    wide |= {name.removeprefix("wide_"): value for name, value in changed.items() if name.startswith("wide_")}
    record = struct.pack("<4sQ2H2I", b"PK\6\6", 44, 0, 0, 0, 0)
    record += struct.pack("<4Q", wide["count"], wide["count"], wide["size"], wide["offset"])
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, wide["place"], 1)
    counts = narrow["disk"], narrow["disk"], narrow["here"], narrow["count"]
    return (
        record
        + locator
        + struct.pack("<4s4H2IH", b"PK\5\6", *counts, narrow["size"], narrow["offset"], narrow["comment"])
    )


def parts_of(value: bytes, storages: Mapping[str, bytes], folder: str = "archive") -> list[Part]:
    """What is in the archive of one value, in PyTorch's order."""
    return [
        Part(f"{folder}/data.pkl", pickled(value)),
        Part(f"{folder}/byteorder", b"little"),
        *(Part(f"{folder}/data/{key}", data) for key, data in storages.items()),
        Part(f"{folder}/version", b"3\n"),
        Part(f"{folder}/.data/serialization_id", b"0" * 40),
    ]


def zipped(value: bytes, storages: Mapping[str, bytes]) -> bytes:
    """A file in the format of PyTorch 1.6 and later."""
    return archive(parts_of(value, storages))


FACTS = {"protocol_version": number(1001), "little_endian": TRUE, "type_sizes": mapping({"int": number(4)})}


def legacy(
    value: bytes,
    storages: Mapping[str, tuple[int, bytes]],
    *,
    magic: int = 0x1950A86A20F9469CFC6C,
    version: int = 1001,
    facts: bytes = mapping(FACTS),
    keys: bytes | None = None,
) -> bytes:
    """A file in the format before PyTorch 1.6; of a storage are given its weights' count and bytes."""
    listed = b"](" + b"".join(map(text, storages)) + b"e" if keys is None else keys
    preface = b"".join(map(pickled, (number(magic), number(version), facts, value, listed)))
    return preface + b"".join(struct.pack("<Q", count) + data for count, data in storages.values())


def saved(tensors: Mapping[str, tuple[str, NDArray[Any]]], old: bool = False) -> bytes:
    """Arrays with their dtypes, each in a storage of its own, in either format."""
    more = (NONE,) if old else ()
    described = {
        name: tensor(storage(dtype, array.size, str(key), *more), array.shape)
        for key, (name, (dtype, array)) in enumerate(tensors.items())
    }
    data = {str(key): array.tobytes() for key, (_, array) in enumerate(tensors.values())}
    if old:
        width = {str(key): array.itemsize for key, (_, array) in enumerate(tensors.values())}
        return legacy(ordered(described), {key: (len(raw) // width[key], raw) for key, raw in data.items()})
    return zipped(ordered(described), data)


def file_of(value: bytes, old: bool = False) -> bytes:
    """A file of this value, in either format, with one storage of six float32."""
    return legacy(value, {"0": (6, bytes(24))}) if old else zipped(value, {"0": bytes(24)})


def values(ref: TensorRef) -> NDArray[Any]:
    """The weights of a tensor that was found, read from its file the way a converter would."""
    kind = np.dtype(ARRAYS[ref.dtype])
    raw = ref.file.read_bytes()[ref.start : ref.end]
    flat: NDArray[Any] = np.frombuffer(raw, kind)
    if ref.strides is None:
        return flat.reshape(ref.shape)
    return as_strided(flat, ref.shape, [step * kind.itemsize for step in ref.strides])


def found(folder: Path, data: bytes) -> dict[str, TensorRef]:
    """The tensors of a file of these bytes, by name."""
    path = folder / "pytorch_model.bin"
    path.write_bytes(data)
    refs = read_torch(path)
    assert len({ref.name for ref in refs}) == len(refs)
    assert all(0 <= ref.start <= ref.end <= len(data) for ref in refs)
    return {ref.name: ref for ref in refs}
