"""The metadata of a model file, key by key as llama.cpp's converter writes it."""

from __future__ import annotations

from typing import Any

from gguf.constants import GGUFValueType as Kind

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.header import Array, Metadata
from localchat.convert.recipe import file_type_number
from localchat.convert.vocab import Vocab

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
ID_KEYS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "eot": "eot"}


def metadata(checkpoint: Checkpoint, file: str) -> Metadata:
    """All keys and values of a model file of the type `file` made from this checkpoint."""
    return {**_general(checkpoint, file), **_shape(checkpoint), **_tokenizer(checkpoint.vocab, checkpoint.template)}


def _general(checkpoint: Checkpoint, file: str) -> Metadata:
    found: dict[str, tuple[Kind, Any]] = {
        "general.architecture": (Kind.STRING, "llama"),
        "general.type": (Kind.STRING, "model"),
        "general.name": (Kind.STRING, checkpoint.name),
        "general.file_type": (Kind.UINT32, int(file_type_number(file))),
    }
    if file not in UNQUANTIZED:
        found["general.quantization_version"] = (Kind.UINT32, QUANTIZATION_VERSION)
    for source, key, kind in SAMPLING:
        value = checkpoint.sampling.get(source)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < SENSIBLE:
            found[f"general.sampling.{key}"] = (kind, int(value) if kind == Kind.INT32 else float(value))
    return found


def _shape(checkpoint: Checkpoint) -> Metadata:
    config = checkpoint.config
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
    return {
        **{f"llama.{key}": (Kind.UINT32, value) for key, value in whole.items()},
        "llama.rope.freq_base": (Kind.FLOAT32, config.rope_base),
        "llama.attention.layer_norm_rms_epsilon": (Kind.FLOAT32, config.norm_epsilon),
    }


def _tokenizer(vocab: Vocab, template: str | None) -> Metadata:
    found: dict[str, tuple[Kind, Any]] = {
        "tokenizer.ggml.model": (Kind.STRING, "llama"),
        "tokenizer.ggml.pre": (Kind.STRING, "default"),
        "tokenizer.ggml.tokens": (Kind.ARRAY, Array(Kind.STRING, vocab.texts)),
        "tokenizer.ggml.scores": (Kind.ARRAY, Array(Kind.FLOAT32, vocab.scores)),
        "tokenizer.ggml.token_type": (Kind.ARRAY, Array(Kind.INT32, vocab.types)),
    }
    for kind, key in ID_KEYS.items():
        if kind in vocab.special:
            found[f"tokenizer.ggml.{key}_token_id"] = (Kind.UINT32, vocab.special[kind])
    for kind, value in vocab.adds.items():
        found[f"tokenizer.ggml.add_{kind}_token"] = (Kind.BOOL, value)
    if vocab.space_prefix is not None:
        found["tokenizer.ggml.add_space_prefix"] = (Kind.BOOL, vocab.space_prefix)
    if template is not None:
        found["tokenizer.chat_template"] = (Kind.STRING, template)
    return found
