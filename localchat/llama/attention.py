"""What attention costs on the processor: llama.cpp has a fast path for many tokens at once and a slow one for few."""

from __future__ import annotations

from dataclasses import dataclass

from llama_cpp import llama_cpp as cpp

from localchat.llama.model import Model
from localchat.llama.placement import Placement

TILE_TOKENS = 64
"""`ggml_fa_tile_config::Q` of llama.cpp's CPU backend: with fewer tokens in a call, attention does them one by one."""
TILED, ONE_BY_ONE = 2.5, 7.0
"""What a multiplication of attention takes, where one with weights takes 1. Measured behind 3,000 tokens, 2 cores with
AVX-512: a 7B as Q4_K_M 2.3 and 11, SmolLM2 as Q4_1 0.4 and 7. The less favorable ones."""


@dataclass(frozen=True, slots=True)
class Attention:
    """How much of the work attention is."""

    share: float
    """Multiplications for one token and one that is cached, where those with all the weights are 1."""

    def tokens_to_read(self, new: int, cached: int) -> int:
        """How many tokens to read for so many new ones behind so many in the cache.

        Often a whole tile, the last cached ones once more: 63 tokens behind 3,000 take twice as long as 64 with a 7B.
        """
        share = self.share * cached
        is_slower = new * (1 + ONE_BY_ONE * share) > TILE_TOKENS * (1 + TILED * share)
        return TILE_TOKENS if is_slower and new < TILE_TOKENS <= new + cached else new


def attention_of(model: Model, placement: Placement) -> Attention | None:
    """None where all tokens are read alike: on devices, with a KV cache that has no fast path, in small batches.

    And where the end of what is cached cannot be forgotten, to be read again.
    """
    if placement.shares or placement.kv_type != "f16" or placement.batch < TILE_TOKENS:
        return None
    if cpp.llama_model_is_recurrent(model.handle) or cpp.llama_model_is_hybrid(model.handle):
        return None
    products = 2 * cpp.llama_model_n_embd(model.handle) * model.layers  # with keys, and with values
    return Attention(products / max(1, cpp.llama_model_n_params(model.handle)))
