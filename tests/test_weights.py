"""How weights come about, each way compared with the same worked out on whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from own_layout import in_pairs
from tiny import refused

from localchat.convert.inputs import MappedInputs
from localchat.convert.tensors import TensorRef
from localchat.convert.weights import (
    Beside,
    Computed,
    Merged,
    Packed,
    Padded,
    Rotated,
    Stacked,
    Stored,
    Weights,
    rotary_order,
)
from localchat.llama.quantize import quantize

DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
Array = NDArray[Any]
random = np.random.default_rng(3)


class Disk:
    """A file that arrays are put into, one behind the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, b"\0" * 4  # nothing lies at the very start of a real file either

    def store(self, array: Array) -> Stored:
        """The array as a tensor of the file."""
        start = len(self.data)
        self.data += array.tobytes()
        return Stored(TensorRef("a", DTYPES[array.dtype.name], array.shape, self.path, start, len(self.data)))

    def read(self, weights: Weights, rows: Any = None) -> Array:
        """The rows of some weights, or all of them."""
        self.path.write_bytes(self.data)
        chosen = np.arange(weights.shape[0]) if rows is None else np.asarray(rows, np.intp)
        found = weights.read(MappedInputs([self.path]), chosen)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous, "the quantizer reads a run of memory"
        return found


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """An empty file for tensors."""
    return Disk(tmp_path / "weights")


def floats(*shape: int) -> NDArray[np.float32]:
    """Random weights of few bits, which every type holds."""
    return (random.integers(-64, 65, shape) / 32).astype(np.float32)


def halved(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The weights as BF16."""
    return (array.view(np.uint32) >> 16).astype(np.uint16)


ROWS = {
    "a run": [2, 3, 4],
    "one": [3],
    "all": list(range(6)),
    "backward": [4, 3, 2],
    "the first and last of a run": [2, 4],
    "a run but for one": [0, 1, 3],
    "as long as a run and none": [1, 3, 2, 4],
    "twice the same": [2, 2, 3],
    "around the end": [5, 0],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
@pytest.mark.parametrize("cast", [np.array, np.float16, halved], ids=["F32", "F16", "BF16"])
def test_rows_of_a_stored_tensor_are_those_asked_for(cast: Callable[[Any], Array], rows: list[int], disk: Disk) -> None:
    whole = floats(6, 5)
    np.testing.assert_array_equal(disk.read(disk.store(cast(whole)), rows), whole[rows])


def test_numbers_at_the_edges_are_widened_exactly(disk: Disk) -> None:
    bits = np.array([[0, 0x8000, 1, 0x7F80, 0xFF80, 0x7F7F, 0x0080, 0x007F]], np.uint16)
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(disk.read(disk.store(bits)), expected)
    halves = np.array([[0.0, -0.0, 6e-8, 65504.0, np.inf, -np.inf]], np.float16)
    np.testing.assert_array_equal(disk.read(disk.store(halves)), halves.astype(np.float32))


def test_a_vector_is_one_row(disk: Disk) -> None:
    vector = floats(7)
    assert disk.store(vector).shape == (1, 7)
    np.testing.assert_array_equal(disk.read(disk.store(vector)), vector[None])


@pytest.mark.parametrize("cast", [np.array, np.float16, halved], ids=["F32", "F16", "BF16"])
@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((4, 3), (3, 1)), ((4, 3), (1, 4)), ((4, 3), (7, 2)), ((4, 3), (2, 9)), ((4, 3), (5, 1)), ((5,), (3,)),
        ((5,), (1,)), ((1, 6), (9, 2)), ((1, 6), (0, 2)), ((6, 1), (2, 9)), ((6, 1), (2, 0)),
    ],
    ids=str,
)  # fmt: skip
def test_views_of_a_storage_are_read_by_their_steps(
    shape: tuple[int, ...], strides: tuple[int, ...], cast: Callable[[Any], Array], disk: Disk
) -> None:
    storage = floats(40)
    plain = disk.store(cast(storage)).ref
    count = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    width = (plain.end - plain.start) // 40
    end = plain.start + (5 + count) * width
    view = Stored(TensorRef("v", plain.dtype, shape, plain.file, plain.start + 5 * width, end, strides))
    expected = as_strided(storage[5:], shape, [4 * step for step in strides]).reshape(view.shape)
    np.testing.assert_array_equal(disk.read(view), expected)
    np.testing.assert_array_equal(disk.read(view, [view.shape[0] - 1, 0]), expected[[-1, 0]])


@pytest.mark.parametrize("dtype", ["I64", "U8", "I32", "BOOL", "F64", "F8_E4M3"])
def test_types_that_hold_no_weights_are_refused_by_name(dtype: str) -> None:
    with refused("the tensor a.weight", dtype):
        Stored(TensorRef("a.weight", dtype, (2, 3), Path("x"), 0, 48))


@pytest.mark.parametrize("shape", [(1 << 30, 1 << 10), (1 << 20,), (2, 4)])
def test_views_that_repeat_their_weights_are_refused(shape: tuple[int, ...]) -> None:
    with refused("the tensor a.weight repeats its weights"):
        Stored(TensorRef("a.weight", "F16", shape, Path("x"), 0, 14, (0,) * len(shape)))


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 1, 3), (), (0,), (0, 6), (6, 0)], ids=str)
def test_what_has_no_rows_and_columns_is_refused(shape: tuple[int, ...]) -> None:
    with refused("the tensor a.weight", f"the shape {shape}"):
        Stored(TensorRef("a.weight", "F32", shape, Path("x"), 0, 24))


def test_a_file_that_became_shorter_is_named(disk: Disk) -> None:
    weights = disk.store(floats(6, 5))
    disk.data = disk.data[:-1]
    with refused("weights became shorter"):
        disk.read(weights)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [5, 0, 3], [2, 3], [4], [1, 1, 4]], ids=str)
def test_parts_below_each_other_are_one(rows: list[int], disk: Disk) -> None:
    arrays = floats(3, 4), floats(1, 4), floats(2, 4)
    weights = Stacked((disk.store(arrays[0]), disk.store(halved(arrays[1])), disk.store(np.float16(arrays[2]))))
    assert weights.shape == (6, 4)
    assert [ref.dtype for ref in weights.refs] == ["F32", "BF16", "F16"]
    np.testing.assert_array_equal(disk.read(weights, rows), np.concatenate(arrays)[rows])


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [1]], ids=str)
def test_parts_beside_each_other_are_one(rows: list[int], disk: Disk) -> None:
    arrays = floats(3, 4), floats(3, 1), floats(3, 2)
    weights = Beside(tuple(disk.store(array) for array in arrays))
    assert weights.shape == (3, 7)
    np.testing.assert_array_equal(disk.read(weights, rows), np.concatenate(arrays, axis=1)[rows])


@pytest.mark.parametrize(("rows", "heads"), [(8, 1), (8, 2), (8, 4), (64, 2), (12, 2)])
def test_queries_are_read_in_pairs(rows: int, heads: int, disk: Disk) -> None:
    whole = floats(rows, 5)
    weights = Rotated(disk.store(whole), heads)
    np.testing.assert_array_equal(disk.read(weights), in_pairs(whole, heads))
    some = random.permutation(rows)[:3]
    np.testing.assert_array_equal(disk.read(weights, some), in_pairs(whole, heads)[some])


@pytest.mark.parametrize(("length", "heads"), [(8, 1), (8, 2), (8, 4), (64, 2)])
def test_biases_of_queries_are_read_in_pairs(length: int, heads: int, disk: Disk) -> None:
    whole = floats(length)
    np.testing.assert_array_equal(disk.read(Rotated(disk.store(whole), heads)), in_pairs(whole, heads)[None])


def test_a_rotary_order_takes_every_row_once() -> None:
    assert list(rotary_order(8, 2)) == [0, 2, 1, 3, 4, 6, 5, 7]
    assert sorted(rotary_order(96, 3)) == list(range(96))


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, -1.25])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 1], [2]], ids=str)
def test_a_low_rank_change_is_added(rows: list[int], scale: float, disk: Disk) -> None:
    whole, down, up = floats(4, 6), floats(2, 6), floats(4, 2)
    weights = Merged(disk.store(halved(whole)), disk.store(down), disk.store(np.float16(up)), scale)
    assert (weights.shape, len(weights.refs)) == ((4, 6), 3)
    np.testing.assert_allclose(disk.read(weights, rows), (whole + scale * (up @ down))[rows], rtol=1e-6, atol=1e-6)


def test_a_merged_tensor_is_reordered_as_a_whole(disk: Disk) -> None:
    whole, down, up = floats(8, 6), floats(2, 6), floats(8, 2)
    weights = Rotated(Merged(disk.store(whole), disk.store(down), disk.store(up), 0.5), 2)
    np.testing.assert_allclose(disk.read(weights, [6, 1]), in_pairs(whole + 0.5 * (up @ down), 2)[[6, 1]], rtol=1e-6)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 4], [4, 0], [2]], ids=str)
def test_rows_that_are_missing_are_zeros(rows: list[int], disk: Disk) -> None:
    whole = floats(3, 4)
    weights = Padded(disk.store(whole), 5)
    assert weights.shape == (5, 4)
    np.testing.assert_array_equal(disk.read(weights, rows), np.concatenate([whole, np.zeros((2, 4))])[rows])


def test_what_follows_from_the_config_needs_no_file() -> None:
    values = floats(4)
    weights = Computed(values)
    assert (weights.shape, weights.refs) == ((1, 4), ())
    np.testing.assert_array_equal(weights.read(MappedInputs([]), np.arange(1)), values[None])


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16, Type.Q8_0])
def test_rows_of_a_model_file_are_unpacked(kind: Type, disk: Disk) -> None:
    whole = floats(4, 64)
    start = len(disk.data)
    disk.data += quantize(kind, whole).tobytes()
    block, block_bytes = GGML_QUANT_SIZES[kind]
    assert len(disk.data) - start == 4 * 64 // block * block_bytes
    ref = TensorRef("a", f"ggml {kind.name}", (4, 64), disk.path, start, len(disk.data))
    tolerance = 0.02 if kind == Type.Q8_0 else 0
    np.testing.assert_allclose(disk.read(Packed(ref, kind), [3, 0]), whole[[3, 0]], atol=tolerance)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_ways_within_ways_give_any_rows_of_the_whole(disk: Disk, data: st.DataObject) -> None:
    def built(depth: int) -> tuple[Weights, Array]:
        way = data.draw(st.sampled_from(["stored", "stacked", "beside", "rotated", "padded"][: 1 if depth == 0 else 5]))
        if way == "stored":
            whole = floats(4, 3)
            return disk.store(whole), whole
        part, whole = built(depth - 1)
        if way == "stacked":
            return Stacked((part, part)), np.concatenate([whole, whole])
        if way == "beside":
            return Beside((part, part)), np.concatenate([whole, whole], axis=1)
        if way == "rotated":
            return Rotated(part, 2), in_pairs(whole, 2)
        grown = len(whole) + 4
        return Padded(part, grown), np.concatenate([whole, np.zeros((4, whole.shape[1]))])

    weights, whole = built(3)
    assert weights.shape == whole.shape
    rows = data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6))
    np.testing.assert_array_equal(disk.read(weights, rows), whole[rows])
