"""What is not read again: a second turn, and a conversation that is opened from disk."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_engine import LlamaBench, engine_with, prompts_of, reply
from bench_rows import BESIDE_LLAMA_CPP, Row

from localchat.engine.process import EngineProcess
from localchat.engine.store import Store
from localchat.sampling import Sampling

TURN_TOKENS, NEW_TOKENS = 3000, 64
CONTEXT_TOKENS = 4096
BUDGET_BYTES = 8 << 30
SHORT = Sampling(temperature=0, max_tokens=4)
AGAIN = ("from disk", "read again")


def turn_rows(model: Path, threads: int, runs: int, alone: LlamaBench | None) -> Iterator[Row]:
    """Milliseconds to the first token; llama-bench reads as many new tokens behind a cache that is filled already."""
    bare, second, reading, restored = [], [], [], []
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder, BUDGET_BYTES, "benchmark")
            with engine_with(model, CONTEXT_TOKENS, threads, store=store) as engine:
                talk, new = prompts_of(engine, [TURN_TOKENS, NEW_TOKENS], number)
                reading.append(_first(engine, talk))
                second.append(_first(engine, [*talk, *new]))
                bare += [NEW_TOKENS / alone.reading(NEW_TOKENS, TURN_TOKENS)] if alone else []
            with engine_with(model, CONTEXT_TOKENS, threads, store=store) as engine:
                restored.append(_first(engine, talk))
    yield _row(f"first token of {NEW_TOKENS} tokens behind {TURN_TOKENS:,}", second, bare, BESIDE_LLAMA_CPP)
    yield _row(f"first token of {TURN_TOKENS:,} tokens, from disk", restored, reading, AGAIN)


def _row(test: str, ours: Sequence[float], theirs: Sequence[float], columns: tuple[str, str]) -> Row:
    """The ratio is above 1 where ours is shorter."""
    if not theirs:
        return Row(test, "ms", 1000 * statistics.median(ours), columns=columns)
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    return Row(test, "ms", 1000 * statistics.median(ours), 1000 * statistics.median(theirs), ratio, columns)


def _first(engine: EngineProcess, tokens: Sequence[int]) -> float:
    return reply(engine, tokens, SHORT).first_token_seconds
