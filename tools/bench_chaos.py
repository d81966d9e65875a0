"""What must hold whatever happens: many clients that start, cancel and ask again, and an engine that is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from bench_engine import Where, engine_with
from bench_rows import Row

from localchat.engine.events import Done, Piece, TokenProbability
from localchat.engine.process import EngineProcess
from localchat.errors import EngineDied
from localchat.sampling import Sampling

CLIENTS, ACTIONS = 16, 1000
KILLS = 50
CONTEXT_TOKENS, WRITTEN_TOKENS = 4096, 24
WARM_UP_ACTIONS = 100
SETTLED = 1.05
MIB = 1 << 20
HELD = ("found", "wanted")
TOPICS = ("a whale", "a ship", "the sea", "a storm", "an island", "a captain", "the night", "a harbor")
# Two tokens can be all but equally likely, and the last bits of a sum, which are others in a batch of another size,
# decide between them; in llama.cpp's own programs as well. From there on texts are different and both right.
TIE = 0.3  # natural logarithm
SHORT = Sampling(temperature=0, max_tokens=WRITTEN_TOKENS, logprobs=5)

Said = tuple[TokenProbability, ...]


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    expected: dict[str, Said]
    actions: int = 0
    cancelled: int = 0
    mixed_up: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def chaos_rows(model: Path, where: Where) -> Iterator[Row]:
    """Numbers that are held against those that are wanted."""
    yield from _many_clients(model, where)
    yield _killed(model, where)


def _many_clients(model: Path, where: Where) -> Iterator[Row]:
    texts = [f"Tell me of {topic}. " * (number + 1) for number, topic in enumerate(TOPICS)]
    with engine_with(model, CONTEXT_TOKENS, where, slots=8) as engine:
        prompts = dict(zip(texts, engine.tokenize(texts), strict=True))
        tally = Tally({text: _whole(engine, tokens) for text, tokens in prompts.items()})
        _act(engine, prompts, tally, WARM_UP_ACTIONS)
        before = psutil.Process(engine.pid).memory_info().rss
        _act(engine, prompts, tally, ACTIONS)
        after = psutil.Process(engine.pid).memory_info().rss
        name = f"{tally.actions:,} actions of {CLIENTS} clients, {tally.cancelled:,} cancelled"
        yield Row(f"{name}: mixed up", "answers", tally.mixed_up, 0, None, HELD)
        yield Row(f"{name}: memory", "MiB", after / MIB, before * SETTLED / MIB, before * SETTLED / after, HELD)


def _act(engine: EngineProcess, prompts: dict[str, list[int]], tally: Tally, actions: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        numbers = range(tally.actions, tally.actions + actions)
        list(pool.map(lambda number: _action(engine, prompts, tally, random.Random(number)), numbers))


def _action(engine: EngineProcess, prompts: dict[str, list[int]], tally: Tally, chance: random.Random) -> None:
    """One question, read to its end or cancelled after some events."""
    text = chance.choice(list(prompts))
    patience = chance.choice([0, 1, 2, 4, 8, 1000, 1000])
    found: Said = ()
    is_whole = False
    with closing(engine.reply(prompts[text], SHORT, ())) as events:
        for count, event in enumerate(events):
            if count >= patience:
                break
            found += event.logprobs if isinstance(event, Piece) else ()
            is_whole = isinstance(event, Done)
    expected = tally.expected[text]
    with tally.lock:
        tally.actions += 1
        tally.cancelled += not is_whole
        tally.mixed_up += not _agree(expected, found)


def _agree(expected: Said, found: Said) -> bool:
    """Are the tokens the same, up to one where another was as likely?"""
    for wanted, token in zip(expected, found, strict=False):
        if wanted.text != token.text:
            return dict(wanted.likeliest).get(token.text, -100.0) > wanted.logprob - TIE
    return True


def _whole(engine: EngineProcess, tokens: Sequence[int]) -> Said:
    with closing(engine.reply(tokens, SHORT, ())) as events:
        return tuple(one for event in events if isinstance(event, Piece) for one in event.logprobs)


def _killed(model: Path, where: Where) -> Row:
    """How often what was shown before a kill was lost, or was not what is written without one."""
    chance, lost = random.Random(1), 0
    with engine_with(model, CONTEXT_TOKENS, where) as engine:
        prompt = engine.tokenize(["Tell me of a whale and a ship. "])[0]
        expected = _whole(engine, prompt)
    for _ in range(KILLS):
        with engine_with(model, CONTEXT_TOKENS, where) as engine:
            timer = threading.Timer(chance.uniform(0, 0.3), os.kill, (engine.pid, signal.SIGKILL))
            timer.start()
            shown: Said = ()
            with suppress(EngineDied), closing(engine.reply(prompt, SHORT, ())) as events:
                for event in events:
                    shown += event.logprobs if isinstance(event, Piece) else ()
            timer.cancel()
            lost += not _agree(expected, shown)
    return Row(f"{KILLS} kills in the middle of a reply: lost or wrong", "replies", lost, 0, None, HELD)
