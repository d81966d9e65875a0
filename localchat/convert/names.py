"""What a model of some shape consists of: the tensors of the model file, and what checkpoints call them.

Names of the model file are llama.cpp's (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), those of
checkpoints Hugging Face's and, in `consolidated` files, Mistral's own. Mixtral's w1 is the gate, w2 down, w3 up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from localchat.convert.config import Config

Naming = Literal["huggingface", "consolidated"]


@dataclass(frozen=True, slots=True)
class Target:
    """One tensor to write: `shape` is (columns,), (rows, columns) or (experts, rows, columns)."""

    name: str
    shape: tuple[int, ...]
    rope_heads: int = 0
    """Number of heads whose rows Hugging Face keeps in another rotary order than llama.cpp; 0 for most tensors."""
    sources: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """What its parts are called by Hugging Face and by Mistral: one name, or one for each expert."""

    @property
    def rows(self) -> int:
        """Number of rows of all experts together; a vector is one row."""
        rows = 1
        for length in self.shape[:-1]:
            rows *= length
        return rows

    @property
    def columns(self) -> int:
        """Length of a row."""
        return self.shape[-1]

    @property
    def matrix_rows(self) -> int:
        """Rows of one expert."""
        return self.shape[-2] if len(self.shape) > 1 else 1

    def named(self, naming: Naming) -> tuple[str, ...]:
        """The names of its parts in a checkpoint of this kind."""
        return self.sources[0 if naming == "huggingface" else 1]


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the tables: name here, at Hugging Face, at Mistral; shape in the terms of `_sizes`."""

    name: str
    huggingface: str
    consolidated: str
    shape: tuple[str, ...]
    rotates: str = ""


ATTENTION = (
    _Row("attn_norm.weight", "input_layernorm.weight", "attention_norm.weight", ("hidden",)),
    _Row("attn_q.weight", "self_attn.q_proj.weight", "attention.wq.weight", ("query", "hidden"), "heads"),
    _Row("attn_k.weight", "self_attn.k_proj.weight", "attention.wk.weight", ("kv", "hidden"), "kv_heads"),
    _Row("attn_v.weight", "self_attn.v_proj.weight", "attention.wv.weight", ("kv", "hidden")),
    _Row("attn_output.weight", "self_attn.o_proj.weight", "attention.wo.weight", ("hidden", "query")),
    _Row("ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight", ("hidden",)),
)
BIASES = (
    _Row("attn_q.bias", "self_attn.q_proj.bias", "attention.wq.bias", ("query",), "heads"),
    _Row("attn_k.bias", "self_attn.k_proj.bias", "attention.wk.bias", ("kv",), "kv_heads"),
    _Row("attn_v.bias", "self_attn.v_proj.bias", "attention.wv.bias", ("kv",)),
    _Row("attn_output.bias", "self_attn.o_proj.bias", "attention.wo.bias", ("hidden",)),
    _Row("ffn_gate.bias", "mlp.gate_proj.bias", "feed_forward.w1.bias", ("ffn",)),
    _Row("ffn_up.bias", "mlp.up_proj.bias", "feed_forward.w3.bias", ("ffn",)),
    _Row("ffn_down.bias", "mlp.down_proj.bias", "feed_forward.w2.bias", ("hidden",)),
)
DENSE = (
    _Row("ffn_gate.weight", "mlp.gate_proj.weight", "feed_forward.w1.weight", ("ffn", "hidden")),
    _Row("ffn_up.weight", "mlp.up_proj.weight", "feed_forward.w3.weight", ("ffn", "hidden")),
    _Row("ffn_down.weight", "mlp.down_proj.weight", "feed_forward.w2.weight", ("hidden", "ffn")),
)
_HF, _OWN = "block_sparse_moe.experts.*", "feed_forward.experts.*"  # the star stands for the number of the expert
EXPERTS = (
    _Row("ffn_gate_inp.weight", "block_sparse_moe.gate.weight", "feed_forward.gate.weight", ("experts", "hidden")),
    _Row("ffn_gate_exps.weight", f"{_HF}.w1.weight", f"{_OWN}.w1.weight", ("experts", "ffn", "hidden")),
    _Row("ffn_up_exps.weight", f"{_HF}.w3.weight", f"{_OWN}.w3.weight", ("experts", "ffn", "hidden")),
    _Row("ffn_down_exps.weight", f"{_HF}.w2.weight", f"{_OWN}.w2.weight", ("experts", "hidden", "ffn")),
)
EMBEDDING = _Row("token_embd.weight", "model.embed_tokens.weight", "tok_embeddings.weight", ("vocabulary", "hidden"))
FINAL_NORM = _Row("output_norm.weight", "model.norm.weight", "norm.weight", ("hidden",))
OUTPUT = _Row("output.weight", "lm_head.weight", "output.weight", ("vocabulary", "hidden"))
ROPE_FACTORS = "rope_freqs.weight"

# Buffers that old versions of transformers saved and follow from the config, and the parts of a model that sees.
USELESS = re.compile(
    r".*\.(rotary_emb\.inv_freq|(attention|attn|self_attn)\.(masked_)?bias)|rope\.freqs"
    r"|(model\.)?(vision_tower|vision_encoder|vision_language_adapter|multi_modal_projector|patch_merger"
    r"|pre_mm_projector_norm)\..*"
)
PREFIXES = (
    ("language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.lm_head", "lm_head"),
)
BARE = ("layers.", "embed_tokens.", "norm.")  # a model saved without its head


def targets(config: Config) -> list[Target]:
    """Every tensor that a model of this shape must have, in llama.cpp's usual order."""
    sizes = _sizes(config)
    found = [_target(EMBEDDING, sizes)]
    if config.rope.scaling == "llama3":
        found.append(Target(ROPE_FACTORS, (config.head_dim // 2,)))
    layer = (*ATTENTION, *(EXPERTS if config.experts else DENSE))
    for number in range(config.layers):
        found += [_target(row, sizes, number) for row in layer]
    found.append(_target(FINAL_NORM, sizes))
    return found if config.tied else [*found, _target(OUTPUT, sizes)]


def biases(config: Config) -> list[Target]:
    """Every bias that a model of this shape may have; which of them it has, its weights show."""
    sizes = _sizes(config)
    return [_target(row, sizes, number) for number in range(config.layers) for row in BIASES]


def plain_name(name: str) -> str:
    """The usual name of a tensor that was saved from within another model, or from several GPUs."""
    name = name.removeprefix("module.")
    for prefix, plain in PREFIXES:
        if name.startswith(prefix):
            return plain + name.removeprefix(prefix)
    return f"model.{name}" if name.startswith(BARE) else name


def unknown(names: Iterable[str], wanted: Iterable[Target], naming: Naming) -> list[str]:
    """The names that belong to no target and are not known to be useless, sorted."""
    known = {part for target in wanted for part in target.named(naming)} | {OUTPUT.huggingface, OUTPUT.consolidated}
    return sorted(name for name in names if name not in known and not USELESS.fullmatch(name))


def _target(row: _Row, sizes: Mapping[str, int], layer: int | None = None) -> Target:
    here, huggingface, own = (
        ("", "", "") if layer is None else (f"blk.{layer}.", f"model.layers.{layer}.", f"layers.{layer}.")
    )
    parts = range(sizes["experts"]) if "*" in row.huggingface else range(1)
    return Target(
        here + row.name,
        tuple(sizes[name] for name in row.shape),
        sizes[row.rotates] if row.rotates else 0,
        (
            tuple(huggingface + row.huggingface.replace("*", str(part)) for part in parts),
            tuple(own + row.consolidated.replace("*", str(part)) for part in parts),
        ),
    )


def _sizes(config: Config) -> dict[str, int]:
    return {
        "hidden": config.hidden,
        "query": config.heads * config.head_dim,
        "kv": config.kv_heads * config.head_dim,
        "ffn": config.feed_forward,
        "vocabulary": config.vocabulary,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "experts": config.experts,
    }
