"""One reply on its way: its tokens, what was written, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from localchat.engine.busy import Moment, now, other_cores
from localchat.engine.events import Done, Piece, Reason, TokenProbability, Usage
from localchat.engine.lookup import Lookup, Offer
from localchat.engine.slots import Slot
from localchat.engine.writer import Writer
from localchat.llama.model import Model
from localchat.llama.sampler import Probability, Sampler
from localchat.sampling import Sampling


@dataclass(eq=False, kw_only=True)
class Task:
    """A prompt that is read."""

    number: int
    """By which the caller knows it."""
    tokens: list[int]
    """Those of the prompt, and then those that were written."""
    cached_tokens: int = 0
    slot: Slot | None = None
    was_told_to_wait: bool = False

    @property
    def known(self) -> list[int]:
        """What is in the cache."""
        return self.slot.tokens if self.slot else []

    @property
    def pending(self) -> int:
        """Tokens that are not in the cache yet."""
        return len(self.tokens) - len(self.known)

    @property
    def is_first(self) -> bool:
        """Was nothing made of it yet?"""
        return True

    def close(self) -> None:
        """Give back what llama.cpp has for it."""


@dataclass(eq=False, kw_only=True)
class Job(Task):
    """A prompt that is read and then answered."""

    sampling: Sampling
    writer: Writer
    sampler: Sampler
    lookup: Lookup
    since: Moment = field(default_factory=now)
    started: float = field(default_factory=time.perf_counter)
    prompt_tokens: int = 0
    read_at: float = 0.0
    first_token_at: float = 0.0
    limit: int = 0
    """Tokens that may be written."""
    probabilities: list[TokenProbability] = field(default_factory=list)
    """Of the tokens whose text was not passed on yet."""

    @property
    def is_reading(self) -> bool:
        """Is the prompt not in the cache yet, or what was written not there any more?"""
        return self.pending > 1 or self.is_first

    @property
    def is_first(self) -> bool:
        """Was nothing written yet?"""
        return self.writer.tokens == 0

    @property
    def is_over(self) -> bool:
        """Is there nothing more to write?"""
        return self.writer.ended or self.writer.tokens >= self.limit

    def take(self, token: int, probability: TokenProbability | None) -> Piece | None:
        """The next token of the reply; the text that it makes complete, if it does."""
        self.first_token_at = self.first_token_at or time.perf_counter()
        if probability:
            self.probabilities.append(probability)
        text = self.writer.take(token)
        if not self.writer.ended:
            self.tokens.append(token)
        return self._piece(text) if text else None

    def offer(self) -> Offer:
        """Tokens that may follow the next one's."""
        most = self.limit - self.writer.tokens - 1
        return self.lookup.offer(self.tokens, most) if self.sampling.speculate else Offer()

    def may_guess(self, count: int) -> bool:
        """May so many tokens behind the next one be tried?"""
        return self.sampling.speculate and self.writer.tokens + count < self.limit

    def finish(self, threads: int) -> list[Piece | Done]:
        """The last events; so many threads have computed."""
        ended = time.perf_counter()
        reason: Reason = "stop" if self.writer.ended else "length"
        rest = self.writer.finish()
        first = self.first_token_at or ended
        usage = Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.writer.tokens,
            first_token_seconds=first - self.started,
            reading_seconds=(self.read_at or ended) - self.started,
            writing_seconds=ended - first,
            other_cores=other_cores(self.since, now()),
            threads=threads,
        )
        return [*([self._piece(rest)] if rest else []), Done(reason, usage, self.writer.stop)]

    def close(self) -> None:
        """Give back what llama.cpp has for it."""
        self.sampler.close()

    def _piece(self, text: str) -> Piece:
        found, self.probabilities = tuple(self.probabilities), []
        return Piece(text, self.writer.tokens, found)


def new_job(number: int, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str], model: Model) -> Job:
    """A job for this prompt. Raises LocalchatError where the sampling cannot be."""
    return Job(
        number=number, tokens=list(tokens), prompt_tokens=len(tokens), sampling=sampling,
        writer=Writer(model, stops), sampler=Sampler(model, sampling), lookup=Lookup(),
    )  # fmt: skip


def as_text(probability: Probability, model: Model) -> TokenProbability:
    """The same with the texts of tokens in the place of their ids."""

    def text(token: int) -> str:
        return model.piece(token, special=True).decode("utf-8", "replace")

    likeliest = tuple((text(token), logprob) for token, logprob in probability.likeliest)
    return TokenProbability(text(probability.token), probability.logprob, likeliest)
