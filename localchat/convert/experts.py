"""Experts as transformers 5 keeps them: those of a layer in one tensor, gate above up. Here each gets its own again."""

from __future__ import annotations

import re
from dataclasses import replace

from localchat.convert.tensors import TensorRef

STACKED = re.compile(r"(?P<layer>.+\.)mlp\.experts\.(?P<kind>gate_up_proj|down_proj)(\.weight)?")
ROUTER = re.compile(r"(?P<layer>.+\.)mlp\.gate\.weight")
EXPERTS_LIMIT = 256  # as in the config: every one costs memory before its shape is looked at
PARTS = {"gate_up_proj": ("w1", "w3"), "down_proj": ("w2",)}


def split_experts(ref: TensorRef) -> list[TensorRef]:
    """A tensor of shape (experts, rows, columns) as one of each expert and part; any other as it is."""
    if match := ROUTER.fullmatch(ref.name):
        return [replace(ref, name=f"{match['layer']}block_sparse_moe.gate.weight")]
    match = STACKED.fullmatch(ref.name)
    if match is None or len(ref.shape) != 3 or 0 in ref.shape or ref.strides is not None:
        return [ref]
    parts = PARTS[match["kind"]]
    experts, rows, columns = ref.shape
    if rows % len(parts) or experts > EXPERTS_LIMIT:
        return [ref]
    step = (ref.end - ref.start) // (experts * len(parts))
    return [
        TensorRef(
            f"{match['layer']}block_sparse_moe.experts.{number // len(parts)}.{parts[number % len(parts)]}.weight",
            ref.dtype, (rows // len(parts), columns), ref.file,
            ref.start + number * step, ref.start + (number + 1) * step,
        )
        for number in range(experts * len(parts))
    ]  # fmt: skip
