"""The shape of a model that is already a file."""

from __future__ import annotations

from localchat.gguf_file import ModelFile
from localchat.plan.plan import Candidate, Shape


def shape_of(model: ModelFile) -> Shape:
    """What memory depends on, from a header. Raises BadFile where the header leaves it out."""
    heads = model.whole("attention.head_count")
    return Shape(
        layers=model.whole("block_count"),
        kv_heads=model.whole("attention.head_count_kv", heads),
        head_dim=model.whole("attention.key_length", model.whole("embedding_length") // heads),
        feed_forward=model.whole("feed_forward_length"),
        vocabulary=model.whole("vocab_size", _length(model.metadata.get("tokenizer.ggml.tokens"))),
        context=model.whole("context_length"),
        parameters=model.parameters,
    )


def candidate_of(model: ModelFile) -> Candidate:
    """The one type that this file has."""
    return Candidate(model.quant, model.tensor_bytes)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
