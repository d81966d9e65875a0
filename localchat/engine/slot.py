"""One KV cache and the loop that reads a prompt into it and writes a reply. Runs in the engine's process."""

from __future__ import annotations

import codecs
import time
from collections.abc import Generator, Iterator, Sequence

from localchat.engine.events import Done, Event, Piece, Reading, Reason, Usage
from localchat.engine.stops import StopScanner
from localchat.errors import LocalchatError
from localchat.llama.context import Context, Sampler
from localchat.llama.model import Model
from localchat.sampling import Sampling

# A slice of the prompt is as long as about this many seconds of work, so that a cancel is heard soon.
SLICE_SECONDS = 0.5
SHORTEST_SLICE_TOKENS = 32


class Slot:
    """The tokens of one conversation in the KV cache, and replies to it."""

    def __init__(self, model: Model, context: Context) -> None:
        self._model, self._context = model, context
        self._cached: list[int] = []
        self._slice = SHORTEST_SLICE_TOKENS

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Read what is new of the prompt, then write. Closing the iterator between events cancels.

        Raises LocalchatError where there is nothing to read or no room for it.
        """
        if not 0 < len(tokens) <= self._context.tokens:
            raise LocalchatError(
                f"a prompt of {len(tokens):,} tokens cannot be read", f"the context holds {self._context.tokens:,}"
            )
        started = time.perf_counter()
        cached = self._forget_from(shared_prefix(self._cached, tokens[:-1]))
        yield from self._read(tokens)
        read = time.perf_counter()
        writer = _Writer(self._model, sampling, stops)
        reason: Reason = "length"
        for text in self._write(writer, self._limit(sampling)):
            yield Piece(text, writer.tokens)
        if writer.ended:
            reason = "stop"
        if rest := writer.finish():
            yield Piece(rest, writer.tokens)
        first = writer.first_token_at or time.perf_counter()
        yield Done(
            reason,
            Usage(
                prompt_tokens=len(tokens),
                cached_tokens=cached,
                completion_tokens=writer.tokens,
                first_token_seconds=first - started,
                reading_seconds=read - started,
                writing_seconds=time.perf_counter() - first,
            ),
        )

    def _forget_from(self, count: int) -> int:
        if not self._context.keep(count):
            count = 0
        del self._cached[count:]
        return count

    def _read(self, tokens: Sequence[int]) -> Iterator[Reading]:
        while len(self._cached) < len(tokens):
            yield Reading(len(self._cached), len(tokens))
            before = time.perf_counter()
            part = tokens[len(self._cached) : len(self._cached) + self._slice]
            self._decode(part)
            self._slice = self._next_slice(len(part), time.perf_counter() - before)
        yield Reading(len(tokens), len(tokens))

    def _next_slice(self, tokens: int, seconds: float) -> int:
        """Longer while slices are quick, shorter when they are slow; never beyond the batch."""
        fitting = int(tokens * SLICE_SECONDS / max(seconds, 1e-6))
        return max(SHORTEST_SLICE_TOKENS, min(fitting, 2 * self._slice, self._context.batch))

    def _write(self, writer: _Writer, limit: int) -> Iterator[str]:
        with Sampler(writer.sampling, self._model.vocabulary) as sampler:
            while not writer.ended and writer.tokens < limit:
                token = self._context.sample(sampler)
                text = writer.take(token)
                if text:
                    yield text
                if not writer.ended and writer.tokens < limit:
                    self._decode([token])

    def _limit(self, sampling: Sampling) -> int:
        room = self._context.tokens - len(self._cached)
        return room if sampling.max_tokens is None else min(room, sampling.max_tokens)

    def _decode(self, tokens: Sequence[int]) -> None:
        self._context.decode(tokens, len(self._cached))
        self._cached += tokens


class _Writer:
    """Tokens of one reply become text: whole characters only, without what ends the reply."""

    def __init__(self, model: Model, sampling: Sampling, stops: Sequence[str]) -> None:
        self.sampling = sampling
        self._model = model
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scanner = StopScanner(stops)
        self.tokens = 0
        self.first_token_at = 0.0
        self.ended = False

    def take(self, token: int) -> str:
        """The text that this token makes complete."""
        self.first_token_at = self.first_token_at or time.perf_counter()
        self.tokens += 1
        if self._model.is_end(token):
            self.ended = True
            return ""
        # SentencePiece puts a space before a text; the first piece of a reply carries it.
        strip = 1 if self.tokens == 1 and self._model.is_sentencepiece else 0
        text = self._scanner.feed(self._decoder.decode(self._model.piece(token, strip)))
        self.ended = self._scanner.stopped
        return text

    def finish(self) -> str:
        """What is left when no more tokens come."""
        if self._scanner.stopped:
            return ""
        return self._scanner.feed(self._decoder.decode(b"", True)) + self._scanner.finish()


def shared_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens that both begin with."""
    length = min(len(first), len(second))
    return next((index for index in range(length) if first[index] != second[index]), length)
