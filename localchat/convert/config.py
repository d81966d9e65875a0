"""`config.json`: the shape of a model, with every number checked before anything is built on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from localchat.convert.numbers import LARGEST, positive, whole
from localchat.convert.rope import Rope, read_rope
from localchat.convert.schemes import already_quantized
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json

CONTEXT_LIMIT = 1 << 27
USUAL_VOCABULARY = 32_000


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of transformers: llama.cpp's architecture for it, and what its config means where it is silent."""

    architecture: Literal["llama", "mistral3"] = "llama"
    kv_heads: int | None = 8
    context: int = 131_072
    norm_epsilon: float = 1e-6
    rope_base: float = 10_000.0
    head_dim: int | None = None
    experts: tuple[int, int] = (0, 0)


# Defaults are those of transformers 5 (configuration_mistral.py and its siblings).
CLASSES = {
    "MistralForCausalLM": _Class(),
    "LlamaForCausalLM": _Class(kv_heads=None, context=2048),
    "LLaMAForCausalLM": _Class(kv_heads=None, context=2048),  # as the first conversions of Llama spelled it
    "MixtralForCausalLM": _Class(norm_epsilon=1e-5, rope_base=1_000_000.0, experts=(8, 2)),
    "Ministral3ForCausalLM": _Class("mistral3", context=262_144, norm_epsilon=1e-5, head_dim=128),
    "Mistral3ForConditionalGeneration": _Class("mistral3"),
}
QUANTIZED = ("quantization_config", "quantization", "compression_config")


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a Mistral-like model and the special token ids that its config names."""

    architecture: Literal["llama", "mistral3"]
    """llama.cpp's name."""
    layers: int
    hidden: int
    """Width of the residual stream."""
    feed_forward: int
    """Of one expert, where there are several."""
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    """Rows of the embedding, as far as the config knows; the embedding itself has the last word."""
    context: int
    """Tokens of context that the model was made for."""
    norm_epsilon: float
    rope: Rope
    tied: bool
    """Does the output share the weights of the embedding?"""
    token_ids: Mapping[str, tuple[int, ...]]
    """`bos`, `eos`, `unk` and `pad` where the config has them; several ids are several ways to end."""
    experts: int = 0
    experts_used: int = 0
    temperature_scale: float = 0.0
    """Ministral 3: how much attention sharpens with the position; 0 for others."""


def read_config(folder: Path) -> Config:
    """The config of a checkpoint folder. Raises LocalchatError for what is absent, unsupported or absurd."""
    path = folder / "config.json"
    if not path.is_file():
        raise LocalchatError(
            f"{folder} has no config.json, so it is not a checkpoint in the Hugging Face layout",
            "give a folder with config.json, a tokenizer and weights, or the name of a Hub repository",
        )
    return parse_config(read_json(path))


def parse_config(raw: Mapping[str, Any]) -> Config:
    """The config in parsed JSON. Raises LocalchatError like `read_config`."""
    name = _class_name(raw)
    own, raw = CLASSES[name], _of_text(raw)
    hidden, heads = whole(raw, "hidden_size"), whole(raw, "num_attention_heads", limit=1 << 12)
    kv_heads = whole(raw, "num_key_value_heads", default=_kv_heads(raw, own, heads), limit=heads)
    head_dim = whole(raw, "head_dim", default=own.head_dim or hidden // heads, limit=1 << 12)
    if heads % kv_heads or head_dim % 2:
        raise BadFile("config.json has head counts that do not divide", "ask the authors of the checkpoint")
    context = whole(raw, "max_position_embeddings", default=own.context, limit=CONTEXT_LIMIT)
    experts, used = _experts(raw, own)
    return Config(
        architecture=own.architecture,
        layers=whole(raw, "num_hidden_layers", limit=1 << 10),
        hidden=hidden,
        feed_forward=whole(raw, "intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=vocabulary_of(raw),
        context=context,
        norm_epsilon=positive(raw, "rms_norm_eps", own.norm_epsilon),
        rope=read_rope(raw, own.rope_base, context, is_ministral=raw.get("model_type") == "ministral3"),
        tied=raw.get("tie_word_embeddings") is True,
        token_ids=_token_ids(raw),
        experts=experts,
        experts_used=used,
        temperature_scale=_temperature_scale(raw),
    )


def _class_name(raw: Mapping[str, Any]) -> str:
    names = raw.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else "an unnamed one"
    if name not in CLASSES:
        raise LocalchatError(
            f"the architecture is {name[:80]}, which is not supported", f"supported are {', '.join(CLASSES)}"
        )
    for key in QUANTIZED:
        if raw.get(key):
            raise already_quantized(_scheme(raw[key]))
    return name


def _scheme(details: Any) -> str:
    method = details.get("quant_method") if isinstance(details, dict) else None
    return method[:40] if isinstance(method, str) else ""


def _of_text(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the language model, where a config describes a vision model as well."""
    nested = raw.get("text_config")
    raw = {**raw, **nested} if isinstance(nested, dict) else raw
    if raw.get("hidden_act", "silu") != "silu":
        name = str(raw["hidden_act"])[:40]
        raise LocalchatError(f"the model's activation is {name}, which is not supported", "choose another model")
    return raw


def _kv_heads(raw: Mapping[str, Any], own: _Class, heads: int) -> int:
    """An explicit null means as many as query heads; a key that is not there at all, what its class says."""
    return heads if "num_key_value_heads" in raw else min(own.kv_heads or heads, heads)


def vocabulary_of(raw: Mapping[str, Any]) -> int:
    """Rows of the embedding. Merged models carry wrong values, and Meta's own say -1; then the usual size stands in."""
    value = raw.get("vocab_size")
    return value if type(value) is int and 1 <= value <= LARGEST else USUAL_VOCABULARY


def _experts(raw: Mapping[str, Any], own: _Class) -> tuple[int, int]:
    if not own.experts[0]:
        return own.experts
    experts = whole(raw, "num_local_experts", default=own.experts[0], limit=256)
    return experts, whole(raw, "num_experts_per_tok", default=own.experts[1], limit=experts)


def _temperature_scale(raw: Mapping[str, Any]) -> float:
    nested = raw.get("rope_parameters")
    found = nested.get("llama_4_scaling_beta") if isinstance(nested, dict) else None
    return 0.0 if found is None else positive({"llama_4_scaling_beta": found}, "llama_4_scaling_beta")


def _token_ids(raw: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    found = {}
    for kind in ("bos", "eos", "unk", "pad"):
        value = raw.get(f"{kind}_token_id")
        values = value if isinstance(value, list) else [value]
        if ids := tuple(number for number in values[:64] if type(number) is int and number >= 0):
            found[kind] = ids
    return found
