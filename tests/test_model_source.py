"""A model file as the source of another: what is kept, what is made anew, and which files are refused."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import gguf_bytes as g
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.model_source import facts_of, requantized
from localchat.convert.write import Finished, write
from localchat.gguf_file import read_header


def made(plan: Any, path: Path) -> Path:
    """The layout written to the path."""
    *_, last = write(plan, path, 2)
    assert isinstance(last, Finished)
    return path


@pytest.fixture(scope="module")
def sources(chatml: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small checkpoint as model files of several types."""
    folder = tmp_path_factory.mktemp("sources")
    checkpoint = read_checkpoint(chatml, "chatml")
    return {file: made(layout(checkpoint, file), folder / f"{file}.gguf") for file in ("F32", "BF16", "Q8_0", "Q4_0")}


def tensors(path: Path) -> dict[str, tuple[str, str]]:
    """The type and the hash of each tensor, as the gguf package reads them."""
    found = gguf.GGUFReader(path).tensors
    return {
        tensor.name: (tensor.tensor_type.name, hashlib.sha256(tensor.data.tobytes()).hexdigest()) for tensor in found
    }


def metadata(path: Path) -> dict[str, Any]:
    """Every key of a model file and its value."""
    fields = gguf.GGUFReader(path).fields
    return {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}


@pytest.mark.parametrize("file", ["Q4_0", "Q2_K"])
def test_what_has_its_type_already_is_kept_bit_for_bit(file: str, sources: dict[str, Path], tmp_path: Path) -> None:
    again = tensors(made(requantized(sources["Q4_0"], file, allow_low_bits=True), tmp_path / "again.gguf"))
    before = tensors(sources["Q4_0"])
    same_type = {name for name, (kind, _) in again.items() if kind == before[name][0]}
    assert len(same_type) >= 6  # at least the norms and the output
    assert {name: again[name] for name in same_type} == {name: before[name] for name in same_type}


@pytest.mark.parametrize("source", ["F32", "BF16"])
@pytest.mark.parametrize("file", ["Q8_0", "Q4_0", "F32", "BF16"])
def test_it_has_the_bits_of_the_checkpoint_itself(
    source: str, file: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    again = made(requantized(sources[source], file), tmp_path / "again.gguf")
    assert tensors(again) == tensors(sources[file])


def test_metadata_is_kept_but_for_the_type(sources: dict[str, Path], tmp_path: Path) -> None:
    again = metadata(made(requantized(sources["BF16"], "Q8_0"), tmp_path / "again.gguf"))
    assert again == metadata(sources["Q8_0"])
    assert again["general.file_type"] == 7


def test_eight_bits_count_as_precise(sources: dict[str, Path], tmp_path: Path) -> None:
    again = made(requantized(sources["Q8_0"], "F32"), tmp_path / "again.gguf")
    before, after = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (sources["Q8_0"], again))
    for name, tensor in before.items():
        expected = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(after[name].data.shape)
        np.testing.assert_array_equal(after[name].data, expected)


def test_few_bits_are_refused_unless_asked_for(sources: dict[str, Path], tmp_path: Path) -> None:
    with refused("Q4_0.gguf is quantized already (Q4_0)"):
        requantized(sources["Q4_0"], "Q8_0")
    again = made(requantized(sources["Q4_0"], "Q8_0", allow_low_bits=True), tmp_path / "again.gguf")
    assert metadata(again)["general.file_type"] == 7


def pairs(**changes: Any) -> list[bytes]:
    """Metadata of a small llama; an Ellipsis takes a key away, bytes are an encoded pair."""
    values: dict[str, Any] = {
        "general.architecture": "llama", "llama.block_count": 1, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
    }  # fmt: skip
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    found = []
    for key, value in values.items():
        if isinstance(value, str):
            found.append(g.pair(key, g.STRING, g.text(value)))
        elif isinstance(value, int):
            found.append(g.pair(key, g.UINT32, g.number(value)))
        elif isinstance(value, bytes):
            found.append(value)
    return found


def model(path: Path, metadata: Sequence[bytes], kind: int = g.F32, name: str = "output.weight") -> Path:
    """A model file of one tensor with 256 columns and one row."""
    path.write_bytes(g.gguf(metadata, [g.entry(name, [256, 1], kind, 0)], bytes(2048)))
    return path


def test_facts_are_those_of_the_header(sources: dict[str, Path], tmp_path: Path) -> None:
    facts = facts_of(read_header(model(tmp_path / "a.gguf", pairs())))
    assert (facts.layers, facts.heads, facts.kv_heads, facts.experts, facts.tied) == (1, 4, 2, 0, False)
    small = facts_of(read_header(sources["F32"]))
    assert (small.layers, small.heads, small.architecture, small.tied) == (2, 4, "llama", False)
    ministral = pairs(general__architecture="mistral3", **{
        f"mistral3.{key}": value for key, value in (("block_count", 3), ("attention.head_count", 8))
    })  # fmt: skip
    other = facts_of(read_header(model(tmp_path / "b.gguf", ministral, name="token_embd.weight")))
    assert (other.layers, other.heads, other.kv_heads, other.architecture, other.tied) == (3, 8, 8, "mistral3", True)


@pytest.mark.parametrize("key", ["split__no", "quantize__imatrix__file", "general__alignment"])
def test_what_is_true_of_the_old_file_only_is_left_out(key: str, tmp_path: Path) -> None:
    value = {"split__no": 0, "quantize__imatrix__file": "x.dat", "general__alignment": 64}[key]
    path = tmp_path / "old.gguf"
    data = g.gguf(pairs(**{key: value}), [g.entry("output.weight", [256, 1], g.F32, 0)], bytes(2048), alignment=64)
    path.write_bytes(data)
    again = made(requantized(path, "Q8_0"), tmp_path / "again.gguf")
    assert key.replace("__", ".") not in metadata(again)
    assert metadata(again)["llama.block_count"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"general__architecture": "qwen2"}, "qwen2"),
        ({"general__architecture": ...}, "architecture"),
        ({"general__architecture": "\x1b[31m"}, "architecture"),
        ({"llama__block_count": ...}, "block count"),
        ({"llama__block_count": 0}, "block count"),
        ({"llama__block_count": 1 << 20}, "block count"),
        ({"llama__block_count": "2"}, "block count"),
        ({"llama__attention__head_count": 0}, "head count"),
        ({"llama__attention__head_count_kv": 0}, "head count kv"),
        ({"llama__attention__head_count_kv": g.pair("llama.attention.head_count_kv", g.ARRAY,
                                                    g.array(g.UINT32, 1, g.number(2)))}, "head count kv"),
        ({"llama__expert_count": 1 << 31}, "expert count"),
        ({"split__count": 3}, "only a part"),
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_does_not_say_enough_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with refused(words):
        requantized(model(tmp_path / "a.gguf", pairs(**changes)), "Q8_0")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.gguf").write_bytes(g.gguf(pairs(), []))
    with refused("vocabulary.gguf is only a part of a model"):
        requantized(tmp_path / "vocabulary.gguf", "Q8_0")


@pytest.mark.parametrize("kind", [Type.I8, Type.I16, Type.I32, Type.I64, Type.F64, Type.Q8_K, Type.Q8_1])
@pytest.mark.parametrize("allowed", [True, False])
def test_tensors_that_hold_no_weights_are_refused(kind: Type, allowed: bool, tmp_path: Path) -> None:
    with refused("a.gguf", kind.name):
        requantized(model(tmp_path / "a.gguf", pairs(), kind), "Q8_0", allow_low_bits=allowed)


@pytest.mark.parametrize("cut", [0, 3, 100, 1000])
def test_a_file_that_is_cut_is_refused(cut: int, sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(sources["Q8_0"].read_bytes()[:cut])
    with refused("cut.gguf"):
        requantized(tmp_path / "cut.gguf", "F16")


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.gguf"):
        with refused(path.name):
            requantized(path, "F16")


KINDS = st.sampled_from([int(kind) for kind in Type] + [99])
NAMES = st.sampled_from([
    "output.weight", "token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down_exps.weight", "blk.0.ffn_norm.weight",
    "blk.7.attn_v.weight", "rope_freqs.weight", "blk.0.attn_q.bias",
])  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 2, 3, 8, 80, 65_536, 65_537, (1 << 32) - 1])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, KINDS, st.sampled_from([1, 32, 256, 512]), st.integers(1, 3)), max_size=3),
    st.dictionaries(
        st.sampled_from(["llama__block_count", "llama__attention__head_count", "llama__attention__head_count_kv",
                         "llama__expert_count", "split__count", "general__file_type"]), NUMBERS, max_size=2,
    ),
    st.sampled_from(["F16", "Q8_0", "Q4_K_M"]), st.booleans(),
)  # fmt: skip
def test_any_tensors_and_numbers_give_a_layout_or_a_sentence(
    tmp_path: Path, found: list[tuple[str, int, int, int]], changes: dict[str, int], file: str, allowed: bool
) -> None:
    entries, offset = [], 0
    for name, kind, columns, rows in found:
        block, block_bytes = gguf.GGML_QUANT_SIZES.get(Type(kind) if kind != 99 else Type.F32, (1, 4))
        entries.append(g.entry(name, [columns, rows], kind, offset))
        offset += -(-(columns * rows // block * block_bytes) // 32) * 32
    path = tmp_path / "any.gguf"
    path.write_bytes(g.gguf(pairs(**changes), entries, bytes(offset + 32)))
    with sound_or_refused():
        plan = requantized(path, file, allow_low_bits=allowed)
        assert plan.file_bytes > len(plan.header)
        assert struct.unpack("<4sIQ", plan.header[:16])[2] == len(found)
