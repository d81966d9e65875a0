"""Blocks of rows through ggml's own code: bit for bit what the gguf package's quantizers say."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tiny import refused

from localchat.convert.recipe import BASE
from localchat.llama import libraries
from localchat.llama.libraries import library_folder, load_library
from localchat.llama.quantize import dequantize, prepare, quantize, row_bytes, to_floats

Floats = NDArray[np.float32]
# The types for which the gguf package has a quantizer of its own.
BOTH = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1]
MADE_HERE = sorted(set(BASE.values()))
# ggml fills the tables of these for seconds in each process; test_imatrix.py has their bits, and reads them back.
SLOW = (Type.IQ1_S, Type.IQ1_M, Type.IQ2_S, Type.IQ2_XS)
QUICK = [kind for kind in MADE_HERE if kind not in SLOW]
NEEDY = (Type.IQ2_XXS, Type.IQ2_XS, Type.IQ1_S)  # ggml has no way to make these without an importance
READ_BY_BOTH = [kind for kind in QUICK if kind != Type.Q1_0]  # the gguf package does not read Q1_0


def normal(rows: int, columns: int) -> Floats:
    """Weights as models have them."""
    return np.random.default_rng(3).standard_normal((rows, columns), dtype=np.float32) / np.float32(30)


def rows_that_trip() -> Floats:
    """Rows over which quantizers stumble: nothing but zeros, one value, one spike, half zeros, tiny, both extremes."""
    rows = np.zeros((8, 256), np.float32)
    rows[1] = 0.25
    rows[2, 17] = 100.0
    rows[3, :128] = normal(1, 128)
    rows[4] = 1e-30
    rows[5] = np.tile([1.0, -1.0], 128)
    rows[6] = np.linspace(-3, 3, 256)
    rows[7] = -normal(1, 256)
    return rows


def guide(kind: Type, columns: int) -> Floats | None:
    """An importance that says nothing, for those types that cannot be made without."""
    return np.ones(columns, np.float32) if kind in NEEDY else None


def oracle(kind: Type, rows: Floats) -> NDArray[np.uint8]:
    """The same by the gguf package."""
    return np.ascontiguousarray(gguf.quants.quantize(rows, kind)).view(np.uint8).reshape(len(rows), -1)


@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.name)
def test_blocks_are_those_of_the_gguf_package(kind: Type) -> None:
    for rows in (normal(5, 256), normal(1, 32), normal(3, 96), rows_that_trip(), normal(4, 64) * 1000):
        np.testing.assert_array_equal(quantize(kind, rows), oracle(kind, rows))


# Of 16 bits, because the gguf package divides by smaller ones in ways that numpy warns of.
NUMBERS = st.floats(-500, 500, width=16, allow_subnormal=False)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(BOTH), hnp.arrays(np.float32, (2, 32), elements=NUMBERS))
def test_blocks_of_any_numbers_are_those_of_the_gguf_package(kind: Type, rows: Floats) -> None:
    rows = rows + np.float32(0)  # the scale of a block of minus zeros may be minus zero or zero
    np.testing.assert_array_equal(quantize(kind, rows), oracle(kind, rows))


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_a_row_has_the_bytes_that_were_foretold_and_does_not_depend_on_others(kind: Type) -> None:
    rows = normal(4, 512)
    together = quantize(kind, rows, guide(kind, 512))
    assert together.shape == (4, row_bytes(kind, 512))
    assert row_bytes(kind, 512) == 512 // GGML_QUANT_SIZES[kind][0] * GGML_QUANT_SIZES[kind][1]
    apart = [quantize(kind, rows[index : index + 1], guide(kind, 512)) for index in range(4)]
    np.testing.assert_array_equal(together, np.concatenate(apart))


# Root of the mean square error that a type may have on normal weights, as a part of their deviation.
ERRORS = {
    Type.F32: 0.0, Type.F16: 0.0005, Type.BF16: 0.005, Type.Q8_0: 0.01, Type.Q6_K: 0.03, Type.Q5_K: 0.05,
    Type.Q5_1: 0.05, Type.Q5_0: 0.06, Type.Q4_K: 0.10, Type.Q4_1: 0.10, Type.IQ4_NL: 0.10, Type.IQ4_XS: 0.10,
    Type.Q4_0: 0.12, Type.MXFP4: 0.15, Type.Q3_K: 0.20, Type.IQ3_S: 0.20, Type.IQ3_XXS: 0.25,
    Type.Q2_K: 0.40, Type.IQ2_XXS: 0.45, Type.Q1_0: 0.65,
    Type.TQ1_0: 0.95, Type.TQ2_0: 0.95,
}  # fmt: skip


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_what_was_quantized_is_still_there(kind: Type) -> None:
    prepare([kind])
    rows = normal(16, 1024)
    back = dequantize(kind, quantize(kind, rows, guide(kind, 1024)), 1024)
    error = float(np.sqrt(np.mean((back - rows) ** 2)) / np.std(rows))
    assert ERRORS[kind] / 5 <= error <= ERRORS[kind]


@pytest.mark.parametrize("kind", READ_BY_BOTH, ids=lambda kind: kind.name)
def test_every_type_is_read_back_as_the_gguf_package_reads_it(kind: Type) -> None:
    is_read_as_the_gguf_package_reads_it(kind)


def is_read_as_the_gguf_package_reads_it(kind: Type) -> None:
    prepare([kind])
    data = quantize(kind, np.concatenate([normal(3, 512), rows_that_trip().reshape(4, 512)]), guide(kind, 512))
    wanted = gguf.quants.dequantize(data, kind).reshape(7, 512)
    found = dequantize(kind, data, 512)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=0)
    assert found.dtype == np.float32


def test_rows_of_q8_0_are_read_back_exactly_from_any_place_in_memory() -> None:
    block = np.float16(0.5).tobytes() + np.arange(-16, 16, dtype=np.int8).tobytes()
    data = np.frombuffer(b"\0" + block * 4, np.uint8)[1:].reshape(2, 68)
    wanted = np.tile(np.arange(-16, 16) / 2, (2, 2)).astype(np.float32)
    np.testing.assert_array_equal(dequantize(Type.Q8_0, data, 64), wanted)
    np.testing.assert_array_equal(dequantize(Type.Q8_0, data[::-1][:1], 64), wanted[:1])
    floats = wanted.view(np.uint8)
    np.testing.assert_array_equal(
        dequantize(Type.F32, np.frombuffer(floats.tobytes(), np.uint8).reshape(2, -1), 64), wanted
    )


@pytest.mark.parametrize("kind", MADE_HERE, ids=lambda kind: kind.name)
def test_damaged_data_of_any_type_is_read_without_a_failure(kind: Type) -> None:
    for data in (np.full((2, row_bytes(kind, 256)), 255, np.uint8), np.arange(2 * row_bytes(kind, 256)) % 251):
        found = dequantize(kind, data.astype(np.uint8).reshape(2, -1), 256)
        assert found.shape == (2, 256)


@pytest.mark.parametrize(
    ("kind", "shape", "columns"),
    [(Type.Q8_0, (2, 34), 64), (Type.Q8_0, (2, 36), 33), (Type.Q8_0, (34,), 32), (Type.F32, (1, 5), 1)],
)
def test_rows_of_another_size_are_not_read(kind: Type, shape: tuple[int, ...], columns: int) -> None:
    with refused("do not have this size", kind.name):
        dequantize(kind, np.zeros(shape, np.uint8), columns)


def test_a_type_that_ggml_has_no_way_back_from_is_refused() -> None:
    with refused("Q8_1 cannot be read back"):
        dequantize(Type.Q8_1, np.zeros((1, 40), np.uint8), 32)


@pytest.mark.parametrize("kind", NEEDY, ids=lambda kind: kind.name)
def test_a_type_that_ggml_would_end_the_process_over_is_refused_without_an_importance(kind: Type) -> None:
    with refused(f"{kind.name} cannot be made without an importance matrix"):
        quantize(kind, normal(1, 256))


@pytest.mark.parametrize("importance", [np.ones(255), np.ones((1, 256)), np.ones(0)])
def test_an_importance_of_another_size_is_refused(importance: NDArray[Any]) -> None:
    with refused("values where a row has 256"):
        quantize(Type.Q4_K, normal(1, 256), importance.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-30, 1e16])
def test_an_importance_that_is_no_weight_is_refused(value: float) -> None:
    importance = np.ones(256, np.float32)
    importance[200] = value
    with refused("impossible values"):
        quantize(Type.Q4_K, normal(1, 256), importance)


def test_errors_go_where_they_matter_least() -> None:
    rows, importance = normal(16, 256), np.ones(256, np.float32)
    importance[::2] = 1000
    for kind in (Type.Q4_0, Type.Q4_K, Type.IQ2_S, Type.IQ4_XS):
        prepare([kind])
        errors = [
            float(np.mean((dequantize(kind, quantize(kind, rows, guided), 256) - rows)[:, ::2] ** 2))
            for guided in (None, importance)
        ]
        assert errors[1] < errors[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", MADE_HERE, ids=lambda kind: kind.name)
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(kind: Type, value: float) -> None:
    for place in (0, 5, 31, 100, 255):
        rows = normal(2, 256)
        rows[1, place] = value
        with refused("not a finite number"):
            quantize(kind, rows, guide(kind, 256))


def test_a_refusal_says_nothing_behind_the_back_of_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    rows = normal(1, 256)
    rows[0, 3] = np.inf
    with refused("not a finite number"):
        quantize(Type.Q8_0, rows)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_number_is_widened_exactly(dtype: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    raw: NDArray[Any] = bits.view(np.float16) if dtype == "F16" else bits
    wanted = raw.astype(np.float32) if dtype == "F16" else (bits.astype(np.uint32) << 16).view(np.float32)
    out = np.empty((256, 256), np.float32)
    to_floats(raw, dtype, out)
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(out, wanted)  # a NaN equals a NaN here
    np.testing.assert_array_equal(out[finite].view(np.uint32), wanted[finite].view(np.uint32))  # minus zero too


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_rows_that_are_not_aligned_or_not_in_order_are_widened_too(dtype: str) -> None:
    numpy_type = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[dtype]
    source = (np.arange(64, dtype=np.float32) / 4).reshape(8, 8)
    stored = (source.view(np.uint32) >> 16).astype(np.uint16) if dtype == "BF16" else source.astype(numpy_type)
    raw = np.frombuffer(b"\0" + stored.tobytes(), np.uint8)[1:].view(numpy_type).reshape(8, 8)
    for rows, wanted in ((raw, source), (raw[::2], source[::2]), (raw[[5, 1]], source[[5, 1]])):
        out = np.empty(rows.shape, np.float32)
        to_floats(rows, dtype, out)
        np.testing.assert_array_equal(out, wanted)


def test_llama_cpp_itself_stays_out_of_the_process_that_converts() -> None:
    """Only ggml's plain library is loaded; devices and threads of llama.cpp belong to child processes."""
    script = """
import sys
import localchat.convert.write
from gguf.constants import GGMLQuantizationType
from localchat.llama.quantize import prepare
prepare([GGMLQuantizationType.Q4_K])
maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
print("llama_cpp" in sys.modules, "libggml-base" in maps or not maps, "libllama" in maps)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False True False\n"


def test_a_library_that_is_missing_is_named_with_what_to_do() -> None:
    with refused("no-such-thing"):
        load_library("no-such-thing")


def test_without_llama_cpp_python_one_is_told_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with refused("llama-cpp-python is not installed"):
        library_folder()


@pytest.mark.parametrize(("platform", "name"), [("linux", "libx.so"), ("darwin", "libx.dylib"), ("win32", "x.dll")])
def test_every_platform_has_its_own_name_for_a_library(
    platform: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    (tmp_path / name).touch()
    monkeypatch.setattr(libraries, "library_folder", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    load_library("x")
    assert loaded == [str(tmp_path / name)]
