"""What a model needs, read from model files."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import device, machine, made_up, planned
from tiny import refused, sound_or_refused

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.gguf_file import ModelFile, Tensor, read_header
from localchat.plan.facts import candidate_of, shape_of, subject_of
from localchat.plan.shape import Shape

DATA = Path(__file__).parent / "data"


def test_the_shape_of_a_model_file_is_read(chatml_file: Path) -> None:
    model = read_header(chatml_file)
    assert shape_of(model) == Shape(
        architecture="llama", layers=2, hidden=256, feed_forward=256, heads=4, kv_heads=2, head_dim=64,
        vocabulary=1026, context=32768, parameters=1_313_024,
    )  # fmt: skip
    candidate = candidate_of(model)
    assert candidate.quant == "Q8_0"
    assert 0.98 < candidate.weights_bytes / chatml_file.stat().st_size <= 1


def test_the_shape_of_a_published_model_file_is_read(smollm2_file: Path) -> None:
    assert shape_of(read_header(smollm2_file)) == Shape(
        architecture="llama", layers=30, hidden=576, feed_forward=1536, heads=9, kv_heads=3, head_dim=64,
        vocabulary=49152, context=8192, parameters=134_515_008,
    )  # fmt: skip


NEEDED = {
    "llama.block_count": 2, "llama.attention.head_count": 4, "llama.embedding_length": 256,
    "llama.feed_forward_length": 512, "llama.context_length": 1024,
}  # fmt: skip
OLD = ModelFile(
    Path("old.gguf"), {"general.architecture": "llama", "tokenizer.ggml.tokens": ["a", "b"], **NEEDED}, (), 0, 0
)


def test_what_older_files_leave_out_follows_from_the_rest() -> None:
    assert shape_of(changed(**{"llama.attention.head_count_kv": 1})).kv_heads == 1
    assert shape_of(OLD) == Shape(
        architecture="llama", layers=2, hidden=256, feed_forward=512, heads=4, kv_heads=4, head_dim=64, vocabulary=2,
        context=1024, parameters=0,
    )  # fmt: skip


def changed(**metadata: Any) -> ModelFile:
    """The old file with some metadata changed; an Ellipsis takes the key away."""
    found = {**OLD.metadata, **metadata}
    return replace(OLD, metadata={key: value for key, value in found.items() if value is not ...})


@pytest.mark.parametrize("value", [..., 0, -1, 1 << 40, "2", 2.0, [2, 2], True], ids=repr)
@pytest.mark.parametrize("key", [*NEEDED, "tokenizer.ggml.tokens"])
def test_a_file_that_does_not_say_its_shape_is_refused(key: str, value: Any) -> None:
    if key == "tokenizer.ggml.tokens" and isinstance(value, list):
        value = []
    with refused("old.gguf"):
        shape_of(changed(**{key: value}))


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)
KEYS = [
    *OLD.metadata,
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.vocab_size",
    "general.file_type",
]


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_metadata_gives_a_shape_or_a_sentence(metadata: dict[str, Any]) -> None:
    with sound_or_refused():
        shape = shape_of(changed(**metadata))
        facts = asdict(shape)
        assert facts.pop("architecture")
        assert facts.pop("parameters") == 0  # this file has no tensors
        assert (facts.pop("experts") > 0) == (facts.pop("experts_used") > 0)
        assert all(type(value) is int and value > 0 for value in facts.values())
        assert candidate_of(changed(**metadata)).quant


def with_tensors(model: ModelFile, *names: str) -> ModelFile:
    """The file with tensors of these names, of 4 MiB each."""
    kind = GGMLQuantizationType.F16
    return replace(model, tensors=tuple(Tensor(name, kind, (2048, 1024), 0, 4 << 20) for name in names))


PLAIN = ("token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight")


def test_the_parts_of_a_file_are_told_apart() -> None:
    found = candidate_of(with_tensors(OLD, *PLAIN, "rope_freqs.weight", "blk.0.ffn_up.weight"))
    assert found.layer_bytes == (8 << 20, 4 << 20)
    assert found.expert_bytes == (0, 0)
    assert found.output_bytes == found.embedding_bytes == 8 << 20
    assert not found.is_tied
    assert found.weights_bytes == 28 << 20


def test_experts_are_told_apart_from_what_routes_to_them() -> None:
    names = ("blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight", "blk.1.ffn_gate_inp.weight")
    found = candidate_of(with_tensors(OLD, *PLAIN, *names))
    assert found.expert_bytes == (0, 8 << 20)
    assert found.layer_bytes == (4 << 20, 8 << 20)


def test_a_file_without_an_output_uses_its_embedding() -> None:
    found = candidate_of(with_tensors(OLD, *(name for name in PLAIN if name != "output.weight")))
    assert found.is_tied
    assert sum(found.output_kinds.values()) == found.embedding_bytes == 4 << 20


def test_the_experts_of_a_mixture_are_counted(tmp_path: Path) -> None:
    for _ in write(layout(read_checkpoint(DATA / "mixtral-tiny", "tiny"), "Q8_0"), tmp_path / "tiny.gguf", threads=1):
        pass
    model = read_header(tmp_path / "tiny.gguf")
    shape, found = shape_of(model), candidate_of(model)
    assert (shape.experts, shape.experts_used) == (4, 2)
    assert all(found.expert_bytes)
    assert found.weights_bytes == model.tensor_bytes


HOSTILE = {
    "experts in a model that has none": with_tensors(OLD, *PLAIN, "blk.0.ffn_up_exps.weight"),
    "layers beyond the last": with_tensors(OLD, *PLAIN, "blk.2.attn_q.weight", "blk.9999.attn_q.weight"),
    "no tensors at all": OLD,
    "an output alone": with_tensors(OLD, "output.weight"),
    "more experts used than there are": with_tensors(
        changed(**{"llama.expert_count": 2, "llama.expert_used_count": 100}), *PLAIN, "blk.0.ffn_up_exps.weight"
    ),
    "more KV heads than heads": with_tensors(changed(**{"llama.attention.head_count_kv": 1 << 20}), *PLAIN),
    "a layer for every atom": with_tensors(changed(**{"llama.block_count": 1 << 27}), *PLAIN),
    "a head of one number": with_tensors(changed(**{"llama.attention.key_length": 1}), *PLAIN),
    "a context of one token": with_tensors(changed(**{"llama.context_length": 1}), *PLAIN),
    "a name of its own": with_tensors(changed(**{"general.architecture": "llama\x1b[2J\n"}), *PLAIN),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_a_stranger_ends_in_a_plan_or_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.make.find_works", made_up())
    for hardware in (machine(16, 12), machine(16, 12, device("gpu", 8, 7)), machine(16, 12, device("gpu", 8, 0.4))):
        with sound_or_refused():
            found = planned(subject_of(HOSTILE[name]), hardware)
            assert found.quant == "unknown"
