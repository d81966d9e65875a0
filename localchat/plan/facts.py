"""The shape and the parts of a model that is already a file."""

from __future__ import annotations

from contextlib import nullcontext

from localchat.gguf_file import ModelFile
from localchat.plan.shape import Candidate, Shape, candidate
from localchat.plan.works import Subject

LAYERS_LIMIT = 512  # LLAMA_MAX_LAYERS


def shape_of(model: ModelFile) -> Shape:
    """What memory depends on, from a header. Raises BadFile where the header leaves it out."""
    heads, hidden = model.whole("attention.head_count"), model.whole("embedding_length")
    experts = bool(model.fact("expert_count"))
    return Shape(
        architecture=model.architecture,
        layers=_layers(model),
        hidden=hidden,
        feed_forward=model.whole("feed_forward_length"),
        heads=heads,
        kv_heads=model.whole("attention.head_count_kv", heads),
        head_dim=model.whole("attention.key_length", hidden // heads),
        vocabulary=model.whole("vocab_size", _length(model.metadata.get("tokenizer.ggml.tokens"))),
        context=model.whole("context_length"),
        parameters=model.parameters,
        experts=model.whole("expert_count") if experts else 0,
        experts_used=model.whole("expert_used_count") if experts else 0,
    )


def subject_of(model: ModelFile) -> Subject:
    """What a plan needs of a model file. Raises BadFile like `shape_of`."""
    return Subject(shape_of(model), (candidate_of(model),), lambda _quant: nullcontext(model.path))


def candidate_of(model: ModelFile) -> Candidate:
    """The one type that this file has."""
    tensors = ((tensor.name, tensor.type.name, tensor.bytes) for tensor in model.tensors)
    return candidate(model.quant, _layers(model), tensors)


def _layers(model: ModelFile) -> int:
    return model.whole("block_count", limit=LAYERS_LIMIT)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
