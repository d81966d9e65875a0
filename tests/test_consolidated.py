"""Checkpoints in Mistral's and Meta's own layout: params.json and consolidated files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_layout import PARAMS, consolidated, own_layout, same, values
from tiny import Weights, checkpoint, refused, sound_or_refused, weights

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.consolidated import parse_params

BESIDE = ("wo.weight", "w2.weight")  # what several GPUs share column by column; all else they share row by row
WHOLE = ("norm.weight", "gate.weight", "rope.freqs")


def sliced(tensors: Weights, count: int, beside: tuple[str, ...] = BESIDE) -> list[Weights]:
    """The weights as so many GPUs hold them; norms and routers are whole in every slice."""
    slices: list[Weights] = [{} for _ in range(count)]
    for name, array in tensors.items():
        parts = np.split(array, count, axis=int(name.endswith(beside))) if not name.endswith(WHOLE) else [array] * count
        for own, part in zip(slices, parts, strict=True):
            own[name] = part
    return slices


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """What the small checkpoint comes to in Hugging Face's layout."""
    return values(read_checkpoint(checkpoint(tmp_path / "huggingface"), "x"))


def test_it_is_the_same_model_as_in_the_other_layout(model: Any, tmp_path: Path) -> None:
    same(values(read_checkpoint(consolidated(tmp_path / "own", [own_layout(weights())]), "x")), model)


def test_queries_and_keys_are_not_reordered(tmp_path: Path) -> None:
    own = own_layout(weights())
    found = values(read_checkpoint(consolidated(tmp_path / "own", [own]), "x"))
    np.testing.assert_array_equal(found["blk.0.attn_q.weight"], own["layers.0.attention.wq.weight"])
    np.testing.assert_array_equal(found["blk.0.attn_k.weight"], own["layers.0.attention.wk.weight"])


def eight_rows(tensors: Weights) -> Weights:
    """The vocabulary with eight tokens instead of nine, so that it can be cut."""
    return {name: array[:8] if array.shape[0] == 9 else array for name, array in tensors.items()}


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("beside", [BESIDE, (*BESIDE, "tok_embeddings.weight")], ids=["Llama 3", "Llama 2"])
def test_slices_are_joined_in_both_directions(count: int, beside: tuple[str, ...], tmp_path: Path) -> None:
    own = eight_rows(own_layout(weights()))
    whole = consolidated(tmp_path / "whole", [own], vocab_size=8)
    cut = consolidated(tmp_path / "cut", sliced(own, count, beside), vocab_size=8)
    (cut / "params.json").write_text((whole / "params.json").read_text())
    same(values(read_checkpoint(cut, "x")), values(read_checkpoint(whole, "x")))


@pytest.mark.parametrize("claimed", [-1, ..., 32_000, 7])
@pytest.mark.parametrize("beside", [BESIDE, (*BESIDE, "tok_embeddings.weight")], ids=["Llama 3", "Llama 2"])
def test_the_number_of_tokens_is_that_of_the_embedding(claimed: Any, beside: tuple[str, ...], tmp_path: Path) -> None:
    own = eight_rows(own_layout(weights()))
    found = read_checkpoint(consolidated(tmp_path / "own", sliced(own, 2, beside), vocab_size=claimed), "x")
    assert found.config.vocabulary == len(found.vocab.texts) == 8
    assert values(found)["output.weight"].shape == (8, 64)


def test_buffers_of_old_files_are_left_out(tmp_path: Path) -> None:
    buffers = {"rope.freqs": np.zeros(16, np.int64)}
    slices = [part | buffers for part in sliced(eight_rows(own_layout(weights())), 2)]
    assert len(read_checkpoint(consolidated(tmp_path / "own", slices), "x").tensors) == 12


def test_a_tensor_of_another_type_in_each_slice_is_joined(tmp_path: Path) -> None:
    first, second = sliced(eight_rows(own_layout(weights())), 2)
    second = {name: array.astype(np.float16) for name, array in second.items()}
    mixed = values(read_checkpoint(consolidated(tmp_path / "mixed", [first, second]), "x"))
    plain = consolidated(tmp_path / "plain", [eight_rows(own_layout(weights()))])
    same(mixed, values(read_checkpoint(plain, "x")))


def test_slices_of_which_one_is_missing_are_refused(tmp_path: Path) -> None:
    folder = consolidated(tmp_path / "own", sliced(eight_rows(own_layout(weights())), 4))
    (folder / "consolidated.02.safetensors").unlink()
    with refused("slices of", "do not make a whole"):
        read_checkpoint(folder, "x")


def test_a_tensor_that_one_slice_lacks_is_named(tmp_path: Path) -> None:
    slices = sliced(eight_rows(own_layout(weights())), 2)
    del slices[1]["layers.0.feed_forward.w2.weight"]
    with refused("layers.0.feed_forward.w2.weight", "shape"):
        read_checkpoint(consolidated(tmp_path / "own", slices), "x")


def test_slices_of_unequal_height_side_by_side_are_refused(tmp_path: Path) -> None:
    slices = sliced(eight_rows(own_layout(weights())), 2)
    slices[0]["layers.0.attention.wo.weight"] = np.zeros((63, 32), np.float32)
    with refused("layers.0.attention.wo.weight"):
        read_checkpoint(consolidated(tmp_path / "own", slices), "x")


def experts() -> Weights:
    """The small checkpoint with three experts, under the names of Hugging Face."""
    random = np.random.default_rng(11)
    tensors = {name: array for name, array in weights().items() if ".mlp." not in name}
    moe = "model.layers.0.block_sparse_moe"
    tensors[f"{moe}.gate.weight"] = random.random((3, 64), np.float32)
    for number in range(3):
        for part, shape in (("w1", (96, 64)), ("w2", (64, 96)), ("w3", (96, 64))):
            tensors[f"{moe}.experts.{number}.{part}.weight"] = random.random(shape, np.float32)
    return tensors


def test_experts_lie_one_behind_the_other(tmp_path: Path) -> None:
    own, moe = own_layout(experts()), {"num_experts": 3, "num_experts_per_tok": 2}
    found = read_checkpoint(consolidated(tmp_path / "own", [own], moe=moe), "x")
    assert (found.config.experts, found.config.experts_used) == (3, 2)
    model = values(found)
    for name, part in (("gate", "w1"), ("down", "w2"), ("up", "w3")):
        stacked = np.stack([own[f"layers.0.feed_forward.experts.{n}.{part}.weight"] for n in range(3)])
        np.testing.assert_array_equal(model[f"blk.0.ffn_{name}_exps.weight"], stacked)
    np.testing.assert_array_equal(model["blk.0.ffn_gate_inp.weight"], own["layers.0.feed_forward.gate.weight"])


def test_an_expert_that_is_missing_is_named(tmp_path: Path) -> None:
    own = own_layout(experts())
    del own["layers.0.feed_forward.experts.1.w2.weight"]
    with refused("layers.0.feed_forward.experts.1.w2.weight", "missing"):
        read_checkpoint(consolidated(tmp_path / "own", [own], moe={"num_experts": 3}), "x")


def test_a_tied_output_is_not_written(tmp_path: Path) -> None:
    own = own_layout(weights())
    del own["output.weight"]
    found = read_checkpoint(consolidated(tmp_path / "own", [own], tied_embeddings=True), "x")
    assert "output.weight" not in values(found)
    assert found.notes == ()


def test_the_other_layout_is_taken_where_both_are_there(model: Any, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "both")
    (folder / "consolidated.safetensors").write_bytes(b"not even looked at")
    (folder / "params.json").write_bytes(b"nor this")
    same(values(read_checkpoint(folder, "x")), model)


def test_a_config_of_the_other_layout_beside_it_changes_nothing(tmp_path: Path) -> None:
    folder = consolidated(tmp_path / "own", [own_layout(weights())])
    checkpoint(tmp_path / "other")
    (folder / "config.json").write_bytes((tmp_path / "other" / "config.json").read_bytes())
    assert read_checkpoint(folder, "x").config.token_ids == {}


def test_weights_without_params_say_what_is_missing(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "own")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    with refused("consolidated.safetensors needs params.json"):
        read_checkpoint(folder, "x")


def parsed(**changes: Any) -> Any:
    """The config of params.json with some values changed; an Ellipsis takes a key away."""
    return parse_params({key: value for key, value in (PARAMS | changes).items() if value is not ...})


def test_params_of_mistral_are_read() -> None:
    config = parsed()
    assert (config.layers, config.hidden, config.feed_forward, config.heads, config.kv_heads) == (1, 64, 96, 2, 1)
    assert (config.head_dim, config.context, config.rope.base, config.norm_epsilon) == (32, 32_768, 10_000.0, 1e-5)


@pytest.mark.parametrize(
    ("params", "feed_forward", "context"),
    [
        ({"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "vocab_size": -1}, 11_008, 4096),
        (
            {"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64, "n_kv_heads": 8,
             "n_layers": 80, "vocab_size": -1},
            28_672, 4096,
        ),
    ],
    ids=["Llama 2 7B", "Llama 2 70B"],
)  # fmt: skip
def test_params_of_meta_are_read(params: dict[str, Any], feed_forward: int, context: int) -> None:
    config = parse_params({**params, "norm_eps": 1e-5})
    assert (config.feed_forward, config.context, config.head_dim) == (feed_forward, context, 128)
    assert (config.kv_heads, config.vocabulary) == (params.get("n_kv_heads", params["n_heads"]), 32_000)


def test_yarn_of_params_is_carried_over() -> None:
    yarn = {"factor": 16, "beta": 32, "alpha": 1, "apply_scale": False, "original_max_position_embeddings": 8192}
    rope = parsed(yarn=yarn).rope
    assert (rope.scaling, rope.original_context) == ("yarn", 8192)
    assert dict(rope.numbers) == {
        "factor": 16.0, "yarn_beta_fast": 32.0, "yarn_beta_slow": 1.0, "yarn_log_multiplier": 1.0,
    }  # fmt: skip


def test_attention_that_sharpens_makes_another_architecture() -> None:
    config = parsed(llama_4_scaling={"beta": 0.1, "original_max_position_embeddings": 8192})
    assert (config.architecture, config.temperature_scale) == ("mistral3", 0.1)
    assert (parsed().architecture, parsed().temperature_scale) == ("llama", 0.0)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_width_that_meta_leaves_out_is_seen_from_the_weights(count: int, tmp_path: Path) -> None:
    slices = sliced(eight_rows(own_layout(weights())), count)
    folder = consolidated(tmp_path / "own", slices, hidden_dim=..., multiple_of=256)
    assert read_checkpoint(folder, "x").config.feed_forward == 96


BAD: dict[str, dict[str, Any]] = {
    "no width": {"dim": ...},
    "no layers": {"n_layers": ...},
    "no heads": {"n_heads": 0},
    "heads of nothing": {"dim": 1, "head_dim": ...},
    "an odd head": {"head_dim": 33},
    "more keys than queries": {"n_kv_heads": 4},
    "keys that do not divide": {"n_heads": 3, "n_kv_heads": 2},
    "a fraction": {"n_layers": 1.0},
    "a truth value": {"n_layers": True},
    "text": {"dim": "64"},
    "layers beyond any": {"n_layers": 1 << 40},
    "a rope base of zero": {"rope_theta": 0},
    "a rope base beyond float32": {"rope_theta": 1e300},
    "a multiplier of four hundred digits": {"hidden_dim": ..., "ffn_dim_multiplier": 10**400},
    "a multiplier that makes nothing": {"hidden_dim": ..., "ffn_dim_multiplier": 1e-29},
    "a multiple beyond any": {"hidden_dim": ..., "multiple_of": 1 << 40},
    "experts without a number": {"moe": {"num_experts_per_tok": 2}},
    "more experts used than there are": {"moe": {"num_experts": 2, "num_experts_per_tok": 3}},
    "yarn without a factor": {"yarn": {"beta": 32, "alpha": 1, "original_max_position_embeddings": 8192}},
    "a scheme of quantization": {"quantization": {"qformat_weight": "fp8_e4m3"}},
    "attention scaled by nothing": {"llama_4_scaling": {"beta": 0}},
    "attention scaled by text": {"llama_4_scaling": {"beta": "0.1"}},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_params_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with refused():
        parsed(**changes)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([1 << 20, 1 << 64, 10**400, -(10**400)]),
    st.floats(), st.text(max_size=3), st.just([]), st.just({}), st.just([[[]]]),
)  # fmt: skip
KEYS = st.sampled_from([
    *PARAMS, "moe", "yarn", "multiple_of", "ffn_dim_multiplier", "tied_embeddings", "quantization",
    "max_position_embeddings", "llama_4_scaling",
])  # fmt: skip
NESTED = st.dictionaries(
    st.sampled_from(["num_experts", "num_experts_per_tok", "factor", "beta", "alpha", "apply_scale",
                     "original_max_position_embeddings"]), VALUES,
)  # fmt: skip


@given(st.dictionaries(KEYS, VALUES | NESTED, max_size=4))
def test_any_params_give_a_config_or_a_sentence(changes: dict[str, Any]) -> None:
    with sound_or_refused():
        config = parsed(**changes)
        assert 0 < config.feed_forward < 1 << 24
        assert config.heads % config.kv_heads == 0


@pytest.mark.parametrize("name", ["params.json", "tokenizer.model", "consolidated.safetensors"])
def test_a_file_that_is_damaged_is_named(name: str, tmp_path: Path) -> None:
    folder = consolidated(tmp_path / "own", [own_layout(weights())])
    (folder / name).write_bytes(b"")
    with refused(name):
        read_checkpoint(folder, "x")
