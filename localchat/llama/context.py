"""A context: one KV cache that several conversations share, and decoding, all in llama.cpp's own code."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from llama_cpp import llama_cpp as cpp
from numpy.typing import NDArray

from localchat.errors import LocalchatError, NoMemory
from localchat.llama.attention import attention_of
from localchat.llama.batch import Batch, Part
from localchat.llama.log import LOG
from localchat.llama.model import Model
from localchat.llama.parameters import context_parameters
from localchat.llama.placement import Placement
from localchat.llama.watch import Report, Watch

HINT = "choose a smaller --context"
DONE, FULL, ABORTED = 0, 1, 2  # what llama_decode returns; below 0 it failed
Outcome = Literal["done", "full", "aborted"]


class Context:
    """The KV cache of some conversations, each in a slot of its own, and the threads that work on it."""

    def __init__(self, model: Model, placement: Placement) -> None:
        """Allocate. Raises NoMemory where memory does not suffice, LocalchatError where llama.cpp refuses."""
        self._abort = ctypes.create_string_buffer(2)
        self._abort_callback = _is_set()
        self._watch = Watch(lambda: self._abort[0] != b"\x00")
        parameters = context_parameters(placement)
        self.handle = cpp.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            message = f"a context of {placement.context:,} tokens could not be allocated"
            short = LOG.short_of(placement.devices)
            raise NoMemory(message, HINT, short) if short else LocalchatError(message, HINT)
        self._unwatched()
        self._memory = cpp.llama_get_memory(self.handle)
        self._batch = Batch(placement.batch)
        self.tokens = int(cpp.llama_n_ctx(self.handle))
        """That the slots hold together, what they have in common counted once."""
        self.batch, self.slots = placement.batch, placement.slots
        self.threads = placement.threads
        self.attention = attention_of(model, placement)
        self.outputs = int(parameters.n_outputs_max)
        """That one call may have; all tokens of a call that has a vector wanted are outputs."""
        self._width, self._is_embedding = int(cpp.llama_model_n_embd_out(model.handle)), False

    def close(self) -> None:
        """Give the memory back."""
        cpp.llama_free(self.handle)

    def use_threads(self, count: int) -> None:
        """So many compute from now on."""
        cpp.llama_set_n_threads(self.handle, count, count)

    def abort(self) -> None:
        """Break off what is being decoded, from another thread; a GPU finishes its part first."""
        self._abort[0] = b"\x01"

    def ready(self) -> None:
        """Forget that something was to be broken off."""
        self._abort[0] = b"\x00"

    def keep(self, slot: int, count: int) -> int:
        """Forget everything of a slot behind its first `count` tokens, and return how many it still has.

        These are none where the model has a state that cannot be cut.
        """
        if cpp.llama_memory_seq_rm(self._memory, slot, count, -1):
            return count
        cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return 0

    def copy(self, source: int, target: int, count: int) -> None:
        """Give the first `count` tokens of a slot to another one, in the place of all that it had; nothing moves."""
        cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        if count:
            cpp.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def decode(self, parts: Sequence[Part], report: Report | None = None) -> tuple[Outcome, list[range]]:
        """Compute these, up to `batch` tokens, and say for each part by which numbers its logits are asked for.

        `report` hears meanwhile how far it is, where the processor computes and many tokens take their time.
        Where the cache is `full` nothing was changed; where it was `aborted`, some of it may be in the cache.
        Raises LocalchatError where llama.cpp fails.
        """
        outputs = self._batch.fill(parts)
        self._embed(any(part.is_embedded for part in parts))
        status = self._watched(report) if report else int(cpp.llama_decode(self.handle, self._batch.raw))
        cpp.llama_synchronize(self.handle)  # a GPU is not done before: what is measured is what it took
        if status not in (DONE, FULL, ABORTED):
            raise LocalchatError(
                f"llama.cpp could not compute the next tokens (status {status})", "its own words are in {log}"
            )
        outcomes: dict[int, Outcome] = {DONE: "done", FULL: "full", ABORTED: "aborted"}
        return outcomes[status], outputs

    def embedding(self, output: int) -> NDArray[np.float32]:
        """The vector of an output of the last call, which had it wanted."""
        found = cpp.llama_get_embeddings_ith(self.handle, output)
        return np.ctypeslib.as_array(found, (self._width,)).copy()

    def _embed(self, is_wanted: bool) -> None:
        """Only where it changes: llama.cpp builds its graph anew then."""
        if is_wanted != self._is_embedding:
            cpp.llama_set_embeddings(self.handle, is_wanted)
            self._is_embedding = is_wanted

    def _watched(self, report: Report) -> int:
        self._watch.begin(report)
        cpp.llama_set_abort_callback(self.handle, self._watch.callback, None)
        status = int(cpp.llama_decode(self.handle, self._batch.raw))
        self._unwatched()
        if status == DONE:
            self._watch.end()
        return status

    def _unwatched(self) -> None:
        cpp.llama_set_abort_callback(self.handle, self._abort_callback, ctypes.addressof(self._abort))

    def save(self, slot: int, tokens: Sequence[int], path: Path) -> bool:
        """Write what the cache has of a slot, and which tokens that are, to a file. False where that failed."""
        array = (cpp.llama_token * len(tokens))(*tokens)
        return bool(cpp.llama_state_seq_save_file(self.handle, os.fsencode(path), slot, array, len(tokens)))

    def restore(self, slot: int, path: Path) -> list[int] | None:
        """Put into a slot what was saved, and return its tokens. None where there is no room or the file is damaged."""
        array, count = (cpp.llama_token * self.tokens)(), ctypes.c_size_t()
        read = cpp.llama_state_seq_load_file(
            self.handle, os.fsencode(path), slot, array, self.tokens, ctypes.byref(count)
        )
        if not read:
            self.keep(slot, 0)
            return None
        return list(array[: count.value])


def _is_set() -> Any:
    """A C function that says whether the byte at an address is set, for llama.cpp to call between two operations.

    One in Python would wait for the interpreter's lock a thousand times a token. `strlen` does as well: of an empty
    text it is 0, of a text of one character 1.
    """
    library = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, cpp.ggml_abort_callback)
