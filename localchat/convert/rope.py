"""Rotary position embedding: its base, and how a config stretches it beyond the context it was trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from localchat.convert.numbers import positive, whole
from localchat.errors import LocalchatError

Scaling = Literal["none", "linear", "yarn", "llama3"]

# kind: keys of the config and of the model file that llama.cpp's converter carries over where they are given
CARRIED = {
    "linear": (),
    "yarn": (
        ("extrapolation_factor", "yarn_ext_factor"),
        ("attention_factor", "yarn_attn_factor"),
        ("beta_fast", "yarn_beta_fast"),
        ("beta_slow", "yarn_beta_slow"),
        ("mscale_all_dim", "yarn_log_multiplier"),
    ),
}
MINISTRAL_ONLY = ("mscale_all_dim",)
LLAMA3_FACTOR, LLAMA3_LOW, LLAMA3_HIGH = 8.0, 1.0, 4.0  # transformers' defaults of Llama 3.1
LLAMA3_CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class Rope:
    """`numbers` are values of the model file under `rope.scaling.`; `stretch` are Llama 3's own four."""

    base: float
    scaling: Scaling = "none"
    numbers: tuple[tuple[str, float], ...] = ()
    original_context: int = 0
    """Tokens of context before the stretch; 0 where the config does not say."""
    stretch: tuple[float, float, float] = (LLAMA3_FACTOR, LLAMA3_LOW, LLAMA3_HIGH)
    """Llama 3: factor, low and high frequency factor."""
    notes: tuple[str, ...] = ()


def read_rope(raw: Mapping[str, Any], default_base: float, context: int, *, is_ministral: bool = False) -> Rope:
    """The rope of a config.json, in the old layout or in that of transformers 5.

    Raises LocalchatError for a kind that llama.cpp has not, BadFile for numbers that make no sense.
    """
    given = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise _unsupported("broken")
    base = positive({**raw, **given}, "rope_theta", default_base)
    kind = given.get("rope_type", given.get("type")) or "default"
    original = given.get("original_max_position_embeddings") or raw.get("original_max_position_embeddings")
    match kind:
        case "default":
            return Rope(base)
        case "dynamic":
            return Rope(base, notes=("dynamic rope scaling is unknown to llama.cpp and left out",))
        case "linear" | "yarn":
            return _carried(kind, given, base, original or context, is_ministral)
        case "llama3":
            stretch = [("factor", LLAMA3_FACTOR), ("low_freq_factor", LLAMA3_LOW), ("high_freq_factor", LLAMA3_HIGH)]
            factor, low, high = (positive(given, key, default) for key, default in stretch)
            original = whole({"original_max_position_embeddings": original}, "original_max_position_embeddings",
                             default=context or LLAMA3_CONTEXT, limit=1 << 27)  # fmt: skip
            if low >= high:
                raise _unsupported("llama3 with a low frequency factor that is not below the high one")
            return Rope(base, "llama3", original_context=original, stretch=(factor, low, high))
    raise _unsupported(kind)


def _carried(kind: Literal["linear", "yarn"], given: Mapping[str, Any], base: float, original: Any, own: bool) -> Rope:
    numbers = [("factor", positive(given, "factor"))]
    for source, key in CARRIED[kind]:
        if given.get(source) is not None and (own or source not in MINISTRAL_ONLY):
            numbers.append((key, float(positive(given, source))))
    key = "original_max_position_embeddings"
    context = whole({key: original}, key, limit=1 << 27) if kind == "yarn" else 0
    return Rope(base, kind, tuple(numbers), context)


def frequency_factors(rope: Rope, head_dim: int) -> NDArray[np.float32]:
    """By what each rotary frequency is divided in Llama 3.1's scheme: shape (head_dim / 2,).

    Source: `_compute_llama3_parameters` of transformers; in float32, as llama.cpp's converter computes it, but for the
    power, which PyTorch rounds better than numpy's float32 does.
    """
    with np.errstate(all="ignore"):  # numbers that overflow are of frequencies that take none of them
        return _frequency_factors(rope, head_dim)


def _frequency_factors(rope: Rope, head_dim: int) -> NDArray[np.float32]:
    factor, low, high = (np.float32(value) for value in rope.stretch)
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = np.float32(1) / np.power(rope.base, exponents.astype(np.float64)).astype(np.float32)
    waves = np.float32(1) / frequencies * np.float32(2 * math.pi)
    context = rope.original_context
    smooth = (np.float32(1) / waves * np.float32(context) - low) / (high - low)
    between = np.float32(1) / ((np.float32(1) - smooth) / factor + smooth)
    is_short, is_long = waves < np.float32(context / rope.stretch[2]), waves > np.float32(context / rope.stretch[1])
    return np.where(is_short, np.float32(1), np.where(is_long, factor, between))


def _unsupported(kind: object) -> LocalchatError:
    return LocalchatError(
        f"the model scales its rope ({str(kind)[:60]}), which is not supported",
        "supported are linear, yarn and llama3; choose another model",
    )
