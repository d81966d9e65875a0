"""How many tokens a second a model will write: the bytes that each token reads, over the rates at which devices read.

Devices work one after the other on one token, so their times add up:

    seconds = sum(weights / rate of their type) + KV cache / rate of attention + layers * time of a layer's small parts

Tried with llama-cpp-python 0.3.36 on two cores of a server's CPU, by a first form of the probe with square matrices,
best of three against best of three, with 16, 512 and 1024 tokens before. A model of 1.1 billion weights as Q8_0, Q6_K,
Q4_K_M, Q2_K and Q4_1 wrote at 0.88 to 1.10 times the predicted rate, as Q3_K_M at 0.82 to 0.86; one of 135 million
weights at 0.84 to 0.97 times it. Without the term for layers that one would have been promised 70 % too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from localchat.llama.placement import HOST
from localchat.llama.rates import ANY, HEADS, KV_HEADS, Rates
from localchat.plan.hardware import Hardware
from localchat.plan.layout import KV_BYTES, Use
from localchat.plan.shape import Shape

USUAL_LAYER_SECONDS = 50e-6  # a little less than on the CPU that was measured
FILLED_TOKENS = 512  # so long are a first question and half of its answer


@dataclass(frozen=True, slots=True)
class Reads:
    """What one device reads and does for one token."""

    device: str
    weights: Mapping[str, int] = field(default_factory=dict)
    """Bytes by the name of their type, such as `Q4_K`: of the experts only those that are used, no token embedding."""
    layers: int = 0
    """Layers whose operations it runs."""
    kv_bytes: int = 0
    """Of the part of the KV cache that is filled."""
    kv_type: str = "f16"
    sharing: float = HEADS / KV_HEADS
    """Heads of a KV head. Each head reads the cache for itself, and the rate was measured with four."""


def reads_of(shape: Shape, use: Use, filled_tokens: int, kv_type: str) -> Reads:
    """What a device of a layout reads for a token, with so many tokens in the KV cache."""
    numbers = 2 * shape.kv_heads * shape.head_dim * use.layers * filled_tokens
    return Reads(
        use.name, use.active, use.layers, int(numbers * KV_BYTES[kv_type]), kv_type, shape.heads / shape.kv_heads
    )


def predicted_rate(reads: Sequence[Reads], rates: Mapping[str, Rates]) -> float | None:
    """Tokens a second; None where a rate is not known that it takes, or nothing is read at all."""
    seconds = 0.0
    for read in reads:
        part = _seconds(read, rates.get(read.device, Rates()))
        if part is None:
            return None
        seconds += part
    return 1 / seconds if seconds else None


def _seconds(read: Reads, rates: Rates) -> float | None:
    attention = int(read.kv_bytes * read.sharing * KV_HEADS / HEADS)
    found = read.layers * rates.layer_seconds
    for kind, count in {**read.weights, f"kv {read.kv_type}": attention}.items():
        if count:
            rate = rates.rate(kind)
            if not rate:
                return None
            found += count / rate
    return found


def one_rate(bytes_per_second: float | None) -> Rates:
    """The rates of a device of which a single number is known, as in a hardware file: that number for every type.

    It is that of the best type, so what is predicted from it is what can be had at most: on a CPU about right for Q8_0
    and Q4_K_M, up to twice too much for Q3_K_M.
    """
    return Rates({ANY: bytes_per_second}, USUAL_LAYER_SECONDS) if bytes_per_second else Rates()


def known_rates(hardware: Hardware, measured: Mapping[str, Rates]) -> dict[str, Rates]:
    """The rates of each device and of the main memory: as they were measured, else the one number of the facts."""
    stated = {device.name: device.memory_bandwidth_bytes_per_second for device in hardware.devices}
    stated[HOST] = hardware.memory_bandwidth_bytes_per_second
    return {name: measured.get(name) or one_rate(number) for name, number in stated.items()}


def tokens_per_second(shape: Shape, uses: Sequence[Use], kv_type: str, rates: Mapping[str, Rates]) -> float | None:
    """The prediction for a layout when a conversation is young."""
    return predicted_rate([reads_of(shape, use, FILLED_TOKENS, kv_type) for use in uses], rates)
