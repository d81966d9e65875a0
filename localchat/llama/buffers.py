"""What llama.cpp allocates for a model, read from its log: no other way to ask is open to C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from localchat.llama.placement import HOST

# Such as `load_tensors:        CUDA0 model buffer size =   601.02 MiB`.
LINE = re.compile(r"\s(\S+)\s+(model|KV|compute|output) buffer size =\s+([0-9]+\.[0-9]+) MiB")
COPIED = "CPU_REPACK"
OUT_OF_MEMORY = (
    "failed to allocate", "unable to allocate", "cannot allocate memory", "insufficient memory", "not enough memory",
    "out of memory", "bad_alloc", "failed to initialize memory",
)  # fmt: skip
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Buffers:
    """Bytes that llama.cpp took, or would take, on one device."""

    device: str
    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    """Work space of the graph, and on the host the logits."""

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes


def read_buffers(lines: Iterable[str], devices: Mapping[str, str]) -> tuple[Buffers, ...]:
    """The buffers of devices in their order, and last those of the main memory, to 0.01 MiB each.

    `devices` says what each device's own buffers are called; some have an appendix. All others lie in main memory,
    pinned ones of a driver too.
    """
    found = {(device, kind): 0 for device in (*devices, HOST) for kind in ("model", "KV", "compute", "output")}
    for match in filter(None, map(LINE.search, lines)):
        device = next((device for device, name in devices.items() if _is_of(match[1], name)), HOST)
        found[device, match[2]] += int(float(match[3]) * MIB)
    return tuple(
        Buffers(device, found[device, "model"], found[device, "KV"], found[device, "compute"] + found[device, "output"])
        for device in (*devices, HOST)
    )


def are_copied(lines: Iterable[str]) -> bool:
    """Does the CPU make itself a copy of weights in an order of its own?

    Then a mapped file would lie in memory beside the copy.
    """
    return any(match and match[1] == COPIED for match in map(LINE.search, lines))


def says_memory_ran_out(words: str) -> bool:
    """Do llama.cpp or a driver say that there was no memory?"""
    return any(sign in words.lower() for sign in OUT_OF_MEMORY)


def _is_of(buffer: str, name: str) -> bool:
    """Is the buffer one of this name: `CUDA1`, `RPC0[127.0.0.1:50052]`, or `MTL0_Mapped` of `MTL0`?"""
    return buffer == name or buffer.startswith(f"{name}_")
