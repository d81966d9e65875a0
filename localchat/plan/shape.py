"""What a model consists of, as far as its memory goes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

Kinds = Mapping[str, int]
"""Bytes by the name of their type, such as `Q4_K`."""
OF_LAYER = re.compile(r"blk\.(\d{1,4})\.(\w+)\..*")


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on besides the type of the weights."""

    architecture: str
    """llama.cpp's name of it."""
    layers: int
    hidden: int
    """Width of the residual stream."""
    feed_forward: int
    """Of one expert, where there are several."""
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    """Tokens that the model was made for."""
    parameters: int
    """Number of weights."""
    experts: int = 0
    """Of a layer; 0 in a dense model."""
    experts_used: int = 0
    """For one token."""

    @property
    def identity(self) -> str:
        """The same for all models whose work buffers are the same."""
        return " ".join(
            str(getattr(self, field.name)) for field in fields(self) if field.name not in ("context", "parameters")
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A type that the model could have, or has, and the bytes of its parts."""

    quant: str
    layer_bytes: tuple[int, ...]
    """Of each layer, without its experts."""
    expert_bytes: tuple[int, ...]
    """Of each layer's experts together; zeros in a dense model."""
    output_bytes: int
    """The output and the norm before it."""
    embedding_bytes: int
    """The token embedding, which llama.cpp keeps in main memory, and what belongs to no layer."""
    is_tied: bool
    """Does the embedding serve as the output too? A device that computes the output then has it once more."""
    layer_kinds: tuple[Kinds, ...]
    """The same bytes of each layer by their types."""
    expert_kinds: tuple[Kinds, ...]
    output_kinds: Kinds
    """Of what is multiplied to get the logits, the embedding if that is it."""

    @property
    def weights_bytes(self) -> int:
        """All parts together."""
        return sum(self.layer_bytes) + sum(self.expert_bytes) + self.output_bytes + self.embedding_bytes


def candidate(quant: str, layers: int, tensors: Iterable[tuple[str, str, int]]) -> Candidate:
    """The parts of a model of this type from the name, type and bytes of each of its tensors."""
    dense: list[Counter[str]] = [Counter() for _ in range(layers)]
    experts: list[Counter[str]] = [Counter() for _ in range(layers)]
    output, embedding = Counter[str](), Counter[str]()
    norm_bytes = 0
    for name, kind, count in tensors:
        match = OF_LAYER.fullmatch(name)
        if match and int(match[1]) < layers:
            (experts if match[2].endswith("_exps") else dense)[int(match[1])][kind] += count
        elif name == "output_norm.weight":
            norm_bytes += count
        else:
            (output if name.startswith("output.") else embedding)[kind] += count
    return Candidate(
        quant=quant,
        layer_bytes=tuple(counts.total() for counts in dense),
        expert_bytes=tuple(counts.total() for counts in experts),
        output_bytes=output.total() + norm_bytes,
        embedding_bytes=embedding.total(),
        is_tied=not output,
        layer_kinds=tuple(dense),
        expert_kinds=tuple(experts),
        output_kinds=output or embedding,
    )
