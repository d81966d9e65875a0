"""The metadata of a model file, key by key as llama.cpp's converter writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gguf.constants import GGUFValueType as Kind

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.config import Config
from localchat.convert.header import Array, Metadata
from localchat.convert.imatrix import Imatrix
from localchat.convert.recipe import file_type_number
from localchat.convert.template import Templates
from localchat.convert.tokenizer.vocab import Vocab

QUANTIZATION_VERSION = 2
UNQUANTIZED = ("F32", "F16", "BF16")
# generation_config.json's name, the name in the model file, its kind
SAMPLING = (
    ("top_k", "top_k", Kind.INT32),
    ("top_p", "top_p", Kind.FLOAT32),
    ("min_p", "min_p", Kind.FLOAT32),
    ("temperature", "temp", Kind.FLOAT32),
    ("repetition_penalty", "penalty_repeat", Kind.FLOAT32),
)
SENSIBLE = 1e9  # a setting beyond it is no setting
ID_KEYS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "eot": "eot", "eom": "eom"}


def metadata(checkpoint: Checkpoint, file: str, imatrix: Imatrix | None = None) -> Metadata:
    """All keys and values of a model file of the type `file` made from this checkpoint."""
    return {
        "general.architecture": (Kind.STRING, checkpoint.config.architecture),
        "general.type": (Kind.STRING, "model"),
        "general.name": (Kind.STRING, checkpoint.name),
        **type_metadata(file, imatrix),
        **_sampling(checkpoint.sampling),
        **shape_metadata(checkpoint.config),
        **_tokenizer(checkpoint.vocab, checkpoint.templates),
    }


def shape_metadata(config: Config) -> Metadata:
    """What the header says of the model's shape."""
    return {**_shape(config), **_rope(config)}


def type_metadata(file: str, imatrix: Imatrix | None = None) -> Metadata:
    """What the header says of how the whole file was quantized."""
    found: dict[str, tuple[Kind, Any]] = {"general.file_type": (Kind.UINT32, int(file_type_number(file)))}
    if file not in UNQUANTIZED:
        found["general.quantization_version"] = (Kind.UINT32, QUANTIZATION_VERSION)
    for key, value in (imatrix.metadata if imatrix else {}).items():
        found[key] = (Kind.STRING if isinstance(value, str) else Kind.UINT32, value)
    return found


def _sampling(advice: Mapping[str, Any]) -> Metadata:
    found: dict[str, tuple[Kind, Any]] = {}
    for source, key, kind in SAMPLING:
        value = advice.get(source)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < SENSIBLE:
            found[f"general.sampling.{key}"] = (kind, int(value) if kind == Kind.INT32 else float(value))
    return found


def _shape(config: Config) -> Metadata:
    whole = {
        "block_count": config.layers,
        "context_length": config.context,
        "embedding_length": config.hidden,
        "feed_forward_length": config.feed_forward,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocabulary,
    }
    if config.experts:
        whole |= {"expert_count": config.experts, "expert_used_count": config.experts_used}
    found: dict[str, tuple[Kind, Any]] = {key: (Kind.UINT32, value) for key, value in whole.items()}
    found["attention.layer_norm_rms_epsilon"] = (Kind.FLOAT32, config.norm_epsilon)
    if config.temperature_scale:
        found["attention.temperature_scale"] = (Kind.FLOAT32, config.temperature_scale)
    return {f"{config.architecture}.{key}": value for key, value in found.items()}


def _rope(config: Config) -> Metadata:
    rope = config.rope
    found: dict[str, tuple[Kind, Any]] = {"freq_base": (Kind.FLOAT32, rope.base)}
    if rope.scaling in ("linear", "yarn"):
        found["scaling.type"] = (Kind.STRING, rope.scaling)
        found |= {f"scaling.{key}": (Kind.FLOAT32, value) for key, value in rope.numbers}
    if rope.scaling == "yarn":
        found["scaling.original_context_length"] = (Kind.UINT32, rope.original_context)
    return {f"{config.architecture}.rope.{key}": value for key, value in found.items()}


def _scores(vocab: Vocab) -> Array:
    """Byte-level vocabularies have none; where llama.cpp's converter writes some, they are whole zeros."""
    return Array(Kind.FLOAT32 if vocab.model == "llama" else Kind.INT32, vocab.scores)


def _tokenizer(vocab: Vocab, templates: Templates) -> Metadata:
    found: dict[str, tuple[Kind, Any]] = {
        "tokenizer.ggml.model": (Kind.STRING, vocab.model),
        "tokenizer.ggml.pre": (Kind.STRING, vocab.pre),
        "tokenizer.ggml.tokens": (Kind.ARRAY, Array(Kind.STRING, vocab.texts)),
        "tokenizer.ggml.scores": (Kind.ARRAY, _scores(vocab)),
        "tokenizer.ggml.token_type": (Kind.ARRAY, Array(Kind.INT32, vocab.types)),
        "tokenizer.ggml.merges": (Kind.ARRAY, Array(Kind.STRING, vocab.merges)),
        "tokenizer.chat_templates": (Kind.ARRAY, Array(Kind.STRING, sorted(templates.named))),
    }
    found = {key: (kind, value) for key, (kind, value) in found.items() if not isinstance(value, Array) or value.values}
    for kind, key in ID_KEYS.items():
        if kind in vocab.special:
            found[f"tokenizer.ggml.{key}_token_id"] = (Kind.UINT32, vocab.special[kind])
    for kind, value in vocab.adds.items():
        found[f"tokenizer.ggml.add_{kind}_token"] = (Kind.BOOL, value)
    if vocab.space_prefix is not None:
        found["tokenizer.ggml.add_space_prefix"] = (Kind.BOOL, vocab.space_prefix)
    if templates.default is not None:
        found["tokenizer.chat_template"] = (Kind.STRING, templates.default)
    return found | {f"tokenizer.chat_template.{name}": (Kind.STRING, text) for name, text in templates.named.items()}
