"""The reader of safetensors headers: the format's own rules, each with what breaks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import raw_shard, refused, shard, sound_or_refused

from localchat.convert.safetensors import read_shard
from localchat.convert.tensors import TensorRef

GOOD: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def read(folder: Path, data: bytes) -> list[TensorRef]:
    """The tensors of these bytes."""
    path = folder / "model.safetensors"
    path.write_bytes(data)
    return read_shard(path)


def one(data: bytes = bytes(8), **changes: Any) -> bytes:
    """A file of one tensor `a` of two float32, with some of its description changed."""
    return raw_shard(json.dumps({"a": {**GOOD, **changes}}).encode(), data)


def several(data: bytes, *tensors: tuple[str, int, int]) -> bytes:
    """A file of float32 vectors: name, start, end."""
    header = {
        name: {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}
        for name, start, end in tensors
    }
    return raw_shard(json.dumps(header).encode(), data)


def test_tensors_are_found_where_they_lie(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a.weight": np.arange(5, dtype=np.float16),
        "c": np.arange(4, dtype=np.uint16).reshape(2, 2),
    }
    refs = read(tmp_path, shard(arrays))
    raw = (tmp_path / "model.safetensors").read_bytes()
    assert [(ref.name, ref.dtype, ref.shape) for ref in refs] == [
        ("b.weight", "F32", (2, 3)), ("a.weight", "F16", (5,)), ("c", "BF16", (2, 2)),
    ]  # fmt: skip
    for ref in refs:
        assert ref.file == tmp_path / "model.safetensors"
        assert raw[ref.start : ref.end] == arrays[ref.name].tobytes()


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (raw_shard(b"{}"), 0),
        (raw_shard(b'{"__metadata__": {"format": "pt"}}   '), 0),
        (one(), 1),
        (one(bytes(4), shape=[], data_offsets=[0, 4]), 1),
        (one(b"", shape=[0, 5], data_offsets=[0, 0]), 1),
        (several(bytes(16), ("b", 8, 16), ("a", 0, 8)), 2),
        (several(bytes(8), ("a", 0, 8), ("empty", 8, 8), ("none", 0, 0)), 3),
        (one(dtype="I64", shape=[1]), 1),
        (one(dtype="BOOL", shape=[8]), 1),
    ],
    ids=lambda value: repr(value)[-30:],
)
def test_oddities_of_the_format_are_read(data: bytes, count: int, tmp_path: Path) -> None:
    assert len(read(tmp_path, data)) == count


@pytest.mark.parametrize(
    ("dtype", "width"),
    [
        ("F64", 8), ("I64", 8), ("U64", 8), ("F32", 4), ("I32", 4), ("U32", 4),
        ("F16", 2), ("BF16", 2), ("I16", 2), ("U16", 2), ("I8", 1), ("U8", 1), ("BOOL", 1),
        ("F8_E4M3", 1), ("F8_E5M2", 1),
    ],
)  # fmt: skip
def test_every_type_has_its_width(dtype: str, width: int, tmp_path: Path) -> None:
    assert len(read(tmp_path, one(bytes(3 * width), dtype=dtype, shape=[3], data_offsets=[0, 3 * width]))) == 1


BAD_FILES: dict[str, bytes] = {
    "nothing": b"",
    "half a length": b"\x10\0\0\0",
    "a length alone": raw_shard(b"", length=2),
    "length zero": raw_shard(b"", length=0),
    "length past the end": raw_shard(b"{}", length=3),
    "length minus one": raw_shard(b"{}", length=(1 << 64) - 1),
    "length above the limit": raw_shard(b"{}", length=(100 << 20) + 1),
    "not JSON": raw_shard(b"{a: 1}"),
    "not UTF-8": raw_shard(b'{"\xff": 1}'),
    "no object": raw_shard(b"[1]"),
    "NaN": raw_shard(b'{"a": NaN}'),
    "too deep": raw_shard(b'{"a": ' + b"[" * 100_000),
    "doubled name": raw_shard(b'{"a": %s, "a": %s}' % ((json.dumps(GOOD).encode(),) * 2), bytes(8)),
    "doubled key": raw_shard(b'{"a": {"dtype": "F32", "shape": [2], "shape": [2], "data_offsets": [0, 8]}}', bytes(8)),
    "header cut": one()[:40],
    "data one byte short": one(bytes(7)),
    "no data": one(b""),
    "something behind the data": one(bytes(9)),
    "overlap": several(bytes(16), ("a", 0, 12), ("b", 8, 16)),
    "the same bytes twice": several(bytes(8), ("a", 0, 8), ("b", 0, 8)),
    "hole": several(bytes(24), ("a", 0, 8), ("b", 16, 24)),
    "hole at the start": several(bytes(16), ("a", 8, 16)),
    "unknown type": one(dtype="F4", shape=[8]),
    "no type": one(dtype=None),
    "type that is no text": one(dtype=["F32"]),
    "shape that does not match": one(shape=[3]),
    "shape that overflows": one(shape=[1 << 32, 1 << 32]),
    "negative shape": one(shape=[-2]),
    "two negatives": one(shape=[-1, -2]),
    "truth value as a length": one(bytes(4), shape=[True], data_offsets=[0, 4]),
    "fraction as a length": one(shape=[2.0]),
    "text as a length": one(shape=["2"]),
    "too many dimensions": one(shape=[2] + [1] * 8),
    "no shape": one(shape=None),
    "shape that is a number": one(shape=2),
    "one offset": one(data_offsets=[8]),
    "three offsets": one(data_offsets=[0, 8, 8]),
    "offsets turned around": one(data_offsets=[8, 0]),
    "negative offsets": one(data_offsets=[-8, 0]),
    "truth value as an offset": one(data_offsets=[False, 8]),
    "huge offsets": one(data_offsets=[1 << 62, (1 << 62) + 8]),
    "offset of a thousand digits": one(data_offsets=[0, int("9" * 1000)]),
    "name with a slash": several(bytes(8), ("a/b", 0, 8)),
    "name that climbs": several(bytes(8), ("../a", 0, 8)),
    "name with an escape": several(bytes(8), ("a\x1b[31m", 0, 8)),
    "empty name": several(bytes(8), ("", 0, 8)),
    "name too long": several(bytes(8), ("a" * 257, 0, 8)),
    "name with a newline": several(bytes(8), ("a\n", 0, 8)),
    "description that is a list": raw_shard(b'{"a": [1]}'),
    "description that is null": raw_shard(b'{"a": null}'),
}  # fmt: skip


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_what_the_format_does_not_allow_is_refused(data: bytes, tmp_path: Path) -> None:
    with refused("model.safetensors"):
        read(tmp_path, data)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = several(bytes(16), ("a", 0, 8), ("b", 8, 16))
    for length in range(len(data)):
        with refused("model.safetensors"):
            read(tmp_path, data[:length])


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with refused("absent.safetensors cannot be read"):
        read_shard(tmp_path / "absent.safetensors")


SOUND = several(bytes(16), ("a", 0, 8), ("b", 8, 16))
EDITS = st.lists(
    st.tuples(st.integers(0, len(SOUND) - 17), st.sampled_from(b'0123456789-{}[]",:.eatrufls\\\xff \0')), max_size=3
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
def test_any_change_of_bytes_gives_tensors_inside_the_file_or_a_sentence(
    tmp_path: Path, edits: list[tuple[int, int]]
) -> None:
    data = bytearray(SOUND)
    for place, value in edits:
        data[place] = value
    with sound_or_refused():
        refs = read(tmp_path, bytes(data))
        assert sum(ref.end - ref.start for ref in refs) <= len(data)
        assert all(8 < ref.start <= ref.end <= len(data) for ref in refs)
