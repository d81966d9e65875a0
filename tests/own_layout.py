"""The small checkpoint in Mistral's and Meta's own layout, and what a checkpoint's weights come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiny import Weights, shard, tokenizer

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.inputs import MappedInputs

PARAMS: dict[str, Any] = {
    "dim": 64, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 32, "hidden_dim": 96, "vocab_size": 9,
    "norm_eps": 1e-5, "rope_theta": 10000.0,
}  # fmt: skip
NAMES = {
    "model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output", "model.layers": "layers",
    "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
    "block_sparse_moe": "feed_forward",
}  # fmt: skip


def in_pairs(weights: NDArray[Any], heads: int) -> NDArray[Any]:
    """Queries or keys of Hugging Face's layout, the first axis, as Mistral, Meta and llama.cpp have them."""
    halves = weights.reshape(heads, 2, -1, *weights.shape[1:])
    return np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(weights.shape)


def own_layout(weights: Weights, heads: int = 2, kv_heads: int = 1) -> Weights:
    """The weights under the names and in the rotary order of Mistral's own files."""
    found = {}
    for name, array in weights.items():
        for theirs, own in NAMES.items():
            name = name.replace(theirs, own)
        rotating = heads if ".wq." in name else kv_heads if ".wk." in name else 0
        found[name] = in_pairs(array, rotating) if rotating else array
    return found


def consolidated(folder: Path, slices: Sequence[Weights], **params: Any) -> Path:
    """A checkpoint folder in Mistral's own layout, of one file for each slice."""
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(tokenizer())
    (folder / "params.json").write_text(json.dumps({k: v for k, v in (PARAMS | params).items() if v is not ...}))
    for number, tensors in enumerate(slices):
        name = "consolidated.safetensors" if len(slices) == 1 else f"consolidated.{number:02}.safetensors"
        (folder / name).write_bytes(shard(tensors))
    return folder


def values(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the model that a checkpoint becomes, as float32 in its own shape."""
    inputs = MappedInputs(checkpoint.files)
    return {
        target.name: weights.read(inputs, np.arange(target.rows)).reshape(target.shape)
        for target, weights in checkpoint.tensors
    }


def same(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]) -> None:
    """Both must have the same tensors, weight for weight."""
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
