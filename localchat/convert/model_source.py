"""A model file as the source of another one: quantized anew, with everything else as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gguf.constants import GGMLQuantizationType

from localchat.convert.header import Encoded, Metadata
from localchat.convert.imatrix import Imatrix
from localchat.convert.layout import Layout, arrange
from localchat.convert.metadata import type_metadata
from localchat.convert.names import Target
from localchat.convert.recipe import Facts
from localchat.convert.tensors import TensorRef
from localchat.convert.weights import Packed, Weights
from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile, Tensor, read_header

Type = GGMLQuantizationType
PRECISE = (Type.F32, Type.F16, Type.BF16, Type.Q8_0)
NO_WEIGHTS = (Type.I8, Type.I16, Type.I32, Type.I64, Type.F64, Type.Q8_1, Type.Q8_K)  # ggml makes no floats of them
LIMIT = 1 << 16  # of layers, heads and experts
ARCHITECTURES = ("llama", "mistral3")
DROPPED = ("split.", "quantize.imatrix.", "general.alignment")  # true of the old file only


def requantized(path: Path, file: str, imatrix: Imatrix | None = None, *, allow_low_bits: bool = False) -> Layout:
    """The layout of the model of another file in the type `file`.

    Raises LocalchatError where the file is quantized to few bits already and that is not allowed, where it is a part
    of a model, or where its architecture has mixing rules that are not known here.
    """
    model = read_header(path)
    _check(model, allow_low_bits)
    return arrange(_tensors(model), _metadata(model, file, imatrix), file, facts_of(model), [path], imatrix)


def _check(model: ModelFile, allow_low_bits: bool) -> None:
    name = model.path.name
    if model.architecture not in ARCHITECTURES:
        raise LocalchatError(
            f"{name} is of the architecture {model.architecture[:40]}, which cannot be quantized anew here",
            f"supported are {' and '.join(ARCHITECTURES)}",
        )
    if not model.tensors or model.metadata.get("split.count", 1) not in (0, 1):
        raise LocalchatError(f"{name} is only a part of a model", "install it, which joins them: localchat pull PATH")
    types = {tensor.type for tensor in model.tensors}
    if strange := sorted(kind.name for kind in types.intersection(NO_WEIGHTS)):
        raise LocalchatError(f"{name} has tensors of the type {strange[0]}, which is none of weights", "take another")
    if not types.issubset(PRECISE) and not allow_low_bits:
        raise LocalchatError(
            f"{name} is quantized already ({model.quant}), so quantizing it again loses more than it should",
            "take a file in F16, BF16, F32 or Q8_0, or insist with --allow-requantize",
        )


def facts_of(model: ModelFile) -> Facts:
    """What the mixing rules look at, from a header. Raises BadFile where it is not there."""
    heads = model.whole("attention.head_count", limit=LIMIT)
    return Facts(
        layers=model.whole("block_count", limit=LIMIT),
        heads=heads,
        kv_heads=model.whole("attention.head_count_kv", heads, limit=LIMIT),
        experts=model.whole("expert_count", limit=LIMIT) if model.fact("expert_count", 0) else 0,
        tied=all(tensor.name != "output.weight" for tensor in model.tensors),
        architecture=model.architecture,
    )


def _tensors(model: ModelFile) -> Sequence[tuple[Target, Weights]]:
    return [(Target(tensor.name, _shape(tensor)), _packed(model, tensor)) for tensor in model.tensors]


def _packed(model: ModelFile, tensor: Tensor) -> Packed:
    start = model.data_offset + tensor.offset
    ref = TensorRef(tensor.name, f"ggml {tensor.type.name}", _shape(tensor), model.path, start, start + tensor.bytes)
    return Packed(ref, tensor.type)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tensor.dimensions[::-1]


def _metadata(model: ModelFile, file: str, imatrix: Imatrix | None) -> Metadata:
    with model.path.open("rb") as source:
        kept: dict[str, Encoded] = {}
        for key, (start, end) in model.spans.items():
            if not key.startswith(DROPPED):
                source.seek(start)
                kept[key] = Encoded(source.read(end - start))
    return {**kept, **type_metadata(file, imatrix)}
