"""Checkpoints that are quantized already: told by the names of their tensors, where config.json does not say so."""

from __future__ import annotations

from collections.abc import Iterable

from localchat.errors import LocalchatError

# The last parts of names that only these schemes give to tensors, as their own programs write them.
SCHEMES = {
    "SCB": "bitsandbytes in 8 bits",
    "absmax": "bitsandbytes in 4 bits",
    "quant_map": "bitsandbytes in 4 bits",
    "g_idx": "GPTQ",
    "qweight": "GPTQ or AWQ",
    "qzeros": "GPTQ or AWQ",
    "q_weight": "EXL2",
    "q_invperm": "EXL2",
    "trellis": "EXL3",
    "W_q": "HQQ",
    "weight_packed": "compressed-tensors",
    "weight_scale": "FP8 or compressed-tensors",
    "weight_scale_inv": "FP8",
    "qscale_weight": "FP8",
    "biases": "MLX",
}


def already_quantized(kind: str) -> LocalchatError:
    """The error for weights that have lost what a good model file needs; `kind` is the scheme, or empty."""
    by = f" with {kind}" if kind else ""
    return LocalchatError(
        f"this checkpoint is already quantized{by}, so it cannot be quantized well again",
        "pull the original 16-bit repository that it was made from",
    )


def refuse_quantized(names: Iterable[str]) -> None:
    """Raises LocalchatError with the name of the scheme where tensors of these names can only come from one."""
    endings = {name.rpartition(".")[2] for name in names}
    if found := next((scheme for ending, scheme in SCHEMES.items() if ending in endings), None):
        raise already_quantized(found)
