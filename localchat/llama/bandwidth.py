"""How fast a device does what writing a token is made of, measured with ggml's own operations in a child process.

`python -m localchat.llama.bandwidth` multiplies matrices of each type by a vector, attends over a KV cache, and runs
the small operations of a layer. One rate for all types would not do: on a CPU the types differ by a factor of five,
because unpacking weights takes longer than reading them. The weights are quantized random numbers: with constant ones
some types run half as fast again, because a table of scales then stays in the nearest cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psutil
from gguf.constants import GGMLQuantizationType

from localchat.child import answer, ask
from localchat.errors import LocalchatError
from localchat.llama.graphs import Backend
from localchat.llama.quantize import row_bytes
from localchat.llama.rates import HEAD_DIM, HEADS, KV_HEADS, Rates
from localchat.llama.rpc import register

TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_XS", "Q5_0", "Q4_1", "Q4_0")
KV_TYPES = {"f16": GGMLQuantizationType.F16, "q8_0": GGMLQuantizationType.Q8_0}
# ggml makes no weights of the others.
MEASURABLE = frozenset(GGMLQuantizationType.__members__) - {"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K"}
TIMEOUT_SECONDS = 60
TYPE_SECONDS = 0.12  # for each type, after one round to warm up
WEIGHTS_BYTES = 192 << 20  # more than the caches of any desktop hold
ROOM_BYTES = 4 * WEIGHTS_BYTES  # with less free than this nothing is measured
# Of Mistral 7B and its kin: the width, and rows of the average matrix of a layer.
COLUMNS, ROWS = 4096, 8192
KV_TOKENS, KV_LAYERS = 4096, 6
SMALL_ROWS, SMALL_LAYERS = 32, 16
CALM = 0.85  # of the time that our threads asked for, what they got where nobody else wanted the cores


def measure(device: str, threads: int, types: Sequence[str] = TYPES, rpc: Sequence[str] = ()) -> tuple[Rates, bool]:
    """The rates of a device by its name in llama.cpp's list, and were the cores ours alone meanwhile?

    A type that the device cannot multiply has no rate. Takes about two seconds. Raises LocalchatError where nothing
    can be measured, ChildDied where the process ended over it.
    """
    question = {"device": device, "threads": threads, "types": list(types), "rpc": list(rpc)}
    found = ask("localchat.llama.bandwidth", question, TIMEOUT_SECONDS)
    try:
        rates = {str(kind): float(rate) for kind, rate in found["rates"].items()}
        return Rates(rates, float(found["layer_seconds"])), bool(found["is_calm"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LocalchatError(f"{device} could not be measured", "run the same command again") from error


def _measured(question: dict[str, Any]) -> dict[str, Any]:
    """The child's answer. Raises LocalchatError."""
    register(question["rpc"])
    backend = Backend(question["device"], question["threads"])
    free = psutil.virtual_memory().available if backend.is_cpu else backend.free_bytes
    if free < ROOM_BYTES:
        raise LocalchatError(f"{question['device']} has too little free memory to measure", "close other programs")
    kinds = [GGMLQuantizationType[name] for name in question["types"] if name in MEASURABLE]
    started, worked = time.perf_counter(), time.process_time()
    rates = {kind.name: _weights_rate(backend, kind) for kind in kinds}
    attention = {f"kv {name}": _attention_rate(backend, kind) for name, kind in KV_TYPES.items()}
    layer = _layer_seconds(backend)
    asked_for = backend.computing_seconds * question["threads"]
    others = time.perf_counter() - started - backend.computing_seconds  # one thread alone fills the matrices
    got = time.process_time() - worked
    return {
        "rates": {kind: rate for kind, rate in {**rates, **attention}.items() if rate},
        "layer_seconds": layer,
        "is_calm": not backend.is_cpu or got > CALM * (asked_for + others),
    }


def _weights_rate(backend: Backend, kind: GGMLQuantizationType) -> float:
    """Bytes of weights a second; 0 where the device cannot do it."""
    size = ROWS * row_bytes(kind, COLUMNS)
    with backend.weights(kind, COLUMNS, ROWS, max(2, WEIGHTS_BYTES // size)) as matrices, backend.graph() as graph:
        vector = graph.vector(COLUMNS)
        seconds = graph.seconds([graph.multiply(matrix, vector) for matrix in matrices], TYPE_SECONDS)
    return len(matrices) * size / seconds if seconds else 0.0


def _attention_rate(backend: Backend, kind: GGMLQuantizationType) -> float:
    """Bytes of the KV cache a second, where four heads share a KV head; 0 where the device cannot do it."""
    rows = KV_TOKENS * KV_HEADS
    with backend.weights(kind, HEAD_DIM, rows, 2 * KV_LAYERS, is_kv=True) as caches, backend.graph() as graph:
        queries = graph.vector(HEAD_DIM * HEADS)
        pairs = zip(caches[::2], caches[1::2], strict=True)
        outputs = [graph.attend(queries, HEADS, keys, values, KV_HEADS, KV_TOKENS) for keys, values in pairs]
        seconds = graph.seconds(outputs, TYPE_SECONDS)
    return len(caches) * rows * row_bytes(kind, HEAD_DIM) / seconds if seconds else 0.0


def _layer_seconds(backend: Backend) -> float:
    """Seconds of a layer's operations on matrices of next to no rows; 0 where the device cannot do them.

    Each layer has seven matrices and, between them, two norms and about ten operations that each add or scale.
    """
    with backend.weights(GGMLQuantizationType.Q4_K, COLUMNS, SMALL_ROWS, 7) as matrices, backend.graph() as graph:
        vector = graph.vector(COLUMNS)
        state, outputs = vector, []
        for _ in range(SMALL_LAYERS if matrices else 0):
            for _ in range(2):
                state = graph.add(graph.multiply_each(graph.norm(state), vector), vector)
                for _ in range(3):
                    state = graph.add(state, vector)
            outputs += [graph.multiply(matrix, state) for matrix in matrices]
        return graph.seconds(outputs, TYPE_SECONDS) / SMALL_LAYERS


if __name__ == "__main__":
    answer(_measured)
