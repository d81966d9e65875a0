"""Mistral's and Meta's own layout: `params.json`, and weights whole or cut into slices for several GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localchat.convert.config import Config, vocabulary_of
from localchat.convert.names import EMBEDDING, OUTPUT, USELESS, Target, targets
from localchat.convert.numbers import positive, whole
from localchat.convert.rope import Rope
from localchat.convert.tensors import TensorRef
from localchat.convert.weights import Beside, Stacked, Stored, Weights
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json

PARAMS = "params.json"
CONTEXT, META_CONTEXT = 32_768, 4096  # of files that do not say: Mistral 7B and Llama 2
ROPE_BASE = 10_000.0
GATE = "layers.0.feed_forward.w1.weight"


def read_params(folder: Path, slices: Sequence[Sequence[TensorRef]] = ()) -> Config:
    """The config in params.json; what it leaves out is seen from the slices of the weights, where these are known.

    Raises LocalchatError for what is unsupported, BadFile for what makes no sense.
    """
    raw = read_json(folder / PARAMS)
    rows = sum(ref.shape[0] for refs in slices for ref in refs if ref.name == GATE and ref.shape)
    return parse_params({**raw, "hidden_dim": rows} if rows and "hidden_dim" not in raw else raw)


def parse_params(raw: Mapping[str, Any]) -> Config:
    """The config in parsed JSON. Raises like `read_params`."""
    if raw.get("quantization"):
        raise LocalchatError(
            "this checkpoint is already quantized", "look for the 16-bit weights that it was made from"
        )
    hidden, heads = whole(raw, "dim"), whole(raw, "n_heads", limit=1 << 12)
    head_dim = whole(raw, "head_dim", default=max(1, hidden // heads), limit=1 << 12)
    kv_heads = whole(raw, "n_kv_heads", default=heads, limit=heads)
    if heads % kv_heads or head_dim % 2:
        raise BadFile("params.json has head counts that do not divide", "ask the authors of the checkpoint")
    experts, used = _experts(raw.get("moe"))
    scale = _temperature_scale(raw.get("llama_4_scaling"))
    return Config(
        architecture="mistral3" if scale else "llama",
        layers=whole(raw, "n_layers", limit=1 << 10),
        hidden=hidden,
        feed_forward=whole(raw, "hidden_dim", default=_feed_forward(raw, hidden)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=vocabulary_of(raw),
        context=whole(raw, "max_position_embeddings", default=_context(raw), limit=1 << 27),
        norm_epsilon=positive(raw, "norm_eps", 1e-5),
        rope=_rope(raw),
        tied=raw.get("tied_embeddings") is True,
        token_ids={},
        experts=experts,
        experts_used=used,
        temperature_scale=scale,
    )


def _temperature_scale(raw: object) -> float:
    """How much attention sharpens with the position in Ministral 3; 0 for others."""
    return positive(raw, "beta") if isinstance(raw, dict) and raw else 0.0


def _experts(raw: object) -> tuple[int, int]:
    if not isinstance(raw, dict):
        return 0, 0
    experts = whole(raw, "num_experts", limit=256)
    return experts, whole(raw, "num_experts_per_tok", default=min(2, experts), limit=experts)


def _feed_forward(raw: Mapping[str, Any], hidden: int) -> int:
    """Meta's files give it by a rule: two thirds of four times the width, stretched, then rounded up.

    Source: `FeedForward` of https://github.com/meta-llama/llama/blob/main/llama/model.py
    """
    multiple = whole(raw, "multiple_of", default=256)
    count = int(int(2 * 4 * hidden / 3) * positive(raw, "ffn_dim_multiplier", 1.0))
    return -(-count // multiple) * multiple


def _context(raw: Mapping[str, Any]) -> int:
    return CONTEXT if "hidden_dim" in raw else META_CONTEXT


def _rope(raw: Mapping[str, Any]) -> Rope:
    base = positive(raw, "rope_theta", ROPE_BASE)
    yarn = raw.get("yarn")
    if not isinstance(yarn, dict):
        return Rope(base)
    numbers = (
        ("factor", positive(yarn, "factor")),
        ("yarn_beta_fast", positive(yarn, "beta")),
        ("yarn_beta_slow", positive(yarn, "alpha")),
        ("yarn_log_multiplier", 0.0 if yarn.get("apply_scale") else 1.0),
    )
    return Rope(base, "yarn", numbers, whole(yarn, "original_max_position_embeddings", limit=1 << 27))


def join_slices(config: Config, slices: Sequence[Sequence[TensorRef]]) -> dict[str, Weights]:
    """The weights by name: whole, or of slices that lie below or beside each other, as their shapes tell.

    Raises BadFile where slices make no whole of the wanted shape.
    """
    wanted = {part: target for target in targets(config) for part in target.named("consolidated")}
    parts: dict[str, list[TensorRef]] = {}
    for refs in slices:
        for ref in refs:
            if not USELESS.fullmatch(ref.name):
                parts.setdefault(ref.name, []).append(ref)
    return {name: _joined(name, refs, wanted.get(name)) for name, refs in parts.items()}


def _joined(name: str, refs: Sequence[TensorRef], target: Target | None) -> Weights:
    stored = tuple(Stored(ref) for ref in refs)
    counts_tokens = target is not None and target.name in (EMBEDDING.name, OUTPUT.name)
    if target is None or len(stored) == 1 or (not counts_tokens and stored[0].shape == _shape(target)):
        return stored[0]  # what is not cut is repeated in every slice
    for way, other_side in ((Stacked, 1), (Beside, 0)):
        joined = way(stored)
        # Many a params.json does not know how many tokens there are.
        fits = joined.shape[1] == target.columns if counts_tokens else joined.shape == _shape(target)
        if fits and len({part.shape[other_side] for part in stored}) == 1:
            return joined
    raise BadFile(f"the slices of {name} do not make a whole", "download the checkpoint again")


def _shape(target: Target) -> tuple[int, int]:
    return target.matrix_rows, target.columns
