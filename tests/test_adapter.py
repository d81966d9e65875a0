"""LoRA adapters: what they add to their base, compared with the sum worked out here, and which are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from own_layout import values
from tiny import Weights, checkpoint, refused, shard, sound_or_refused, weights, with_json

from localchat.convert.adapter import parse_adapter
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.weights import rotary_order

CONFIG: dict[str, Any] = {"peft_type": "LORA", "base_model_name_or_path": "acme/base", "r": 4, "lora_alpha": 8}
DOWN, QUERY, NORM = (
    "model.layers.0.mlp.down_proj",
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.input_layernorm",
)
RANK = 4
PREFIX = "base_model.model."


def low_rank(module: str, rank: int = RANK, ending: str = "", prefix: str = PREFIX) -> Weights:
    """Random A and B of a module, under the names that PEFT gives them."""
    rows, columns = weights()[f"{module}.weight"].shape
    random = np.random.default_rng(rows + columns + rank)
    return {
        f"{prefix}{module}.lora_A{ending}.weight": random.standard_normal((rank, columns), np.float32),
        f"{prefix}{module}.lora_B{ending}.weight": random.standard_normal((rows, rank), np.float32),
    }


def adapter(folder: Path, tensors: Weights, **changes: Any) -> Path:
    """An adapter's folder; an Ellipsis takes a key of its config away."""
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(shard(tensors))
    return with_json(folder, "adapter_config.json", **(CONFIG | changes))


def change(tensors: Weights, module: str, scale: float, ending: str = "") -> NDArray[Any]:
    """The module's weights in the base with B A added, worked out in 64 bits."""
    a, b = (tensors[f"{PREFIX}{module}.lora_{side}{ending}.weight"].astype(np.float64) for side in "AB")
    return np.asarray(weights()[f"{module}.weight"] + scale * (b @ a))


def merged(folder: Path, base: Path) -> dict[str, NDArray[np.float32]]:
    """What the adapter and its base come to."""
    return values(read_checkpoint(folder, "x", base))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The small checkpoint."""
    return checkpoint(tmp_path / "base")


SCALES: dict[str, tuple[dict[str, Any], float]] = {
    "alpha over rank": ({}, 2.0),
    "an alpha that is a fraction": ({"lora_alpha": 1.5}, 0.375),
    "the alpha of PEFT where none is given": ({"lora_alpha": ...}, 2.0),
    "alpha over the root of the rank": ({"use_rslora": True}, 4.0),
    "a rank that is not what the config says": ({"r": 64}, 2.0),
    "an alpha of its own by name": ({"alpha_pattern": {"down_proj": 2}}, 0.5),
    "an alpha of its own by path": ({"alpha_pattern": {"layers.0.mlp.down_proj": 2}}, 0.5),
    "the first of two that fit": ({"alpha_pattern": {"mlp.down_proj": 2, "down_proj": 16}}, 0.5),
    "an alpha of another module": ({"alpha_pattern": {"up_proj": 2, "own_proj": 2}}, 2.0),
    "an alpha of its own over a root": ({"alpha_pattern": {"down_proj": 2}, "use_rslora": True}, 1.0),
}


@pytest.mark.parametrize(("changes", "scale"), SCALES.values(), ids=SCALES.keys())
def test_the_change_is_scaled_as_the_config_says(
    changes: dict[str, Any], scale: float, base: Path, tmp_path: Path
) -> None:
    tensors = low_rank(DOWN)
    found = merged(adapter(tmp_path / "adapter", tensors, **changes), base)["blk.0.ffn_down.weight"]
    np.testing.assert_allclose(found, change(tensors, DOWN, scale), rtol=1e-5, atol=1e-5)


def test_only_what_the_adapter_names_is_changed(base: Path, tmp_path: Path) -> None:
    found, before = merged(adapter(tmp_path / "adapter", low_rank(DOWN)), base), values(read_checkpoint(base, "x"))
    assert found.keys() == before.keys()
    assert {name for name in found if not np.array_equal(found[name], before[name])} == {"blk.0.ffn_down.weight"}


def test_queries_are_merged_before_they_are_reordered(base: Path, tmp_path: Path) -> None:
    tensors = low_rank(QUERY)
    found = merged(adapter(tmp_path / "adapter", tensors), base)["blk.0.attn_q.weight"]
    expected = change(tensors, QUERY, 2.0)[rotary_order(64, 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ending", ["", ".default"])
def test_the_name_of_the_adapter_may_be_in_the_names(ending: str, base: Path, tmp_path: Path) -> None:
    tensors = low_rank(DOWN, ending=ending)
    found = merged(adapter(tmp_path / "adapter", tensors), base)["blk.0.ffn_down.weight"]
    np.testing.assert_allclose(found, change(tensors, DOWN, 2.0, ending), rtol=1e-5, atol=1e-5)


def test_an_adapter_of_a_model_that_also_sees_finds_its_modules(base: Path, tmp_path: Path) -> None:
    tensors = low_rank(DOWN)
    seen = {name.replace("model.model.", "model.model.language_model."): array for name, array in tensors.items()}
    found = merged(adapter(tmp_path / "adapter", seen), base)["blk.0.ffn_down.weight"]
    np.testing.assert_allclose(found, change(tensors, DOWN, 2.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ending", ["", ".modules_to_save", ".modules_to_save.default"])
def test_whole_modules_replace_those_of_the_base(ending: str, base: Path, tmp_path: Path) -> None:
    norm = np.arange(64, dtype=np.float32)
    found = merged(adapter(tmp_path / "adapter", {f"{PREFIX}{NORM}{ending}.weight": norm}), base)
    np.testing.assert_array_equal(found["blk.0.attn_norm.weight"], norm)


def test_an_embedding_with_more_tokens_than_the_base_has_counts(base: Path, tmp_path: Path) -> None:
    rows = np.arange(11 * 64, dtype=np.float32).reshape(11, 64)
    names = (f"{PREFIX}model.embed_tokens.weight", f"{PREFIX}lm_head.modules_to_save.default.weight")
    folder = with_json(adapter(tmp_path / "adapter", dict.fromkeys(names, rows)), "added_tokens.json", new=9)
    found = read_checkpoint(folder, "x", base)
    assert found.config.vocabulary == len(found.vocab.texts) == 11
    for name in ("token_embd.weight", "output.weight"):
        np.testing.assert_array_equal(values(found)[name], rows)


def test_the_output_of_the_base_gets_rows_of_zeros_where_only_the_embedding_grew(base: Path, tmp_path: Path) -> None:
    rows = np.ones((11, 64), np.float32)
    found = merged(adapter(tmp_path / "adapter", {f"{PREFIX}model.embed_tokens.weight": rows}), base)
    assert found["output.weight"].shape == (11, 64)
    assert not found["output.weight"][9:].any()


def test_the_tokenizer_and_template_are_the_adapters_own_where_it_has_them(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", low_rank(DOWN))
    with_json(base, "tokenizer_config.json", chat_template="of the base")
    assert read_checkpoint(folder, "x", base).templates.default == "of the base"
    assert read_checkpoint(folder, "x", base).tokenizer_folder == base
    with_json(folder, "tokenizer_config.json", chat_template="of the adapter")
    (folder / "tokenizer.model").write_bytes((base / "tokenizer.model").read_bytes())
    assert read_checkpoint(folder, "x", base).templates.default == "of the adapter"
    assert read_checkpoint(folder, "x", base).tokenizer_folder == folder


REFUSED: dict[str, dict[str, Any]] = {
    "DoRA": {"use_dora": True},
    "QALoRA": {"use_qalora": True},
    "LOHA": {"peft_type": "LOHA"},
    "IA3": {"peft_type": "IA3"},
    "PROMPT_TUNING": {"peft_type": "PROMPT_TUNING"},
    "biases": {"bias": "lora_only"},
    "a list for a name": {"base_model_name_or_path": ["acme/base"]},
    "a pattern": {"alpha_pattern": {"layers\\..*": 3}},
    "a list of patterns": {"alpha_pattern": ["down_proj"]},
    "an alpha of nothing": {"lora_alpha": 0},
    "an alpha below nothing": {"lora_alpha": -1},
    "an alpha beyond float32": {"lora_alpha": 1e300},
    "an alpha of text": {"lora_alpha": "8"},
    "a rank of nothing": {"r": 0},
    "a rank beyond any": {"r": 1 << 40},
    "a kind that is no text": {"peft_type": {"a": 1}},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
def test_kinds_that_cannot_be_merged_are_refused(changes: dict[str, Any], base: Path, tmp_path: Path) -> None:
    with refused():
        read_checkpoint(adapter(tmp_path / "adapter", low_rank(DOWN), **changes), "x", base)


def zeros(*shape: int) -> NDArray[np.float32]:
    """A tensor of zeros."""
    return np.zeros(shape, np.float32)


A, B = f"{PREFIX}{DOWN}.lora_A.weight", f"{PREFIX}{DOWN}.lora_B.weight"
WRONG: dict[str, Weights] = {
    "no B": {A: zeros(4, 96)},
    "no A": {B: zeros(64, 4)},
    "no rank at all": {A: zeros(0, 96), B: zeros(64, 0)},
    "a rank beyond any": {A: zeros((1 << 14) + 1, 96), B: zeros(64, (1 << 14) + 1)},
    "two ranks": {A: zeros(4, 96), B: zeros(64, 8)},
    "more columns than the base": {A: zeros(4, 97), B: zeros(64, 4)},
    "fewer rows than the base": {A: zeros(4, 96), B: zeros(63, 4)},
    "turned around": {A: zeros(96, 4), B: zeros(4, 64)},
    "vectors": {A: zeros(96), B: zeros(64)},
    "a layer that the base has not": {name.replace("layers.0", "layers.7"): zeros(4, 4) for name in (A, B)},
    "a module that no model has": {f"{PREFIX}model.new.weight": zeros(4, 4)},
    "a module of another shape": {f"{PREFIX}{DOWN}.weight": zeros(4, 4)},
    "an embedding of another width": {f"{PREFIX}model.embed_tokens.weight": zeros(9, 32)},
    "a magnitude of DoRA": {f"{PREFIX}{DOWN}.lora_magnitude_vector": zeros(64)},
    "a low-rank embedding": {f"{PREFIX}model.embed_tokens.lora_embedding_A": zeros(4, 9)},
    "a bias of low rank": {f"{PREFIX}{DOWN}.lora_B.bias": zeros(64)},
    "whole numbers": {A: np.zeros((4, 96), np.int64), B: zeros(64, 4)},
    "a name of nothing": {f"{PREFIX}lora_A.weight": zeros(4, 96)},
}


@pytest.mark.parametrize("tensors", WRONG.values(), ids=WRONG.keys())
def test_an_adapter_that_does_not_fit_its_base_is_refused(tensors: Weights, base: Path, tmp_path: Path) -> None:
    with refused():
        read_checkpoint(adapter(tmp_path / "adapter", tensors), "x", base)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 99), st.sampled_from([1 << 64, 10**400]), st.floats(),
    st.text(max_size=4), st.just([]), st.dictionaries(st.text(max_size=3), st.integers() | st.floats(), max_size=2),
)  # fmt: skip
KEYS = st.sampled_from([*CONFIG, "use_dora", "use_rslora", "alpha_pattern", "bias", "use_qalora", "rank_pattern"])


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_config_gives_an_adapter_or_a_sentence(changes: dict[str, Any]) -> None:
    with sound_or_refused():
        found = parse_adapter(CONFIG | changes)
        assert 0 < found.scale("model.layers.0.mlp.down_proj", 8) < math.inf
        assert json.dumps(found.base)
