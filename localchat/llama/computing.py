"""Does llama.cpp compute what it should? A product of each common type, tried in a child process that may crash.

Run as `python -m localchat.llama.computing`. A prompt is many tokens at once and takes other code than a single one; a
build whose compiler or processor is at odds with that code loads well and ends the process over the first prompt.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType

from localchat.child import answer, ask
from localchat.errors import LocalchatError
from localchat.llama.graphs import Backend, made_up, made_up_vectors
from localchat.llama.placement import HOST
from localchat.llama.quantize import dequantize

TIMEOUT_SECONDS = 60
TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_XS", "Q4_0", "Q4_1")
COLUMNS, ROWS = 512, 256
TOKENS = (1, 64)
THREADS = 2
TOLERANCE = 0.03  # of the result's length: inputs are rounded to 8 bits first


def check_products() -> None:
    """Raises LocalchatError where a result is wrong, ChildDied where the process ended over one."""
    ask("localchat.llama.computing", {}, TIMEOUT_SECONDS)


def _reply(_question: dict[str, Any]) -> dict[str, Any]:
    backend = Backend(HOST, THREADS)
    for name, tokens in product(TYPES, TOKENS):
        kind = GGMLQuantizationType[name]
        with backend.weights(kind, COLUMNS, ROWS, 1) as matrices, backend.graph() as graph:
            output = graph.multiply(matrices[0], graph.vector(COLUMNS, tokens))
            found = graph.result(output, ROWS * tokens)
        expected = made_up_vectors(COLUMNS * tokens).reshape(tokens, COLUMNS) @ _weights(kind).T
        if found is None or not _is_near(found, expected.ravel()):
            raise LocalchatError(f"a product of {tokens} tokens with {name} weights is wrong", "build it anew")
    return {}


def _weights(kind: GGMLQuantizationType) -> np.ndarray[Any, np.dtype[np.float32]]:
    return dequantize(kind, made_up(kind, COLUMNS, ROWS), COLUMNS)


def _is_near(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    return bool(np.linalg.norm(found - expected) <= TOLERANCE * np.linalg.norm(expected))


if __name__ == "__main__":
    answer(_reply)
