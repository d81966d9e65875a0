"""The tokens that are computed in one call, of one conversation or of several."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as cpp
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of one slot that follow each other."""

    slot: int
    position: int
    """Of the first of them in its conversation."""
    tokens: Sequence[int]
    outputs: int = 0
    """So many of the last of them want logits."""
    is_embedded: bool = False
    """The vector of the last of them is wanted; then all tokens of the call are outputs, those of other parts too."""


class Batch:
    """llama.cpp's batch over arrays of ours that are filled anew for each call."""

    def __init__(self, size: int) -> None:
        """Room for `size` tokens."""
        self._tokens, self._positions = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._slots, self._ones = np.zeros(size, np.int32), np.ones(size, np.int32)
        self._outputs = np.zeros(size, np.int8)
        start, step = self._slots.ctypes.data, self._slots.itemsize
        self._pointers = (ctypes.POINTER(ctypes.c_int32) * size)(
            *(ctypes.cast(start + step * index, ctypes.POINTER(ctypes.c_int32)) for index in range(size))
        )
        self.raw = cpp.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._ones, ctypes.c_int32),
            seq_id=ctypes.cast(self._pointers, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, parts: Sequence[Part]) -> list[range]:
        """Put these in. Returns for each part the numbers by which the logits that it wants are asked for."""
        return list(self._filled(parts))

    def _filled(self, parts: Sequence[Part]) -> Iterator[range]:
        start = 0
        others = int(any(part.is_embedded for part in parts))  # llama.cpp computes them all: told so, it does not warn
        for part in parts:
            end = start + len(part.tokens)
            self._tokens[start:end] = part.tokens
            self._positions[start:end] = range(part.position, part.position + len(part.tokens))
            self._slots[start:end] = part.slot
            self._outputs[start:end] = others
            self._outputs[end - part.outputs : end] = 1
            yield range(end - part.outputs, end)
            start = end
        self.raw.n_tokens = start


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
