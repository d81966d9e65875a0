"""How fast a loaded model reads and writes: behind a conversation of several lengths, and for several at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from localchat.engine.events import Done, Engine, Piece, Usage
from localchat.errors import LocalchatError
from localchat.sampling import BIAS_LIMIT, Sampling

DEPTHS = (0, 512, 4096)
USUAL_DEPTH = 512
READ_TOKENS, WRITTEN_TOKENS = 512, 64
CLIENTS = (1, 2, 4, 8)
CLIENT_PROMPT_TOKENS, CLIENT_WRITTEN_TOKENS = 32, 32
SHORT_PROMPT_TOKENS = 16
WARM_UP_TOKENS = 4
SENTENCE = "The whale swam on and the ship followed it through the night. "


@dataclass(frozen=True, slots=True)
class Measured:
    """One row: how fast, behind how much, for how many."""

    test: str
    """`read`, `write`, `first token`, or `together`."""
    tokens: int
    depth: int
    clients: int
    tokens_per_second: float | None
    """Of all clients together."""
    first_token: float | None = None
    """Seconds from the question to the first token of its answer; of several clients, of the last one."""


def measured(engine: Engine, slots: int) -> Iterator[Measured]:
    """Measure a loaded model that keeps so many conversations. Depths that its context does not hold are left out.

    Raises LocalchatError where the engine fails.
    """
    fresh = _Texts(engine)
    _reply(engine, fresh.take(SHORT_PROMPT_TOKENS), WARM_UP_TOKENS)  # the weights are paged in
    usage = _reply(engine, fresh.take(SHORT_PROMPT_TOKENS), 1)
    yield Measured("first token", SHORT_PROMPT_TOKENS, 0, 1, None, usage.first_token_seconds)
    for depth in [depth for depth in DEPTHS if depth + READ_TOKENS + WRITTEN_TOKENS <= engine.loaded.context]:
        yield from _behind(engine, fresh.take(depth + READ_TOKENS), depth)
    for clients in [clients for clients in CLIENTS if clients <= slots]:
        yield _together(engine, [fresh.take(CLIENT_PROMPT_TOKENS) for _ in range(clients)])


def usual_rate(rows: Sequence[Measured]) -> float:
    """The rate of writing in a conversation of usual length; 0 where none was measured."""
    rates = [row.tokens_per_second or 0.0 for row in rows if row.test == "write" and row.depth <= USUAL_DEPTH]
    return rates[-1] if rates else 0.0


class _Texts:
    """Prompts that have no beginning in common, so that none finds anything in the cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._count = engine, 0

    def take(self, tokens: int) -> list[int]:
        """A new one of this length."""
        self._count += 1
        text = f"{self._count}. " + SENTENCE * (tokens // 8 + 1)
        found = self._engine.tokenize([text])[0][:tokens]
        assert len(found) == tokens, "the sentence has at least eight tokens"
        return found


def _behind(engine: Engine, tokens: Sequence[int], depth: int) -> Iterator[Measured]:
    """Read on behind the first `depth` tokens, and write behind them."""
    if depth:
        _reply(engine, tokens[:depth], 1)
    usage = _reply(engine, tokens, 1)
    yield Measured("read", READ_TOKENS, depth, 1, usage.prompt_tokens_per_second)
    usage = _reply(engine, tokens[: max(1, depth)], WRITTEN_TOKENS)
    yield Measured("write", WRITTEN_TOKENS, depth, 1, usage.tokens_per_second)


def _together(engine: Engine, prompts: Sequence[Sequence[int]]) -> Measured:
    """All prompts at once: the tokens that were written in all, over the time from the first to the last of them."""
    with ThreadPoolExecutor(len(prompts)) as pool:
        asked = time.perf_counter()
        answers = [pool.submit(_timed, engine, prompt) for prompt in prompts]
        found = [answer.result() for answer in answers]
    written = sum(usage.completion_tokens for usage, _, _ in found)
    seconds = max(end for _, _, end in found) - min(first for _, first, _ in found)
    latest = max(first for _, first, _ in found) - asked
    return Measured("together", CLIENT_WRITTEN_TOKENS, 0, len(prompts), written / max(seconds, 1e-9), latest)


def _timed(engine: Engine, prompt: Sequence[int]) -> tuple[Usage, float, float]:
    """A reply, and when its first piece and its end came."""
    first: float | None = None
    with closing(engine.reply(prompt, _sampling(engine, CLIENT_WRITTEN_TOKENS), ())) as events:
        for event in events:
            if isinstance(event, Piece):
                first = first or time.perf_counter()
            if isinstance(event, Done):
                return event.usage, first or time.perf_counter(), time.perf_counter()
    raise LocalchatError("the engine broke off", "run the same command again")


def _reply(engine: Engine, prompt: Sequence[int], count: int) -> Usage:
    with closing(engine.reply(prompt, _sampling(engine, count), ())) as events:
        for event in events:
            if isinstance(event, Done):
                return event.usage
    raise LocalchatError("the engine broke off", "run the same command again")


def _sampling(engine: Engine, count: int) -> Sampling:
    """So many tokens, for no reply ends early."""
    end = engine.loaded.special_tokens.get(engine.loaded.eos)
    endless = ((end, -BIAS_LIMIT),) if end is not None else ()
    return Sampling(temperature=0, max_tokens=count, logit_bias=endless)
