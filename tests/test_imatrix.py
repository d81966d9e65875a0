"""Importance matrices: what is read from them, what is refused, and the same bits as llama-quantize makes with them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf_bytes
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Type
from gguf_bytes import ARRAY, STRING, UINT32, array, entry, number, pair, text
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from test_proof_rows import KINDS, is_near_its_source_alone
from test_quantize import SLOW, is_read_as_the_gguf_package_reads_it
from tiny import refused, sound_or_refused

from localchat.convert.imatrix import importance, read_imatrix
from localchat.convert.proof.rows import ALLOWED
from localchat.convert.recipe import BASE
from localchat.errors import LocalchatError
from localchat.llama.quantize import GRID_TYPES, prepare, quantize

Floats = NDArray[np.float32]
GOLDEN: dict[str, str] = json.loads((Path(__file__).parent / "data" / "imatrix.golden.json").read_text())
NAME = "blk.0.ffn_up.weight"
EXPERTS = "blk.0.ffn_up_exps.weight"
PAIRS = {
    "general.type": (STRING, text("imatrix")),
    "imatrix.datasets": (ARRAY, array(STRING, 2, text("some.txt") + text("more.txt"))),
    "imatrix.chunk_count": (UINT32, number(7)),
    "imatrix.chunk_size": (UINT32, number(512)),
}
SUMS, COUNTS = np.arange(32, dtype=np.float32), np.array([4], np.float32)


def imatrix_bytes(tensors: Mapping[str, NDArray[Any]], **pairs: Any) -> bytes:
    """An importance matrix file; a pair of None is left out, and a tensor that is no float32 claims to be F16."""
    entries, data = [], b""
    for name, values in tensors.items():
        kind = Type.F32 if values.dtype == np.float32 else Type.F16
        entries.append(entry(name, values.shape[::-1], kind, len(data)))
        data += values.tobytes().ljust(-(-values.nbytes // 32) * 32, b"\0")
    found = {**PAIRS, **{f"imatrix.{key}": value for key, value in pairs.items()}}
    return gguf_bytes.gguf([pair(key, *value) for key, value in found.items() if value is not None], entries, data)


def both(name: str, sums: NDArray[Any] = SUMS, counts: NDArray[Any] = COUNTS) -> dict[str, NDArray[Any]]:
    """The two tensors that tell of one of the model's."""
    return {f"{name}.in_sum2": sums, f"{name}.counts": counts}


def written(folder: Path, data: bytes) -> Path:
    """The bytes as a file."""
    path = folder / "im.gguf"
    path.write_bytes(data)
    return path


def weights() -> Floats:
    """Eight rows of 512 weights as models have them."""
    return np.random.default_rng(3).standard_normal((8, 512), dtype=np.float32) / np.float32(30)


def sums_of_squares() -> Floats:
    """Sums that differ by orders of magnitude, one block of them zero."""
    sums = np.random.default_rng(4).lognormal(0, 3, 512).astype(np.float32)
    sums[64:96] = 0
    return sums


@pytest.mark.parametrize("file", GOLDEN)
def test_blocks_are_those_of_llama_quantize_with_the_same_importance_matrix(file: str, tmp_path: Path) -> None:
    """The golden was made so: a GGUF of one layer with `weights()` as ffn_up, the file written here as --imatrix (with
    the same entry for every other tensor), `llama-quantize --pure --imatrix FILE MODEL OUT TYPE`, sha256 of ffn_up."""
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both(NAME, sums_of_squares(), np.array([300], np.float32)))))
    kind, rows = BASE[file], weights()
    found = importance(matrix, file, NAME, kind, rows.shape)
    prepare([kind])
    assert (
        hashlib.sha256(quantize(kind, rows, None if found is None else found[0]).tobytes()).hexdigest() == GOLDEN[file]
    )


@pytest.mark.parametrize("kind", SLOW, ids=lambda kind: kind.name)
def test_types_whose_tables_are_filled_for_seconds_are_read_back_as_the_gguf_package_reads_them(kind: Type) -> None:
    is_read_as_the_gguf_package_reads_it(kind)


# At these sizes ggml's sums of squares overflow and its search for the nearest grid point ends the process.
@pytest.mark.parametrize("kind", sorted(GRID_TYPES), ids=lambda kind: kind.name)
@pytest.mark.parametrize("largest", [1.1e8, 1e15, 1e19, 3e38])
def test_a_weight_too_large_for_a_grid_is_refused_and_not_the_end_of_the_process(kind: Type, largest: float) -> None:
    prepare([kind])
    for sign in (1, -1):
        rows = weights()[:2, :256].copy()
        rows[1, 17] = sign * largest
        with refused("too large", kind.name):
            quantize(kind, rows, np.ones(256, np.float32))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(GRID_TYPES)),
    hnp.arrays(np.float32, (1, 256), elements=st.floats(-1e8, 1e8, width=32)),
    hnp.arrays(np.float32, 256, elements=st.floats(0, 999999986991104, width=32)),
)
def test_any_weights_of_any_importance_within_the_limits_are_made_or_refused(
    kind: Type, rows: Floats, importance: Floats
) -> None:
    prepare([kind])
    with sound_or_refused():
        quantize(kind, rows, importance)


@pytest.mark.parametrize("rows", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("kind", sorted({kind.name for kind in SLOW} & ALLOWED.keys()))
def test_rows_of_these_lose_less_than_is_allowed_and_other_rows_are_much_farther_away(
    kind: str, rows: Callable[[], Floats]
) -> None:
    is_near_its_source_alone(kind, rows)


def test_the_golden_has_every_type_of_tensor() -> None:
    assert {BASE[file] for file in GOLDEN} == set(BASE.values())
    assert len(set(GOLDEN.values())) == len(GOLDEN)


def test_the_mean_of_squares_is_what_counts(tmp_path: Path) -> None:
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both(NAME))))
    np.testing.assert_array_equal(matrix.values[NAME], SUMS / 4)


def test_half_a_token_counts_as_one_and_less_as_none(tmp_path: Path) -> None:
    counts = np.array([[0.5], [2.5], [0.4], [0.0]], np.float32)
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both(EXPERTS, np.full((4, 32), 6, np.float32), counts))))
    assert matrix.values[EXPERTS].reshape(4, 32)[:, 0].tolist() == [6, 2, 1, 1]


def test_each_expert_has_its_own_row_and_one_that_was_never_chosen_has_ones(tmp_path: Path) -> None:
    sums = np.arange(96, dtype=np.float32).reshape(3, 32)
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both(EXPERTS, sums, np.array([[2], [0], [4]], np.float32)))))
    found = importance(matrix, "IQ2_XXS", EXPERTS, Type.IQ2_XXS, (3, 8, 32))
    assert found is not None
    np.testing.assert_array_equal(found, np.stack([sums[0] / 2, np.ones(32), sums[2] / 4]))


def test_metadata_is_what_llama_quantize_writes_cut_where_it_cuts(tmp_path: Path) -> None:
    path = written(tmp_path, imatrix_bytes({**both(NAME), **both(EXPERTS)}))
    found = read_imatrix(path.rename(tmp_path / ("é" * 100))).metadata
    assert found["quantize.imatrix.file"] == "é" * 63  # the name alone: where it lay is nobody's business
    assert {key: value for key, value in found.items() if key != "quantize.imatrix.file"} == {
        "quantize.imatrix.dataset": "some.txt",
        "quantize.imatrix.entries_count": 2,
        "quantize.imatrix.chunks_count": 7,
    }


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    data = imatrix_bytes(both(NAME), datasets=(ARRAY, array(STRING, 0, b"")), chunk_count=(UINT32, number(0)))
    assert set(read_imatrix(written(tmp_path, data)).metadata) == {
        "quantize.imatrix.file", "quantize.imatrix.entries_count",
    }  # fmt: skip


def test_a_type_that_needs_one_is_refused_without_and_says_which_option_gives_it() -> None:
    with pytest.raises(LocalchatError, match="IQ2_XXS cannot be made without an importance matrix") as caught:
        importance(None, "IQ2_XXS", NAME, Type.IQ2_XXS, (4, 256))
    assert "--imatrix FILE" in caught.value.hint


def test_a_type_that_needs_one_is_refused_where_the_matrix_lacks_the_tensor(tmp_path: Path) -> None:
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both(NAME))))
    with refused("IQ2_XXS cannot be made because the importance matrix lacks blk.1.ffn_up.weight"):
        importance(matrix, "IQ2_XXS", "blk.1.ffn_up.weight", Type.IQ2_XXS, (4, 256))


def test_tensors_of_other_types_and_the_embedding_do_without(tmp_path: Path) -> None:
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both("token_embd.weight"))))
    assert importance(matrix, "IQ2_XXS", "blk.0.attn_v.weight", Type.Q4_K, (4, 256)) is None
    assert importance(matrix, "IQ2_XXS", "token_embd.weight", Type.Q2_K, (4, 256)) is None
    assert importance(None, "Q4_K_M", NAME, Type.Q4_K, (4, 256)) is None


def test_a_matrix_of_another_model_is_refused_but_not_for_what_stays_f32(tmp_path: Path) -> None:
    matrix = read_imatrix(written(tmp_path, imatrix_bytes(both(NAME))))
    with refused("32 values", NAME, "512 columns"):
        importance(matrix, "Q4_K_M", NAME, Type.Q4_K, (8, 512))
    assert importance(matrix, "Q4_K_M", NAME, Type.F32, (8, 512)) is None


def test_the_older_format_is_named_and_the_way_out_of_it(tmp_path: Path) -> None:
    path = written(tmp_path, struct.pack("<ii", 1, len(NAME)) + NAME.encode() + struct.pack("<iif", 3, 1, 0.5))
    with pytest.raises(LocalchatError, match="older one") as caught:
        read_imatrix(path)
    assert "llama-imatrix --in-file im.gguf" in caught.value.hint


def spoiled(values: Floats, value: float) -> Floats:
    """The values with one of them changed."""
    changed = values.copy()
    changed[-1] = value
    return changed


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (imatrix_bytes({}), ["both sums and counts", "any tensor"]),
        (imatrix_bytes({f"{NAME}.in_sum2": SUMS}), ["both sums and counts", NAME]),
        (imatrix_bytes({f"{NAME}.counts": COUNTS}), ["both sums and counts", NAME]),
        (imatrix_bytes(both(NAME, SUMS.astype(np.float16))), ["F16", "should be F32"]),
        (imatrix_bytes(both(NAME, SUMS, COUNTS.astype(np.float16))), ["should be F32"]),
        (imatrix_bytes(both(NAME, SUMS, np.ones(3, np.float32))), ["do not belong together"]),
        (imatrix_bytes(both(NAME, np.ones(4096, np.float32), np.ones(2048, np.float32))), ["do not belong together"]),
        (imatrix_bytes(both(NAME, spoiled(SUMS, np.nan))), ["impossible number", NAME]),
        (imatrix_bytes(both(NAME, spoiled(SUMS, np.inf))), ["impossible number", NAME]),
        (imatrix_bytes(both(NAME, spoiled(SUMS, -1))), ["impossible number", NAME]),
        (imatrix_bytes(both(NAME, spoiled(SUMS, 1e30))), ["impossible number", NAME]),
        (imatrix_bytes(both(NAME, SUMS, spoiled(COUNTS, np.nan))), ["impossible number", NAME]),
        (imatrix_bytes(both(NAME, SUMS, spoiled(COUNTS, -2))), ["impossible number", NAME]),
        (imatrix_bytes(both(NAME), datasets=None), ["no importance matrix"]),
        (imatrix_bytes(both(NAME), chunk_count=None), ["no importance matrix"]),
        (imatrix_bytes(both(NAME), chunk_size=(STRING, text("512"))), ["no importance matrix"]),
        (imatrix_bytes(both(NAME), datasets=(STRING, text("a"))), ["no importance matrix"]),
        (gguf_bytes.gguf(), ["no importance matrix"]),
        (imatrix_bytes(both(NAME))[:-40], ["reach beyond its end"]),
        (b"", ["no importance matrix"]),
    ],
)
def test_a_matrix_that_is_damaged_or_none_is_refused(data: bytes, words: Sequence[str], tmp_path: Path) -> None:
    with refused(*words):
        read_imatrix(written(tmp_path, data))


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with refused("cannot be opened"):
            read_imatrix(path)


def test_a_file_that_is_far_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, imatrix_bytes(both(NAME)))
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    with refused("too large"):
        read_imatrix(path)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_damage_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(imatrix_bytes(both(NAME)))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    path = written(tmp_path_factory.mktemp("damage"), bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    with sound_or_refused():
        for values in read_imatrix(path).values.values():
            quantize(Type.Q4_0, np.ones((1, 32), np.float32), values[:32])
