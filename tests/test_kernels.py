"""Our own quantizers: the bits of ggml's for every type, number of lanes and kind of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_weights import Floats, families, importances
from numpy.typing import NDArray

from localchat.doctor.kernels import check_kernels
from localchat.errors import LocalchatError
from localchat.kernels import library
from localchat.kernels.build import FOLDER, LIBRARY, NotBuilt, build, compiler
from localchat.kernels.library import Kernels, find, kernels
from localchat.kernels.quantize import KINDS, Job, quantize, quantize_in_lanes, quantize_stored
from localchat.llama import quantize as ggml
from localchat.llama.libraries import library_folder

ROWS, COLUMNS = 19, 512  # blocks and rows that fill no whole number of vectors
ALL = sorted(KINDS)


def made(job: Job, lanes: int) -> NDArray[np.uint8] | str:
    """What we make of it, or the reason why it cannot be made."""
    try:
        found = quantize_in_lanes(job, lanes)
        return ggml.quantize(job.kind, job.stored, job.importance) if found is None else found
    except LocalchatError as error:
        return str(error)


def expected(job: Job) -> NDArray[np.uint8] | str:
    """The same by ggml."""
    try:
        return ggml.quantize(job.kind, job.stored, job.importance)
    except LocalchatError as error:
        return str(error)


def assert_same(kind: Type, rows: Floats, importance: Floats | None, name: str) -> bool:
    """In every number of lanes that this processor has. Tells whether our kernels were what made it."""
    job = Job(kind, rows, "F32", importance=importance)
    want = expected(job)
    for lanes in kernels().lanes:
        found = made(job, lanes)
        assert type(found) is type(want), f"{name} in {lanes} lanes: {found} is not {want}"
        if isinstance(want, str):
            assert found == want
        else:
            np.testing.assert_array_equal(found, want, f"{name} in {lanes} lanes")
    return not isinstance(want, str)


def test_where_there_is_a_compiler_the_kernels_are_built() -> None:
    assert kernels().lanes or compiler() is None, kernels().reason


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_kind_of_weights_gives_the_bits_of_ggml(kind: Type) -> None:
    counted = [assert_same(kind, rows, None, name) for name, rows in families(1, ROWS, COLUMNS)]
    assert sum(counted) >= len(counted) - 6  # what is too large is refused, the rest is made


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_so_does_every_kind_of_weights_with_an_importance_matrix(kind: Type) -> None:
    guides = list(importances(2, COLUMNS))
    for number, (name, rows) in enumerate(families(3, ROWS, COLUMNS)):
        for choice in {0, 1 + number % (len(guides) - 1)}:
            assert_same(kind, rows, guides[choice], f"{name} with importance {choice}")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_so_does_any_number_of_blocks(kind: Type) -> None:
    block = GGML_QUANT_SIZES[kind][0]
    for columns in (block, 3 * block):
        guide = next(importances(4, columns))
        for rows in range(1, 19):
            weights = next(families(rows, rows, columns))[1]
            assert assert_same(kind, weights, guide if rows % 2 else None, f"{rows} rows")


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(ALL),
    hnp.arrays(np.float32, (2, 256), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.none() | hnp.arrays(np.float32, 256, elements=st.floats(0, 2.0**49, width=32)),
)
def test_so_do_any_numbers(kind: Type, rows: Floats, importance: Floats | None) -> None:
    assert_same(kind, rows, importance, "any numbers")


# In the range of weights that quantized types can hold: the larger ones above are mostly refused.
@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(ALL),
    hnp.arrays(np.float32, (2, 256), elements=st.floats(-1000, 1000, width=16)),
    st.none() | hnp.arrays(np.float32, 256, elements=st.floats(0, 100, width=16)),
)
def test_so_do_any_small_numbers(kind: Type, rows: Floats, importance: Floats | None) -> None:
    assert assert_same(kind, rows, importance, "small numbers")


@pytest.mark.parametrize("kind", [Type.Q4_K, Type.Q4_0, Type.Q3_K])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_rows_as_they_are_stored_and_in_another_order_give_the_same(kind: Type, dtype: str) -> None:
    floats = next(families(5, 24, COLUMNS))[1]
    floats[3, :64] = np.arange(-32, 32) * np.float32(2**-25)  # denormal in float16
    if dtype == "BF16":
        stored: NDArray[np.generic] = (floats.view(np.uint32) >> 16).astype(np.uint16)
    else:
        stored = floats.astype(np.float16 if dtype == "F16" else np.float32)
    order = np.array([7, 3, 3, 0, 23, 12])
    guide = next(importances(6, COLUMNS))
    wide = np.empty(stored.shape, np.float32)
    ggml.to_floats(stored, dtype, wide)
    for importance in (None, guide):
        want = ggml.quantize(kind, wide[order], importance)
        np.testing.assert_array_equal(quantize_stored(kind, stored, dtype, order, importance), want)
        np.testing.assert_array_equal(quantize_stored(kind, stored[order], dtype, None, importance), want)
    apart = np.concatenate([stored, stored], axis=1)[:, :COLUMNS]  # a view with a gap after each row
    np.testing.assert_array_equal(quantize_stored(kind, apart, dtype), ggml.quantize(kind, wide))


def test_rows_that_are_not_there_are_not_read() -> None:
    weights = np.zeros((4, 256), np.float32)
    for order in ([4], [-1], [0, 1 << 40]):
        with pytest.raises(IndexError):
            quantize_stored(Type.Q8_0, weights, "F32", np.array(order))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_wherever_it_lies(dtype: str, value: float) -> None:
    for place in (0, 255, 256 * 9 + 17, 256 * 21 - 1):
        floats = np.ones((7, 768), np.float32)
        floats.reshape(-1)[place] = value
        stored: NDArray[np.generic] = (floats.view(np.uint32) >> 16).astype(np.uint16)
        if dtype != "BF16":
            stored = floats.astype(np.float16 if dtype == "F16" else np.float32)
        with pytest.raises(LocalchatError, match="not a finite number"):
            quantize_stored(Type.Q4_K, stored, dtype)


def test_what_ggml_refuses_is_refused_in_its_words() -> None:
    weights = np.full((2, 256), 1e9, np.float32)
    weights[:, ::2] = 0
    with pytest.raises(LocalchatError, match="too large for Q8_0"):
        quantize(Type.Q8_0, weights)
    with pytest.raises(LocalchatError, match="has 3 values where a row has 256"):
        quantize(Type.Q4_K, weights, np.ones(3, np.float32))
    with pytest.raises(LocalchatError, match="impossible values"):
        quantize(Type.Q4_K, weights, np.full(256, np.nan, np.float32))


@pytest.mark.parametrize("kind", [Type.F16, Type.BF16, Type.F32, Type.Q1_0])
def test_types_without_a_kernel_are_made_by_ggml(kind: Type) -> None:
    weights = next(families(7, 3, 256))[1]
    np.testing.assert_array_equal(quantize(kind, weights), ggml.quantize(kind, weights))


def test_without_the_library_ggml_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = next(families(8, 5, 256))[1]
    want = quantize(Type.Q4_K, weights)
    monkeypatch.setattr("localchat.kernels.quantize.kernels", lambda: Kernels(()))
    np.testing.assert_array_equal(quantize(Type.Q4_K, weights), want)


# The library


def test_what_is_no_library_of_ours_is_not_used(tmp_path: Path) -> None:
    damaged = tmp_path / "libquantize.so"
    damaged.write_bytes(b"\x7fELF, and nothing more")
    another = next(path for path in library_folder().iterdir() if "ggml-base" in path.name)
    for path in (damaged, another):
        found = find(path)
        assert found.lanes == ()
        assert "cannot be loaded" in found.reason
        assert found.can_be_built


def test_a_library_of_other_code_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "fingerprint", lambda: "another")
    found = find(FOLDER / LIBRARY)
    assert found.lanes == ()
    assert not kernels().lanes or (found.reason, found.can_be_built) == (
        "libquantize.so was built from other code than this",
        True,
    )


@pytest.mark.parametrize(
    ("architecture", "cc", "reason", "can_be_built"),
    [
        ("x86_64", "/usr/bin/cc", "ours are not built", True),
        ("aarch64", None, "ours are not built, for there is no C compiler called cc", True),
        ("riscv64", "/usr/bin/cc", "there are none of ours for riscv64", False),
    ],
)
def test_it_is_said_why_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, cc: str | None, reason: str, can_be_built: bool
) -> None:
    monkeypatch.setattr(library, "machine", lambda: architecture)
    monkeypatch.setattr(library, "compiler", lambda: cc)
    assert find(tmp_path / "libquantize.so") == Kernels((), reason, can_be_built)


def test_the_doctor_says_what_quantizes_and_how_to_make_it_faster() -> None:
    (ours,) = check_kernels(lambda: Kernels((16, 8)))
    assert (ours.state, ours.sentence, ours.fix) == ("ok", "ours are built and take 16 blocks at a time here", "")
    (theirs,) = check_kernels(lambda: Kernels((), "ours are not built", can_be_built=True))
    assert theirs.state == "note"
    assert theirs.sentence.endswith("ours are not built")
    assert theirs.fix.endswith("-m localchat.kernels.build")
    (never,) = check_kernels(lambda: Kernels((), "this processor has neither AVX2 nor NEON"))
    assert (never.state, never.fix) == ("note", "")


def test_a_build_that_cannot_be_says_why(tmp_path: Path) -> None:
    refuses = tmp_path / "cc"
    refuses.write_text("#!/bin/sh\necho 'lanes.h:1:1: error: this is not C' >&2\nexit 1\n")
    refuses.chmod(0o755)
    for cc, architecture, reason in (
        (str(refuses), "x86_64", "the C compiler refused: lanes.h:1:1: error: this is not C"),
        (str(tmp_path / "none"), "x86_64", "the C compiler does not work"),
        (str(refuses), "riscv64", "there are no kernels for riscv64"),
    ):
        with pytest.raises(NotBuilt, match=reason):
            build(tmp_path, cc, architecture)
    assert [path.name for path in tmp_path.iterdir()] == ["cc"]
