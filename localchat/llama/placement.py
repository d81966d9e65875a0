"""Where the parts of a model go when it is loaded, and how large its context is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KV_TYPES = ("f16", "q8_0")
SLOTS = 4
"""Conversations that are kept, and written to, at once, where nothing else is said."""
HOST = "CPU"
"""The name of the main memory wherever devices are listed."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one device gets: so many layers that follow each other; the output counts as one more, the last."""

    device: str
    layers: int


@dataclass(frozen=True, slots=True)
class Placement:
    """How a model is loaded."""

    context: int
    """Tokens."""
    threads: int
    batch: int
    """Tokens that are read at once."""
    kv_type: str
    """One of KV_TYPES."""
    shares: tuple[Share, ...] = ()
    """In the order of the layers; what is in no share stays in main memory, and these are the first layers."""
    experts_on_host: int = 0
    """So many layers, from the first, leave the weights of their experts in main memory."""
    is_mapped: bool = True
    """Are weights in main memory the mapped file itself? Else they are copied from it."""
    rpc: tuple[str, ...] = ()
    """HOST:PORT of other machines' devices."""
    slots: int = SLOTS
    """Conversations that are kept at once; they share the context, so that one may have all of it."""

    @property
    def gpu_layers(self) -> int:
        """Layers on devices, the output among them, as llama.cpp's `n_gpu_layers` counts them."""
        return sum(share.layers for share in self.shares)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of all devices that have a share."""
        return tuple(share.device for share in self.shares)


def placement_of(fields: Mapping[str, Any]) -> Placement:
    """The placement in fields that came from another process as JSON."""
    shares = tuple(Share(**share) for share in fields["shares"])
    return Placement(**{**fields, "shares": shares, "rpc": tuple(fields["rpc"])})
