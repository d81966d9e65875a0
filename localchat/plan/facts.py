"""The shape of a model that is already a file."""

from __future__ import annotations

from localchat.errors import BadFile
from localchat.gguf_file import ModelFile
from localchat.plan.plan import Candidate, Shape


def shape_of(model: ModelFile) -> Shape:
    """What memory depends on, from a header. Raises BadFile where the header leaves it out."""
    heads = _whole(model, "attention.head_count")
    return Shape(
        layers=_whole(model, "block_count"),
        kv_heads=_whole(model, "attention.head_count_kv", heads),
        head_dim=_whole(model, "attention.key_length", _whole(model, "embedding_length") // heads),
        feed_forward=_whole(model, "feed_forward_length"),
        vocabulary=_whole(model, "vocab_size", _length(model.metadata.get("tokenizer.ggml.tokens"))),
        context=_whole(model, "context_length"),
        parameters=model.parameters,
    )


def candidate_of(model: ModelFile) -> Candidate:
    """The one type that this file has."""
    return Candidate(model.quant, model.tensor_bytes)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _whole(model: ModelFile, key: str, default: int = 0) -> int:
    value = model.fact(key, default)
    if type(value) is not int or not 1 <= value <= 1 << 27:
        raise BadFile(f"{model.path.name} does not say its {key.replace('_', ' ')}", "convert or download it again")
    return value
