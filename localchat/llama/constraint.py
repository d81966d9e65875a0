"""A grammar that a reply must obey, in llama.cpp's own code.

llama.cpp ends the process where a token is accepted that its grammar does not allow, so none ever is.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from llama_cpp import llama_cpp as cpp
from numpy.typing import NDArray

from localchat.errors import LocalchatError
from localchat.llama.model import SPECIAL_ATTRIBUTES, Model

ROOT = "root"
STEP_SECONDS = 5.0
"""Of computing for one token. An ambiguous grammar can double its work with each character: it must not go on."""
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
DATA = ctypes.POINTER(cpp.llama_token_data)
HINT = "simplify the schema or the grammar"

Candidates = NDArray[Any]
"""An array of CANDIDATE."""

_silent: WeakKeyDictionary[Model, NDArray[np.bool_]] = WeakKeyDictionary()


class Constraint:
    """A grammar and how far a reply has come in it. Close it."""

    def __init__(self, model: Model, gbnf: str, root: str = ROOT) -> None:
        """Raises LocalchatError where llama.cpp refuses the grammar."""
        self.handle = cpp.llama_sampler_init_grammar(model.vocab, gbnf.encode("utf-8", "replace"), root.encode())
        if not self.handle:
            raise LocalchatError("llama.cpp cannot read the grammar", "its own words are in {log}")
        self._silent = silent_tokens(model)
        self._one = candidates_of(np.zeros(1, np.int32))

    def close(self) -> None:
        """Give the memory back."""
        if self.handle:
            cpp.llama_sampler_free(self.handle)
            self.handle = None

    def allows(self, token: int) -> bool:
        """May the reply go on with this token?"""
        self._one[0] = (token, 1.0, 0.0)
        return len(self.allowed(self._one)) == 1

    def allowed(self, candidates: Candidates) -> Candidates:
        """Those of the candidates that the reply may go on with. Raises LocalchatError where that takes too long."""
        started = time.thread_time()
        apply(self.handle, candidates)
        _check_time(started)
        left: Candidates = candidates[(candidates["logit"] > -np.inf) & ~self._silent[candidates["id"]]]
        return left

    def accept(self, token: int) -> None:
        """The reply goes on with this token, which must be allowed. Raises LocalchatError where that takes too long."""
        started = time.thread_time()
        cpp.llama_sampler_accept(self.handle, token)
        _check_time(started)


def candidates_of(ids: NDArray[np.int32]) -> Candidates:
    """Candidates of these tokens, all equally likely."""
    candidates = np.zeros(len(ids), CANDIDATE)
    candidates["id"] = ids
    return candidates


def apply(sampler: Any, candidates: Candidates) -> tuple[int, float] | None:
    """Let a sampler change the candidates in their place; the token that it selected and its logit, if it did."""
    array = cpp.llama_token_data_array(ctypes.cast(candidates.ctypes.data, DATA), len(candidates), -1, False)
    cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    if array.selected < 0:
        return None
    found = array.data[array.selected]
    return int(found.id), float(found.logit)


def silent_tokens(model: Model) -> NDArray[np.bool_]:
    """Which tokens have a text for the grammar that no reader sees: control tokens, but not those that end a reply."""
    if model not in _silent:
        flags = (
            bool(cpp.llama_vocab_get_attr(model.vocab, token) & SPECIAL_ATTRIBUTES) and not model.is_end(token)
            for token in range(model.vocabulary)
        )
        _silent[model] = np.fromiter(flags, np.bool_, model.vocabulary)
    return _silent[model]


def _check_time(started: float) -> None:
    if time.thread_time() - started > STEP_SECONDS:
        raise LocalchatError("the grammar is too ambiguous: the work for a token grows without end", HINT)
