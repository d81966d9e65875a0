"""config.json: what it says of the model's shape, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIG, checkpoint, refused, sound_or_refused, with_json

from localchat.convert.config import Config, parse_config, read_config
from localchat.convert.rope import Rope

# Mistral 7B v0.2 as its authors published it, but for keys that say nothing about the weights.
MISTRAL: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "vocab_size": 32000,
}  # fmt: skip
WHOLE = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}
ABSURD = [0, -1, 1 << 40, 10**400, True, 1.5, 4096.0, "4096", [4096], {}]


def parsed(**changes: Any) -> Config:
    """Mistral's config with some values changed; an Ellipsis takes the key away."""
    return parse_config({key: value for key, value in {**MISTRAL, **changes}.items() if value is not ...})


def test_a_published_config_is_understood() -> None:
    assert parsed() == Config(
        architecture="llama", layers=32, hidden=4096, feed_forward=14336, heads=32, kv_heads=8,
        head_dim=128, vocabulary=32000, context=32768, norm_epsilon=1e-5, rope=Rope(1e6), tied=False,
        token_ids={"bos": (1,), "eos": (2,)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"num_key_value_heads": ...}, "kv_heads", 8),
        ({"num_key_value_heads": ..., "architectures": ["LlamaForCausalLM"]}, "kv_heads", 32),
        ({"num_key_value_heads": None}, "kv_heads", 32),
        ({"head_dim": 64}, "head_dim", 64),
        ({"head_dim": None}, "head_dim", 128),
        ({"rope_theta": ...}, "rope", Rope(10_000.0)),
        ({"rope_theta": 10000}, "rope", Rope(10_000.0)),
        ({"rope_theta": ..., "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, "rope", Rope(5e5)),
        ({"rope_scaling": None}, "rope", Rope(1e6)),
        ({"rms_norm_eps": ...}, "norm_epsilon", 1e-6),
        ({"tie_word_embeddings": True}, "tied", True),
        ({"tie_word_embeddings": ...}, "tied", False),
        ({"eos_token_id": [7, 8], "pad_token_id": 0}, "token_ids", {"bos": (1,), "eos": (7, 8), "pad": (0,)}),
        ({"eos_token_id": [], "bos_token_id": "1"}, "token_ids", {}),
        ({"eos_token_id": -1, "bos_token_id": True}, "token_ids", {}),
        ({"max_position_embeddings": ...}, "context", 131_072),
        ({"max_position_embeddings": ..., "architectures": ["LlamaForCausalLM"]}, "context", 2048),
        ({"vocab_size": -1}, "vocabulary", 32_000),
        ({"vocab_size": ...}, "vocabulary", 32_000),
        ({"architectures": ["MixtralForCausalLM"]}, "experts", 8),
        ({"architectures": ["MixtralForCausalLM"], "num_local_experts": 4}, "experts", 4),
        ({"num_local_experts": 4}, "experts", 0),
        ({"architectures": ["Ministral3ForCausalLM"]}, "architecture", "mistral3"),
        (
            {
                "architectures": ["Mistral3ForConditionalGeneration"],
                "hidden_size": ...,
                "text_config": {"hidden_size": 5120},
            },
            "hidden",
            5120,
        ),
    ],
)
def test_what_authors_leave_out_or_write_otherwise(changes: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(parsed(**changes), field) == value


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("key", [*sorted(WHOLE), "max_position_embeddings", "num_key_value_heads", "head_dim"])
def test_a_number_that_is_none_is_refused_by_its_key(key: str, value: Any) -> None:
    with refused("config", key):
        parsed(**{key: value})


@pytest.mark.parametrize("key", sorted(WHOLE))
@pytest.mark.parametrize("value", [..., None])
def test_a_number_that_is_missing_is_named(key: str, value: Any) -> None:
    with refused("config", key):
        parsed(**{key: value})


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
# llama.cpp keeps these as float32, in which 1e300 is infinite and 1e-300 is zero.
@pytest.mark.parametrize(
    "value", [0, -1.0, float("inf"), True, "1e-5", [1], 10**400, 1e300, 1e-300], ids=lambda value: repr(value)[:12]
)
def test_a_fraction_that_is_none_is_refused_by_its_key(key: str, value: Any) -> None:
    with refused("config", key):
        parsed(**{key: value})


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(32, 5, 128), (6, 4, 128), (32, 8, 127), (4096, 1, None)])
def test_heads_that_do_not_divide_are_refused(heads: int, kv_heads: int, head_dim: int | None) -> None:
    with refused("config.json"):
        parsed(num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim)


@pytest.mark.parametrize(
    ("architectures", "named"),
    [
        (["MixtralForSequenceClassification"], "MixtralForSequenceClassification"),
        (["GPT2LMHeadModel"], "GPT2LMHeadModel"),
        (["mistralforcausallm"], "mistralforcausallm"),
        ([], "unnamed"),
        (None, "unnamed"),
        ("MistralForCausalLM", "unnamed"),
        ([7], "unnamed"),
        (["x" * 1000], "xxx"),
    ],
)
def test_an_architecture_that_is_not_supported_is_named(architectures: Any, named: str) -> None:
    with refused(named, "not supported"):
        parsed(architectures=architectures)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantized"),
        ({"quantization": {"bits": 4}}, "already quantized"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"rope_scaling": {"type": "linear"}}, "factor"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, "longrope"),
        ({"rope_scaling": [4]}, "rope"),
        ({"rope_scaling": {"rope_type": ["x"]}}, "rope"),
        ({"hidden_act": "gelu"}, "gelu"),
    ],
)
def test_a_model_that_would_come_out_wrong_is_refused(changes: dict[str, Any], word: str) -> None:
    with refused(word):
        parsed(**changes)


def test_a_folder_without_a_config_is_told_what_is_missing(tmp_path: Path) -> None:
    with refused("config.json", "checkpoint"):
        read_config(tmp_path)
    with refused("config.json"):
        read_config(tmp_path / "absent")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff", b"[]", b'{"hidden_size": NaN}', b'{"hidden_size": 1, "hidden_size": 2}',
        b'{"a": ' + b"[" * 100_000, b"[" + b" " * (4 << 20),
    ],
    ids=lambda data: repr(data)[:30],
)  # fmt: skip
def test_a_config_that_is_no_strict_json_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with refused("config.json"):
        read_config(tmp_path)


def test_a_config_is_read_from_its_folder(tmp_path: Path) -> None:
    folder = with_json(checkpoint(tmp_path / "checkpoint"), "config.json", max_position_embeddings=77)
    assert read_config(folder).context == 77


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([]), st.just({}),
    st.lists(st.integers() | st.sampled_from(["MistralForCausalLM"]), max_size=2),
    st.dictionaries(st.sampled_from(["type", "rope_type", "rope_theta"]), st.none() | st.text() | st.floats()),
)  # fmt: skip
KEYS = [*MISTRAL, "head_dim", "rope_parameters", "rope_scaling", "quantization_config", "pad_token_id", "other"]


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_values_give_a_config_or_a_sentence(changes: dict[str, Any]) -> None:
    with sound_or_refused():
        config = parse_config({**MISTRAL, **changes})
        assert config.heads % config.kv_heads == 0
        assert min(config.layers, config.hidden, config.head_dim, config.vocabulary, config.context) > 0


def test_the_small_checkpoints_of_the_tests_are_real_ones(chatml: Path) -> None:
    assert parse_config(CONFIG).head_dim == 32
    assert read_config(chatml).layers == json.loads((chatml / "config.json").read_text())["num_hidden_layers"]
