"""Tries a grammar as a reply would use it. In a child process only: llama.cpp may end, hang or fill the memory."""

from __future__ import annotations

import os
import re
import tempfile

import numpy as np
from llama_cpp import llama_cpp as cpp
from numpy.typing import NDArray

from localchat.errors import LocalchatError
from localchat.llama.constraint import ROOT, Constraint, candidates_of
from localchat.llama.gbnf import suspects
from localchat.llama.model import Model
from localchat.text import one_line

STEPS = 32
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
    """Begin at the root, and at each rule that may hide a trap; go on at random, or with one token again and again."""
    random = np.random.default_rng(0)
    everything = np.arange(model.vocabulary, dtype=np.int32)
    some = _some_tokens(model, random)
    for root in dict.fromkeys((ROOT, *suspects(gbnf))):
        for is_stubborn in (False, True):
            constraint = Constraint(model, gbnf, root)
            _walk(constraint, some, random, is_stubborn=is_stubborn)
            if root == ROOT:  # as costly as it is for the engine, where the walk has come to
                constraint.allowed(candidates_of(everything))
            constraint.close()


def _walk(constraint: Constraint, tokens: NDArray[np.int32], random: np.random.Generator, *, is_stubborn: bool) -> None:
    token = -1
    for _ in range(STEPS):
        allowed = constraint.allowed(candidates_of(tokens))["id"]
        if not len(allowed):
            return
        if not is_stubborn or token not in allowed:
            token = int(random.choice(allowed))
        constraint.accept(token)


def _some_tokens(model: Model, random: np.random.Generator) -> NDArray[np.int32]:
    """All of one character, the longest, and some others; none that ends a reply, for then the walk would end."""
    lengths = np.array([len(model.piece(token)) for token in range(model.vocabulary)])
    longest = np.argsort(lengths)[-LONGEST:]
    others = random.choice(model.vocabulary, min(SOME, model.vocabulary), replace=False)
    found = np.unique(np.concatenate([np.flatnonzero(lengths == 1), longest, others]))
    return np.array([token for token in found if not model.is_end(token)], np.int32)
