"""How fast a device is, as a value. What measures it, `bandwidth`, is a lot of code."""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.llama.placement import KV_TYPES

ANY = "any"
NEAREST = {"F32": "F16", "BF16": "F16", **{f"kv {name}": "F16" for name in KV_TYPES}}
"""Whose rate is taken where a type has none: norms and routers are F32, and next to nothing."""
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128
"""Of the attention that is measured: heads, KV heads, numbers of a head, as Mistral 7B and its kin have them."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one device can do."""

    bytes_per_second: dict[str, float] = field(default_factory=dict)
    """Of weights by the name of their type, and of the KV cache as `kv f16`; under `any` for all others."""
    layer_seconds: float = 0.0
    """For the operations of a layer besides reading its weights and the KV cache."""

    def rate(self, kind: str) -> float | None:
        """Bytes a second for a type; None where nothing is known of it."""
        known = self.bytes_per_second
        return known.get(kind) or known.get(NEAREST.get(kind, kind)) or known.get(ANY)

    @property
    def best(self) -> float | None:
        """Of the types of weights, which is as near as this comes to the speed of the memory."""
        return max((rate for kind, rate in self.bytes_per_second.items() if not kind.startswith("kv ")), default=None)
