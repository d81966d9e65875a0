"""`config.json`: the shape of a model, with every number checked before anything is built on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json

ARCHITECTURES = ("MistralForCausalLM", "LlamaForCausalLM")
TINY, HUGE = 1e-30, 1e30  # well inside of what a 32-bit float holds
ROPE_BASE = 10_000.0  # of a config without rope_theta: transformers' default for Llama and Mistral


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a dense Llama-like model and the special token ids that its config names."""

    architecture: str
    layers: int
    hidden: int
    """Width of the residual stream."""
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    """Rows of the embedding."""
    context: int
    """Tokens of context that the model was made for."""
    norm_epsilon: float
    rope_base: float
    tied: bool
    """Does the output share the weights of the embedding?"""
    token_ids: Mapping[str, int]
    """`bos`, `eos`, `unk` and `pad` where config.json has them."""


def read_config(folder: Path) -> Config:
    """The config of a checkpoint folder. Raises LocalchatError for what is absent, unsupported or absurd."""
    path = folder / "config.json"
    if not path.is_file():
        raise LocalchatError(
            f"{folder} has no config.json, so it is not a checkpoint in the Hugging Face layout",
            "give a folder with config.json, tokenizer.model and *.safetensors, or the name of a Hub repository",
        )
    return parse_config(read_json(path))


def parse_config(raw: Mapping[str, Any]) -> Config:
    """The config in parsed JSON. Raises LocalchatError like `read_config`."""
    architecture = _supported(raw)
    hidden, heads = _whole(raw, "hidden_size"), _whole(raw, "num_attention_heads", limit=1 << 12)
    kv_heads = _whole(raw, "num_key_value_heads", default=heads, limit=heads)
    head_dim = _whole(raw, "head_dim", default=hidden // heads, limit=1 << 12)
    if heads % kv_heads or head_dim % 2:
        raise BadFile("config.json has head counts that do not divide", "ask the authors of the checkpoint")
    return Config(
        architecture=architecture,
        layers=_whole(raw, "num_hidden_layers", limit=1 << 10),
        hidden=hidden,
        feed_forward=_whole(raw, "intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=_whole(raw, "vocab_size"),
        context=_whole(raw, "max_position_embeddings", limit=1 << 27),
        norm_epsilon=_positive(raw, "rms_norm_eps", 1e-6),
        rope_base=_rope_base(raw),
        tied=raw.get("tie_word_embeddings") is True,
        token_ids=_token_ids(raw),
    )


def _supported(raw: Mapping[str, Any]) -> str:
    names = raw.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else "an unnamed one"
    if name not in ARCHITECTURES:
        raise LocalchatError(
            f"the architecture is {name[:80]}, which is not supported", f"supported are {' and '.join(ARCHITECTURES)}"
        )
    if raw.get("quantization_config") or raw.get("quantization"):
        raise LocalchatError(
            "this checkpoint is already quantized, so it cannot be quantized well again",
            "pull the original 16-bit repository that it was made from",
        )
    if raw.get("hidden_act", "silu") != "silu":
        name = str(raw["hidden_act"])[:40]
        raise LocalchatError(f"the model's activation is {name}, which is not supported", "choose another model")
    for key in ("attention_bias", "mlp_bias"):
        if raw.get(key):
            raise LocalchatError(f"the model has biases ({key}), which are not supported", "choose another model")
    return name


def _rope_base(raw: Mapping[str, Any]) -> float:
    nested = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = nested.get("rope_type", nested.get("type", "default")) if isinstance(nested, dict) else "broken"
    if kind not in ("default", None):
        raise LocalchatError(
            f"the model scales its rope ({str(kind)[:40]}), which is not supported", "choose another model"
        )
    return _positive({**nested, **raw}, "rope_theta", ROPE_BASE)


def _token_ids(raw: Mapping[str, Any]) -> dict[str, int]:
    """A list of ids (several ways to end) counts as its first."""
    found = {}
    for kind in ("bos", "eos", "unk", "pad"):
        value = raw.get(f"{kind}_token_id")
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            found[kind] = value
    return found


def _whole(raw: Mapping[str, Any], key: str, *, default: int | None = None, limit: int = 1 << 24) -> int:
    value = raw.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise BadFile(f"config.json: {key} is {str(value)[:40]}", f"it must be a whole number from 1 to {limit:,}")
    return value


def _positive(raw: Mapping[str, Any], key: str, default: float) -> float:
    value = raw.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not TINY < value < HUGE:
        raise BadFile(f"config.json: {key} is {str(value)[:40]}", "it must be a sensible number above 0")
    return float(value)
