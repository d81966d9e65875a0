"""What is not read again: a second turn, and a conversation that is opened from disk."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_engine import LlamaBench, Where, engine_with, prompts_of, reply
from bench_rows import BESIDE_LLAMA_CPP, Row

from localchat.engine.process import EngineProcess
from localchat.engine.store import Store
from localchat.sampling import Sampling

TURN_TOKENS, NEW_TOKENS = 3000, (64, 50)  # llama.cpp itself takes longer for the fewer ones
CONTEXT_TOKENS = 4096
BUDGET_BYTES = 8 << 30
SHORT = Sampling(temperature=0, max_tokens=4)
AGAIN = ("from disk", "read again")


def turn_rows(model: Path, where: Where, runs: int, alone: LlamaBench | None) -> Iterator[Row]:
    """Milliseconds to the first token; llama-bench reads as many new tokens behind a cache that is filled already.

    The conversation is read once, which takes minutes with a large model; each run then asks something else behind it.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, BUDGET_BYTES, "benchmark")
        with engine_with(model, CONTEXT_TOKENS, where, store=store) as engine:
            [talk] = prompts_of(engine, [TURN_TOKENS], runs)
            read = _first(engine, talk)
            news = [prompts_of(engine, NEW_TOKENS, run) for run in range(runs)]
            second = [[_first(engine, [*talk, *new]) for new in run] for run in news]
        bare = alone.readings(NEW_TOKENS, TURN_TOKENS, runs) if alone else [[] for _ in NEW_TOKENS]
        restored = []
        for _ in range(runs):
            with engine_with(model, CONTEXT_TOKENS, where, store=store) as engine:
                restored.append(_first(engine, talk))
    for new, ours, rates in zip(NEW_TOKENS, zip(*second, strict=True), bare, strict=True):
        theirs = [new / rate for rate in rates]
        yield _row(f"first token of {new} tokens behind {TURN_TOKENS:,}", ours, theirs, BESIDE_LLAMA_CPP)
    yield _row(f"first token of {TURN_TOKENS:,} tokens, from disk", restored, [read], AGAIN)


def _row(test: str, ours: Sequence[float], theirs: Sequence[float], columns: tuple[str, str]) -> Row:
    """Medians of what was not measured in turn; the ratio is above 1 where ours is shorter."""
    our = 1000 * statistics.median(ours)
    if not theirs:
        return Row(test, "ms", our, columns=columns)
    their = 1000 * statistics.median(theirs)
    return Row(test, "ms", our, their, their / our, columns)


def _first(engine: EngineProcess, tokens: Sequence[int]) -> float:
    return reply(engine, tokens, SHORT).first_token_seconds
