"""Replies of an engine to prompts of a given length, for benchmarks."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from localchat.engine.events import Done, Usage
from localchat.engine.process import EngineProcess
from localchat.engine.store import NO_STORE, Store
from localchat.gguf_file import read_header
from localchat.llama.placement import SLOTS, Placement, Share
from localchat.plan.facts import shape_of
from localchat.sampling import Sampling

CONTEXT_TOKENS, PROMPT_TOKENS, WRITTEN_TOKENS = 2048, 512, 128
WRITTEN = Sampling(temperature=0, max_tokens=WRITTEN_TOKENS, speculate=False)


@dataclass(frozen=True, slots=True)
class Where:
    """What computes: threads of the processor, or one device that has the whole model."""

    threads: int
    device: str = ""

    def shares(self, model: Path) -> tuple[Share, ...]:
        """All layers and the output, if it is a device."""
        return (Share(self.device, shape_of(read_header(model)).layers + 1),) if self.device else ()

    @property
    def options(self) -> list[str]:
        """The same for llama.cpp's own programs."""
        return ["-t", str(self.threads), "-dev", self.device or "none", "-ngl", "999" if self.device else "0"]


@contextmanager
def engine_alone(model: Path, where: Where) -> Iterator[EngineProcess]:
    """An engine that has one conversation at a time, as llama-bench does."""
    with engine_with(model, CONTEXT_TOKENS, where, slots=1) as engine:
        yield engine


@contextmanager
def engine_with(
    model: Path, context: int, where: Where, slots: int = SLOTS, store: Store = NO_STORE
) -> Iterator[EngineProcess]:
    """The same with more to choose."""
    with tempfile.TemporaryDirectory() as folder:
        placement = Placement(context, where.threads, PROMPT_TOKENS, "f16", where.shares(model), slots=slots)
        with EngineProcess(model, placement, Path(folder) / "engine.log", store=store) as engine:
            yield engine


def prompts(engine: EngineProcess, count: int) -> list[list[int]]:
    """Prompts of the same length that have no beginning in common, so that nothing is reused."""
    texts = [f"{number} " + "The whale swam on and the ship followed it. " * 100 for number in range(count)]
    return [tokens[:PROMPT_TOKENS] for tokens in engine.tokenize(texts)]


def prompts_of(engine: EngineProcess, lengths: Sequence[int], number: int) -> list[list[int]]:
    """Prompts of these lengths that no other number has."""
    [known] = engine.tokenize([" ".join(map(str, range(1000)))])
    words = random.Random(number)
    return [words.choices(known, k=length) for length in lengths]


def reply(engine: EngineProcess, prompt: Sequence[int], sampling: Sampling = WRITTEN) -> Usage:
    """How long the engine took to read this and to write behind it."""
    with closing(engine.reply(prompt, sampling, [])) as events:
        for event in events:
            if isinstance(event, Done):
                return event.usage
    raise AssertionError("a reply ends with Done")


def rates(model: Path, where: Where) -> tuple[float, float]:
    """Tokens a second of reading a prompt, and of writing behind it, as llama-bench measures.

    Each has a process of its own, which reads once before the reading: one that has computed for long is slower by
    some hundredths than one that had to load first.
    """
    once = replace(WRITTEN, max_tokens=1)
    with engine_alone(model, where) as engine:
        other, prompt = prompts(engine, 2)
        reply(engine, other, once)
        reading = reply(engine, prompt, once).prompt_tokens_per_second
    with engine_alone(model, where) as engine:
        return reading, reply(engine, prompt).tokens_per_second


@dataclass(frozen=True, slots=True)
class LlamaBench:
    """llama.cpp's own program for measuring."""

    program: Path
    model: Path
    where: Where

    def readings(self, lengths: Sequence[int], depth: int, runs: int) -> list[list[float]]:
        """For each length tokens a second of each run; what is before them is computed once."""
        return self._rates(runs, "-p", ",".join(map(str, lengths)), "-n", "0", "-d", str(depth))

    def writing(self, tokens: int, depth: int) -> float:
        """Tokens a second."""
        return self._rates(1, "-p", "0", "-n", str(tokens), "-d", str(depth))[0][0]

    def rates(self, read: int, written: int) -> tuple[float, float]:
        """Tokens a second of reading so many, and of writing so many behind them."""
        return self.readings([read], 0, 1)[0][0], self.writing(written, read)

    def _rates(self, runs: int, *tests: str) -> list[list[float]]:
        command = [str(self.program), "-m", str(self.model), *self.where.options, "-r", str(runs), "-o", "json"]
        done = subprocess.run([*command, *tests], capture_output=True, check=True, text=True)
        return [[float(rate) for rate in test["samples_ts"]] for test in json.loads(done.stdout)]
