"""Replies of an engine to prompts of a given length, for benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from localchat.engine.events import Done, Usage
from localchat.engine.process import EngineProcess
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

CONTEXT_TOKENS, PROMPT_TOKENS, WRITTEN_TOKENS = 2048, 512, 128


@contextmanager
def engine_on_cpu(model: Path, threads: int) -> Iterator[EngineProcess]:
    """An engine that has the model in main memory."""
    with tempfile.TemporaryDirectory() as folder:
        placement = Placement(CONTEXT_TOKENS, threads, PROMPT_TOKENS, "f16")
        with EngineProcess(model, placement, Path(folder) / "engine.log") as engine:
            yield engine


def prompts(engine: EngineProcess, count: int) -> list[list[int]]:
    """Prompts of the same length that have no beginning in common, so that nothing is reused."""
    texts = [f"{number} " + "The whale swam on and the ship followed it. " * 100 for number in range(count)]
    return [tokens[:PROMPT_TOKENS] for tokens in engine.tokenize(texts)]


def reply(engine: EngineProcess, prompt: Sequence[int]) -> Usage:
    """How long the engine took to read this and to write behind it."""
    sampling = Sampling(temperature=0, max_tokens=WRITTEN_TOKENS)
    with closing(engine.reply(prompt, sampling, [])) as events:
        for event in events:
            if isinstance(event, Done):
                return event.usage
    raise AssertionError("a reply ends with Done")
