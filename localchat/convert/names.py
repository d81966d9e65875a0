"""What a model of some shape consists of: the tensors of the model file and where each comes from.

Names of the checkpoint are those of Hugging Face's layout, names of the model file are llama.cpp's `llama`
architecture (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#standardized-tensor-names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localchat.convert.config import Config
from localchat.convert.tensors import TensorRef
from localchat.errors import BadFile


@dataclass(frozen=True, slots=True)
class Target:
    """One tensor to write: `shape` as in the checkpoint, (rows, columns) or (columns,)."""

    name: str
    source: str
    shape: tuple[int, ...]
    rope_heads: int = 0
    """Number of heads whose rows change from Hugging Face's rotary order to llama.cpp's; 0 keeps the rows."""

    @property
    def rows(self) -> int:
        """Number of rows; a vector is one row."""
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def columns(self) -> int:
        """Length of a row."""
        return self.shape[-1]


# name in the model file, name in the checkpoint, shape in the terms of `_dimensions`, whose heads rotate
LAYER = (
    ("attn_norm", "input_layernorm", ("hidden",), None),
    ("attn_q", "self_attn.q_proj", ("query", "hidden"), "heads"),
    ("attn_k", "self_attn.k_proj", ("kv", "hidden"), "kv_heads"),
    ("attn_v", "self_attn.v_proj", ("kv", "hidden"), None),
    ("attn_output", "self_attn.o_proj", ("hidden", "query"), None),
    ("ffn_norm", "post_attention_layernorm", ("hidden",), None),
    ("ffn_gate", "mlp.gate_proj", ("ffn", "hidden"), None),
    ("ffn_up", "mlp.up_proj", ("ffn", "hidden"), None),
    ("ffn_down", "mlp.down_proj", ("hidden", "ffn"), None),
)
# Buffers that old versions of transformers saved; they follow from the config.
USELESS = re.compile(r".*\.(rotary_emb\.inv_freq|attention\.(masked_)?bias|attn\.bias)|rope\.freqs")


def targets(config: Config) -> list[Target]:
    """Every tensor of a model of this shape, in llama.cpp's usual order."""
    size = _dimensions(config)
    vocabulary = (size["vocabulary"], size["hidden"])
    found = [Target("token_embd.weight", "model.embed_tokens.weight", vocabulary)]
    for layer in range(config.layers):
        found += [
            Target(
                f"blk.{layer}.{name}.weight",
                f"model.layers.{layer}.{source}.weight",
                tuple(size[dimension] for dimension in shape),
                size[rotating] if rotating else 0,
            )
            for name, source, shape, rotating in LAYER
        ]
    found.append(Target("output_norm.weight", "model.norm.weight", (size["hidden"],)))
    if not config.tied:
        found.append(Target("output.weight", "lm_head.weight", vocabulary))
    return found


def matched(wanted: list[Target], present: Mapping[str, TensorRef]) -> list[tuple[Target, TensorRef]]:
    """Each target with its tensor. Raises BadFile where one is missing, has another shape, or is of no use."""
    for target in wanted:
        ref = present.get(target.source)
        if ref is None:
            raise BadFile(f"the tensor {target.source} is missing from the checkpoint", "download the checkpoint again")
        if ref.shape != target.shape or ref.dtype not in ("F32", "F16", "BF16"):
            raise BadFile(
                f"the tensor {target.source} is {ref.dtype} {ref.shape} where config.json says {target.shape}",
                "the checkpoint and its config.json do not belong together",
            )
    extra = sorted(present.keys() - {target.source for target in wanted} - {"lm_head.weight"})
    extra = [name for name in extra if not USELESS.fullmatch(name)]
    if extra:
        raise BadFile(
            f"the checkpoint has {len(extra)} tensors that its architecture has not, such as {extra[0]}",
            "it is not the plain model that its config.json describes",
        )
    return [(target, present[target.source]) for target in wanted]


def rotary_order(rows: int, heads: int) -> NDArray[np.intp]:
    """Source row of each row: Hugging Face keeps a head's rotary pairs as two halves (a a b b), llama.cpp a b a b."""
    halves = np.arange(rows, dtype=np.intp).reshape(heads, 2, -1)
    return halves.swapaxes(1, 2).reshape(-1)


def _dimensions(config: Config) -> dict[str, int]:
    return {
        "hidden": config.hidden,
        "query": config.heads * config.head_dim,
        "kv": config.kv_heads * config.head_dim,
        "ffn": config.feed_forward,
        "vocabulary": config.vocabulary,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
    }
