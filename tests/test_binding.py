"""What a model needs against what a checkpoint has: rows, ties, tensors too many and shapes that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from own_layout import in_pairs, same, values
from tiny import CONFIG, Weights, checkpoint, refused, weights, with_json

from localchat.convert.checkpoint import Checkpoint, read_checkpoint
from localchat.convert.layout import layout

EMBEDDING, OUTPUT, LAYER = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0."
QUERY = f"{LAYER}self_attn.q_proj.weight"


def read(folder: Path, changes: Weights | None = None, **config: Any) -> Checkpoint:
    """The small checkpoint with some tensors changed (None takes one away), and some values of its config."""
    tensors = {name: array for name, array in (weights() | (changes or {})).items() if array is not None}
    return read_checkpoint(checkpoint(folder, CONFIG | config, tensors=tensors), "x")


def without(*names: str) -> dict[str, Any]:
    """A change that takes tensors away."""
    return dict.fromkeys(names)


def rows(count: int) -> NDArray[np.float32]:
    """An embedding of so many tokens."""
    return np.arange(count * 64, dtype=np.float32).reshape(count, 64)


@pytest.mark.parametrize("claimed", [9, 7, 32_000, -1, None, "9", 1 << 40, ...])
def test_the_embedding_has_the_last_word_on_how_many_tokens_there_are(claimed: Any, tmp_path: Path) -> None:
    found = read_checkpoint(with_json(checkpoint(tmp_path / "x"), "config.json", vocab_size=claimed), "x")
    assert found.config.vocabulary == len(found.vocab.texts) == 9
    assert any("9 rows" in note for note in found.notes) == (claimed != 9)


@pytest.mark.parametrize("count", [16, 64])
def test_rows_that_pad_the_embedding_are_kept_and_get_fillers(count: int, tmp_path: Path) -> None:
    found = read(tmp_path / "x", {EMBEDDING: rows(count), OUTPUT: rows(count)})
    assert len(found.vocab.texts) == count
    np.testing.assert_array_equal(values(found)["token_embd.weight"], rows(count))


@pytest.mark.parametrize(("embedding", "output"), [(9, 12), (12, 9)])
def test_the_shorter_of_embedding_and_output_gets_rows_of_zeros(embedding: int, output: int, tmp_path: Path) -> None:
    found = read(tmp_path / "x", {EMBEDDING: rows(embedding), OUTPUT: rows(output)})
    assert found.config.vocabulary == len(found.vocab.texts) == 12
    for name, count in (("token_embd.weight", embedding), ("output.weight", output)):
        array = values(found)[name]
        np.testing.assert_array_equal(array[:count], rows(count))
        assert not array[count:].any()
        assert len(array) == 12


def test_more_rows_than_any_vocabulary_has_are_refused_before_they_get_names(tmp_path: Path) -> None:
    many = np.zeros(((1 << 20) + 1, 2), np.float16)
    config = {"hidden_size": 2, "num_attention_heads": 1, "tie_word_embeddings": True, "intermediate_size": 2}
    small = {
        name: np.zeros((2,) * array.ndim, np.float32) for name, array in weights().items() if name != OUTPUT
    }  # fmt: skip
    with refused("1,048,577 tokens"):
        read_checkpoint(checkpoint(tmp_path / "x", CONFIG | config, tensors={**small, EMBEDDING: many}), "x")


def test_an_output_that_is_missing_is_shared_and_noted(tmp_path: Path) -> None:
    found = read(tmp_path / "x", without(OUTPUT))
    assert found.config.tied
    assert "output.weight" not in values(found)
    assert any("shares" in note for note in found.notes)


def test_an_output_that_has_weights_is_written_though_the_config_says_it_is_tied(tmp_path: Path) -> None:
    found = read(tmp_path / "x", {OUTPUT: rows(12)}, tie_word_embeddings=True)
    np.testing.assert_array_equal(values(found)["output.weight"], rows(12))
    assert (found.config.tied, found.config.vocabulary) == (False, 12)
    assert any("kept" in note for note in found.notes)


def test_an_output_that_is_tied_and_missing_is_not_noted(tmp_path: Path) -> None:
    found = read(tmp_path / "x", without(OUTPUT), tie_word_embeddings=True)
    assert (found.config.tied, found.notes) == (True, ())


def test_an_embedding_that_is_missing_is_named(tmp_path: Path) -> None:
    with refused(EMBEDDING, "missing"):
        read(tmp_path / "x", without(EMBEDDING))


USELESS = [
    f"{LAYER}self_attn.rotary_emb.inv_freq", f"{LAYER}attention.masked_bias", f"{LAYER}attention.bias",
    f"{LAYER}attn.bias", "rope.freqs", "vision_tower.patch_conv.weight", "model.vision_tower.ln_pre.weight",
    "multi_modal_projector.linear_1.weight", "model.multi_modal_projector.linear_2.bias",
    "vision_encoder.transformer.layers.0.attention.wq.weight", "vision_language_adapter.w_in.weight",
    "patch_merger.merging_layer.weight", "pre_mm_projector_norm.weight",
]  # fmt: skip


@pytest.mark.parametrize("name", USELESS)
@pytest.mark.parametrize("array", [np.zeros(4, np.float32), np.zeros((2, 3, 4, 5), np.int64)], ids=["floats", "others"])
def test_buffers_and_parts_that_see_are_left_out(name: str, array: NDArray[Any], tmp_path: Path) -> None:
    same(values(read(tmp_path / "more", {name: array})), values(read(tmp_path / "plain")))


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.mlp.up_proj.weight", f"{LAYER}self_attn.q_norm.weight",
        f"{LAYER}block_sparse_moe.gate.weight", "score.weight", "value_head.weight",
        "model.layers.00.mlp.up_proj.weight", "inv_freq", "xrotary_emb.inv_freq", "vision_tower",
        f"{LAYER}self_attn.rotary_emb.inv_freq.weight",
    ],
)  # fmt: skip
def test_a_tensor_too_many_is_named(name: str, tmp_path: Path) -> None:
    with refused(name):
        read(tmp_path / "x", {name: np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    "prefixes",
    [("language_model.model.", "language_model.lm_head"), ("model.language_model.", "lm_head")],
    ids=["before", "inside"],
)
def test_the_names_of_a_model_that_also_sees_are_understood(prefixes: tuple[str, str], tmp_path: Path) -> None:
    plain = weights()
    named = {
        name.replace("lm_head", prefixes[1]) if name == OUTPUT else prefixes[0] + name.removeprefix("model."): array
        for name, array in plain.items()
    }
    found = read_checkpoint(checkpoint(tmp_path / "seeing", tensors=named), "x")
    same(values(found), values(read(tmp_path / "plain")))


def test_a_tensor_under_two_of_its_names_is_refused(tmp_path: Path) -> None:
    with refused("two"):
        read(tmp_path / "x", {"language_model.model.norm.weight": np.zeros(64, np.float32)})


def biased() -> Weights:
    """Biases for every projection of attention and of the feed-forward network."""
    random = np.random.default_rng(2)
    names = [name for name in weights() if "_proj" in name]
    return {name.replace("weight", "bias"): random.random(len(weights()[name]), np.float32) for name in names}


def test_biases_are_taken_and_those_of_queries_reordered(tmp_path: Path) -> None:
    tensors = biased()
    found = values(read(tmp_path / "x", tensors, attention_bias=True, mlp_bias=True))
    own = {"q": in_pairs(tensors[f"{LAYER}self_attn.q_proj.bias"], 2), "v": tensors[f"{LAYER}self_attn.v_proj.bias"]}
    own["k"] = in_pairs(tensors[f"{LAYER}self_attn.k_proj.bias"], 1)
    for part, array in own.items():
        np.testing.assert_array_equal(found[f"blk.0.attn_{part}.bias"], array)
    for part in ("gate", "up", "down"):
        np.testing.assert_array_equal(found[f"blk.0.ffn_{part}.bias"], tensors[f"{LAYER}mlp.{part}_proj.bias"])


def test_biases_stay_in_32_bits(tmp_path: Path) -> None:
    types = layout(read(tmp_path / "x", biased(), attention_bias=True, mlp_bias=True), "Q8_0").types
    assert {kind for name, kind in types.items() if name.endswith("bias")} == {"F32"}


def test_a_part_without_a_bias_has_none(tmp_path: Path) -> None:
    tensors = {name: array for name, array in biased().items() if "q_proj" in name}
    found = values(read(tmp_path / "x", tensors, attention_bias=False))
    assert [name for name in found if name.endswith("bias")] == ["blk.0.attn_q.bias"]


@pytest.mark.parametrize("shape", [(63,), (64, 1), (1, 63), (2, 32)])
def test_a_bias_of_another_length_is_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    name = f"{LAYER}self_attn.q_proj.bias"
    with refused(name):
        read(tmp_path / "x", {name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
    "shape", [(63, 64), (64, 63), (64, 65), (0, 64), (64, 0), (4096,), (1, 64, 64), (64, 64, 1), (), (0,)], ids=str
)
def test_a_tensor_of_another_shape_is_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    with refused(QUERY):
        read(tmp_path / "x", {QUERY: np.zeros(shape, np.float32)})


@pytest.mark.parametrize("shape", [(8, 64), (9, 32), (9, 0), (0, 64), (64, 9), (576,)], ids=str)
def test_an_output_may_be_shorter_but_not_of_another_width(shape: tuple[int, ...], tmp_path: Path) -> None:
    changes = {OUTPUT: np.zeros(shape, np.float32)}
    if shape == (8, 64):
        assert values(read(tmp_path / "x", changes))["output.weight"].shape == (9, 64)
    else:
        with refused(OUTPUT):
            read(tmp_path / "x", changes)


def test_fewer_heads_of_keys_than_the_config_says_are_named(tmp_path: Path) -> None:
    with refused(f"{LAYER}self_attn.k_proj.weight", "(32, 64)", "(64, 64)"):
        read(tmp_path / "x", num_key_value_heads=2)


def test_llama_3_has_a_tensor_of_its_own(tmp_path: Path) -> None:
    found = read(tmp_path / "x", rope_scaling={"rope_type": "llama3"})
    array = values(found)["rope_freqs.weight"]
    assert array.shape == (16,)
    assert layout(found, "Q8_0").types["rope_freqs.weight"] == "F32"


SCHEMES = {
    "GPTQ": f"{LAYER}mlp.up_proj.g_idx", "GPTQ or AWQ": f"{LAYER}mlp.up_proj.qweight",
    "bitsandbytes in 8 bits": f"{LAYER}mlp.up_proj.SCB", "bitsandbytes in 4 bits": f"{LAYER}mlp.up_proj.weight.absmax",
    "MLX": f"{LAYER}mlp.up_proj.biases", "EXL2": f"{LAYER}mlp.up_proj.q_weight", "FP8": "norm.qscale_weight",
    "EXL3": f"{LAYER}mlp.up_proj.trellis", "HQQ": f"{LAYER}mlp.up_proj.W_q",
    "compressed-tensors": f"{LAYER}mlp.up_proj.weight_packed",
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "name"), SCHEMES.items(), ids=SCHEMES.keys())
def test_weights_that_are_quantized_already_are_refused_by_the_name_of_the_scheme(
    scheme: str, name: str, tmp_path: Path
) -> None:
    with refused(f"already quantized with {scheme}"):
        read(tmp_path / "x", {name: np.zeros((4, 4), np.int64), f"{LAYER}mlp.up_proj.scales": np.zeros(4, np.float16)})
