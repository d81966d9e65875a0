"""Machines and plans that are made up, for tests that must not depend on the machine they run on."""

from __future__ import annotations

from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware, Memory, Processor
from localchat.plan.layout import Layout, Use
from localchat.plan.plan import Plan, Predicted
from localchat.plan.rooms import Room

GIB = 1 << 30


def hardware(total_bytes: int = 64 * GIB, available_bytes: int = 60 * GIB) -> Hardware:
    """A Linux server without a screen or a GPU."""
    return Hardware("linux", Processor("Made-up CPU", 8, 16), Memory(total_bytes, available_bytes), 100 * GIB)


def plan(weights_bytes: int, *reasons: str, quant: str = "Q4_K_M", context: int = 512, layers: int = 2) -> Plan:
    """A model in main memory, of which half is free."""
    use = Use(HOST, weights_bytes, weights_bytes // 4, weights_bytes // 8, weights_bytes)
    room = Room(HOST, "Made-up CPU", 4 * use.total_bytes, 2 * use.total_bytes, 0, limit_bytes=2 * use.total_bytes)
    return Plan(
        quant=quant,
        weights_bytes=weights_bytes,
        bits_per_weight=4.8,
        context=context,
        kv_type="f16",
        layers=layers,
        threads=2,
        layout=Layout("host", (), 0, (use,), copies_weights=False),
        predicted=(Predicted(use, room),),
        tokens_per_second=None,
        reasons=reasons,
    )
