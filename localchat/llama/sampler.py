"""The next token of a reply, chosen in llama.cpp's own code."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as cpp
from numpy.typing import NDArray

from localchat.errors import LocalchatError
from localchat.llama.constraint import HINT, Candidates, Constraint, apply, candidates_of
from localchat.llama.model import Model
from localchat.sampling import Sampling

PENALTY_TOKENS = 64
KEPT_LEAST = 1


@dataclass(frozen=True, slots=True)
class Probability:
    """How likely a token was in the model's own distribution, before anything was penalized, cut off or constrained."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]
    """The likeliest tokens and their log probabilities, the likeliest first; the token may be among them."""


class Sampler:
    """llama.cpp's chain of samplers, in its usual order, for one reply. Use it as a context manager."""

    def __init__(self, model: Model, sampling: Sampling) -> None:
        """Raises LocalchatError where llama.cpp refuses the grammar."""
        self._sampling, self._vocabulary = sampling, model.vocabulary
        self._constraint = Constraint(model, sampling.grammar) if sampling.grammar else None
        self._chain = cpp.llama_sampler_chain_init(cpp.llama_sampler_chain_default_params())
        for part in _parts(sampling, model.vocabulary):
            cpp.llama_sampler_chain_add(self._chain, part)
        # The chain copies every logit first, which takes 0.2 ms of 50,000: 1 % of a small model's token.
        self._takes_highest = self.is_greedy and cpp.llama_sampler_chain_n(self._chain) == 1
        if self._constraint:
            self._ids = np.arange(model.vocabulary, dtype=np.int32)
            self._candidates = candidates_of(self._ids)

    @property
    def is_greedy(self) -> bool:
        """Is always the likeliest token taken, so that the same logits give the same token?"""
        return self._sampling.temperature == 0

    def sample(self, context: int, output: int) -> int:
        """The token after the one of the last batch with this number; -1 is the last. It then belongs to the reply.

        `context` is llama.cpp's handle. Raises LocalchatError where the grammar allows no token, or takes too long.
        """
        if self._constraint is None and self._takes_highest:
            return int(_logits(context, output, self._vocabulary).argmax())
        if self._constraint is None:
            return int(cpp.llama_sampler_sample(self._chain, context, output))
        logits = _logits(context, output, self._vocabulary)
        token = self._picked(self._filled(logits))
        # to look at one token is cheap, to look at all of them takes longer than to compute them
        if token is None or not self._constraint.allows(token):
            token = self._picked(self._constraint.allowed(self._filled(logits)))
        if token is None:
            raise LocalchatError("the grammar allows nothing that the model could write", HINT)
        self._constraint.accept(token)
        cpp.llama_sampler_accept(self._chain, token)
        return token

    def probabilities(self, context: int, output: int, token: int) -> Probability:
        """How likely this token was there, and as many of the likeliest as the sampling asks for."""
        logits = _logits(context, output, self._vocabulary).astype(np.float64)
        highest = logits.max()
        logprobs = logits - (highest + np.log(np.exp(logits - highest).sum()))
        return Probability(token, float(logprobs[token]), _likeliest(logprobs, self._sampling.logprobs or 0))

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        if self._chain:
            cpp.llama_sampler_free(self._chain)
            self._chain = None
        if self._constraint:
            self._constraint.close()

    def _filled(self, logits: NDArray[np.float32]) -> Candidates:
        """All tokens as candidates, in an array that is used again: samplers put it into another order."""
        self._candidates["id"], self._candidates["logit"] = self._ids, logits
        return self._candidates

    def _picked(self, candidates: Candidates) -> int | None:
        """What the chain chooses; None where nothing is possible."""
        found = apply(self._chain, candidates) if len(candidates) else None
        return found[0] if found and found[1] > -np.inf else None


def _parts(sampling: Sampling, vocabulary: int) -> Iterator[Any]:
    """The samplers of the chain, in llama.cpp's order."""
    if sampling.logit_bias:
        biases = (cpp.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
        yield cpp.llama_sampler_init_logit_bias(vocabulary, len(biases), biases)
    penalties = sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
    if penalties != (1.0, 0.0, 0.0):
        yield cpp.llama_sampler_init_penalties(vocabulary, PENALTY_TOKENS, *penalties)
    if sampling.temperature == 0:
        yield cpp.llama_sampler_init_greedy()
        return
    if sampling.top_k:
        yield cpp.llama_sampler_init_top_k(sampling.top_k)
    if sampling.typical_p < 1:
        yield cpp.llama_sampler_init_typical(sampling.typical_p, KEPT_LEAST)
    yield cpp.llama_sampler_init_top_p(sampling.top_p, KEPT_LEAST)
    yield cpp.llama_sampler_init_min_p(sampling.min_p, KEPT_LEAST)
    yield cpp.llama_sampler_init_temp(sampling.temperature)
    yield cpp.llama_sampler_init_dist(random.getrandbits(32) if sampling.seed is None else sampling.seed)


def _logits(context: int, output: int, vocabulary: int) -> NDArray[np.float32]:
    """What the model computed: a view of llama.cpp's own memory, which the next batch overwrites."""
    found = cpp.llama_get_logits_ith(context, output)
    if not found:
        raise LocalchatError("llama.cpp has no logits of this token", "report this; its own words are in {log}")
    array: Any = (ctypes.c_float * vocabulary).from_address(ctypes.addressof(found.contents))
    logits: NDArray[np.float32] = np.asarray(array)
    return logits


def _likeliest(logprobs: NDArray[np.float64], count: int) -> tuple[tuple[int, float], ...]:
    """The likeliest tokens, equally likely ones in the order of their ids."""
    if not count:
        return ()
    least = np.partition(logprobs, -count)[-count] if count < len(logprobs) else -np.inf
    ids = np.flatnonzero(logprobs >= least)
    order = ids[np.argsort(-logprobs[ids], kind="stable")][:count]
    return tuple((int(token), float(logprobs[token])) for token in order)
