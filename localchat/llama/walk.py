"""Tries a grammar as a reply would use it. In a child process only: llama.cpp may end, hang or fill the memory."""

from __future__ import annotations

import os
import re
import tempfile
import time

import numpy as np
from llama_cpp import llama_cpp as cpp
from numpy.typing import NDArray

from localchat.errors import LocalchatError
from localchat.llama.constraint import ROOT, Constraint, candidates_of
from localchat.llama.gbnf import suspects
from localchat.llama.model import Model
from localchat.text import one_line

STEPS = 32
WAYS, WAYS_SECONDS = 12, 2.0
"""From one rule so many stubborn walks, the first of each in any case, the others while so much time has not passed."""
SOME, LONGEST = 256, 64
"""Tokens that a walk chooses from, beside those of one character: so many others, and so many of the longest."""
CAUSE = re.compile(
    r"error parsing grammar: (.*)|(grammar does not contain .*)|unsupported grammar, (.*?)(?: at index|$)"
)


def read(gbnf: str) -> None:
    """Have llama.cpp read a grammar. Raises LocalchatError with what it says of one that it refuses."""
    with tempfile.TemporaryFile() as words:
        before = os.dup(2)
        os.dup2(words.fileno(), 2)
        try:
            sampler = cpp.llama_sampler_init_grammar(None, gbnf.encode(), ROOT.encode())
        finally:
            os.dup2(before, 2)
            os.close(before)
        if sampler:
            cpp.llama_sampler_free(sampler)
            return
        words.seek(0)
        found = CAUSE.search(words.read(4096).decode("utf-8", "replace"))
    cause = next(filter(None, found.groups()), "") if found else ""
    raise LocalchatError(f"llama.cpp cannot read the grammar: {one_line(cause, 120)}", "correct or simplify it")


def walk(model: Model, gbnf: str) -> None:
    """Begin at the root, and at each rule that may hide a trap, and go on as a reply would, here and there."""
    walker = _Walker(model, gbnf)
    for root in dict.fromkeys((ROOT, *suspects(gbnf))):
        walker.go(root, is_stubborn=False)
        for number in range(WAYS):
            if number and walker.is_tired():
                break
            walker.go(root, is_stubborn=True)


class _Walker:
    """Goes on at random, or takes what it took least often so far and then the same again as long as it may."""

    def __init__(self, model: Model, gbnf: str) -> None:
        self._model, self._gbnf = model, gbnf
        self._random = np.random.default_rng(0)
        self._some = candidates_of(_some_tokens(model, self._random))
        self._everything = candidates_of(np.arange(model.vocabulary, dtype=np.int32))
        self._taken = np.zeros(model.vocabulary)
        self._started = time.process_time()

    def is_tired(self) -> bool:
        return time.process_time() - self._started > WAYS_SECONDS

    def go(self, root: str, *, is_stubborn: bool) -> None:
        constraint, token = Constraint(self._model, self._gbnf, root), -1
        for _ in range(STEPS):
            allowed = constraint.allowed(self._some.copy())["id"]
            if not len(allowed):
                break
            if not is_stubborn or token not in allowed:
                shuffled = self._random.permutation(allowed)
                token = int(shuffled[self._taken[shuffled].argmin()] if is_stubborn else shuffled[0])
            self._taken[token] += 1
            constraint.accept(token)
        if root == ROOT:  # as costly as it is for the engine, where the walk has come to
            constraint.allowed(self._everything.copy())
        constraint.close()


def _some_tokens(model: Model, random: np.random.Generator) -> NDArray[np.int32]:
    """All of one character, the longest, and some others; none that ends a reply, for then the walk would end."""
    lengths = np.array([len(model.piece(token)) for token in range(model.vocabulary)])
    longest = np.argsort(lengths)[-LONGEST:]
    others = random.choice(model.vocabulary, min(SOME, model.vocabulary), replace=False)
    found = np.unique(np.concatenate([np.flatnonzero(lengths == 1), longest, others]))
    return np.array([token for token in found if not model.is_end(token)], np.int32)
