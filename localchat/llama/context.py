"""A context: the KV cache of one conversation, decoding, and sampling, all in llama.cpp's own code."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import TracebackType

from llama_cpp import llama_cpp as cpp

from localchat.errors import LocalchatError, NoMemory
from localchat.llama.log import LOG
from localchat.llama.model import Model
from localchat.llama.parameters import context_parameters
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

HINT = "choose a smaller --context"
PENALTY_TOKENS = 64
SEQUENCE = 0


class Context:
    """The KV cache of one conversation, and the threads that work on it."""

    def __init__(self, model: Model, placement: Placement) -> None:
        """Allocate. Raises NoMemory where memory does not suffice, LocalchatError where llama.cpp refuses."""
        self._handle = cpp.llama_init_from_model(model.handle, context_parameters(placement))
        if not self._handle:
            message = f"a context of {placement.context:,} tokens could not be allocated"
            short = LOG.short_of(placement.devices)
            raise NoMemory(message, HINT, short) if short else LocalchatError(message, HINT)
        self._memory = cpp.llama_get_memory(self._handle)
        self._batch = cpp.llama_batch_init(placement.batch, 0, 1)
        for index in range(placement.batch):
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = SEQUENCE
        self.tokens = int(cpp.llama_n_ctx(self._handle))
        self.batch = placement.batch

    def close(self) -> None:
        """Give the memory back."""
        cpp.llama_batch_free(self._batch)
        cpp.llama_free(self._handle)

    def keep(self, count: int) -> bool:
        """Forget everything behind the first `count` tokens. False if only all could be forgotten, which was done."""
        if cpp.llama_memory_seq_rm(self._memory, SEQUENCE, count, -1):
            return True
        cpp.llama_memory_clear(self._memory, True)
        return False

    def decode(self, tokens: Sequence[int], position: int) -> None:
        """Read up to `batch` tokens that begin at this position; the next token can then be sampled.

        Raises LocalchatError where the cache is full or llama.cpp fails.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index], batch.logits[index] = token, position + index, 0
        batch.logits[len(tokens) - 1] = 1
        if status := cpp.llama_decode(self._handle, batch):
            raise LocalchatError(
                f"llama.cpp could not compute the next tokens (status {status})", "its own words are in {log}"
            )

    def sample(self, sampler: Sampler) -> int:
        """The next token after the last decoded one."""
        return int(cpp.llama_sampler_sample(sampler.handle, self._handle, -1))


class Sampler:
    """llama.cpp's chain of samplers, in its usual order. Use it as a context manager."""

    def __init__(self, sampling: Sampling, vocabulary: int) -> None:
        self.handle = cpp.llama_sampler_chain_init(cpp.llama_sampler_chain_default_params())
        if sampling.repeat_penalty != 1.0:
            self._add(cpp.llama_sampler_init_penalties(vocabulary, PENALTY_TOKENS, sampling.repeat_penalty, 0.0, 0.0))
        if sampling.temperature == 0:
            self._add(cpp.llama_sampler_init_greedy())
            return
        if sampling.top_k:
            self._add(cpp.llama_sampler_init_top_k(sampling.top_k))
        self._add(cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        self._add(cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(cpp.llama_sampler_init_temp(sampling.temperature))
        seed = random.getrandbits(32) if sampling.seed is None else sampling.seed
        self._add(cpp.llama_sampler_init_dist(seed))

    def _add(self, sampler: object) -> None:
        cpp.llama_sampler_chain_add(self.handle, sampler)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        cpp.llama_sampler_free(self.handle)
