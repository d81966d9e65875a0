"""The order of a conversion: pieces of tensors in the order in which their weights lie, or arrive.

An expert of a Mixtral is a piece of its own. The three matrices of an expert lie side by side, so that whole tensors,
which have all experts of one matrix, would need a whole layer in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localchat.convert.layout import Layout, TensorPlan
from localchat.convert.tensors import TensorRef
from localchat.convert.weights import Stacked, Weights


@dataclass(frozen=True, slots=True)
class Step:
    """Rows of one tensor that are made from the same stored tensors."""

    tensor: TensorPlan
    first: int
    last: int
    """Behind the last row."""
    refs: tuple[TensorRef, ...]
    releases: tuple[tuple[Path, int | None], ...] = ()
    """Up to which byte these files are not read any more once it is done; None stands for the whole file."""

    @property
    def source_bytes(self) -> int:
        """Bytes of the checkpoint that it is made from."""
        return sum(ref.end - ref.start for ref in self.refs)


def steps(plan: Layout) -> tuple[Step, ...]:
    """All pieces of a model file."""
    order = {path: number for number, path in enumerate(plan.inputs)}
    pieces = [piece for tensor in plan.tensors for piece in _pieces(tensor)]
    pieces.sort(key=lambda piece: (_arrival(piece, order), piece.tensor.offset, piece.first))
    return tuple(reversed(list(_with_releases(reversed(pieces)))))


def _pieces(tensor: TensorPlan) -> Iterator[Step]:
    first = 0
    parts: Sequence[Weights] = tensor.weights.parts if isinstance(tensor.weights, Stacked) else (tensor.weights,)
    for part in parts:
        yield Step(tensor, first, first + part.shape[0], part.refs)
        first += part.shape[0]


def _arrival(piece: Step, order: Mapping[Path, int]) -> tuple[int, int]:
    """When the last of its weights is there."""
    return max(((order[ref.file], ref.end) for ref in piece.refs), default=(-1, 0))


def _with_releases(backwards: Iterator[Step]) -> Iterator[Step]:
    needed: dict[Path, int] = {}
    for piece in backwards:
        files = dict.fromkeys(ref.file for ref in piece.refs)
        yield replace(piece, releases=tuple((file, needed.get(file)) for file in files))
        for ref in piece.refs:
            needed[ref.file] = min(ref.start, needed.get(ref.file, ref.start))
