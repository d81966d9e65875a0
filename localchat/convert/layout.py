"""A model file before it is written: every byte has its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf.constants import GGMLQuantizationType

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.header import Metadata, TensorEntry, aligned, encode
from localchat.convert.imatrix import Imatrix, importance
from localchat.convert.metadata import metadata
from localchat.convert.names import Target
from localchat.convert.recipe import Facts, facts_of, tensor_type
from localchat.convert.weights import Weights
from localchat.llama.quantize import Floats, row_bytes


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the model file, how its weights come about, and where it goes."""

    target: Target
    weights: Weights
    type: GGMLQuantizationType
    offset: int
    bytes: int
    importance: Floats | None = None
    """Of each column, shape (experts, columns), where an importance matrix knows the tensor."""

    @property
    def source_bytes(self) -> int:
        """Bytes of the checkpoint that it is made from."""
        return sum(ref.end - ref.start for ref in self.weights.refs)


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole model file: header and tensors in the order in which they are written."""

    header: bytes
    tensors: tuple[TensorPlan, ...]
    inputs: tuple[Path, ...]

    @property
    def types(self) -> dict[str, str]:
        """Type of each tensor, by name."""
        return {plan.target.name: plan.type.name for plan in self.tensors}

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        last = self.tensors[-1]
        return len(self.header) + aligned(last.offset + last.bytes)

    @property
    def source_bytes(self) -> int:
        """Bytes of the checkpoint that are read."""
        return sum(plan.source_bytes for plan in self.tensors)


def layout(checkpoint: Checkpoint, file: str, imatrix: Imatrix | None = None) -> Layout:
    """The model file of the type `file` that a checkpoint becomes. Raises LocalchatError like `arrange`."""
    return arrange(
        checkpoint.tensors,
        metadata(checkpoint, file, imatrix),
        file,
        facts_of(checkpoint.config),
        checkpoint.files,
        imatrix,
    )


def arrange(
    tensors: Sequence[tuple[Target, Weights]],
    metadata: Metadata,
    file: str,
    facts: Facts,
    inputs: Sequence[Path],
    imatrix: Imatrix | None = None,
) -> Layout:
    """Where every byte of a model file of the type `file` goes.

    Tensors are written in the order in which they lie in the checkpoint, so that a disk reads forward only.
    Raises LocalchatError where the type needs an importance matrix that is not there or does not fit.
    """
    plans, offset = [], 0
    for target, weights in sorted(tensors, key=_place):
        kind = tensor_type(file, target.name, target.shape, facts, has_imatrix=imatrix is not None)
        count = row_bytes(kind, target.columns) * target.rows
        matters = importance(imatrix, file, target.name, kind, target.shape)
        plans.append(TensorPlan(target, weights, kind, offset, count, matters))
        offset = aligned(offset + count)
    entries = [TensorEntry(plan.target.name, plan.type, plan.target.shape, plan.offset) for plan in plans]
    return Layout(encode(metadata, entries), tuple(plans), tuple(inputs))


def _place(pair: tuple[Target, Weights]) -> tuple[str, int]:
    refs = pair[1].refs
    return (refs[0].file.name, refs[0].start) if refs else ("", 0)
