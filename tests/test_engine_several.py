"""Several replies of a real model at once, sessions on disk, guesses, and what is left after many replies."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from localchat.chat import prompt_for
from localchat.conversation import Conversation
from localchat.engine.events import Done, Event, Piece, Reading, TokenProbability
from localchat.engine.process import EngineProcess
from localchat.engine.store import NO_STORE, Store
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

pytestmark = pytest.mark.model

GREEDY = Sampling(temperature=0, max_tokens=24, logprobs=3)
ENDLESS = Sampling(temperature=0)
TIE = 0.3
"""Tokens whose log probabilities differ by less are as likely: in a batch with others, sums are rounded otherwise."""

QUESTIONS = (
    "What is the capital of France?", "Write the numbers from one to ten.", "What color is the sky?", "Who are you?",
)  # fmt: skip

# The child is told to keep short texts as well, and to write down what it computes.
SITE = """
import sys
if sys.argv[:1] == ["-m"]:
    from localchat.engine import lookup, sessions
    from localchat.llama.context import Context
    sessions.WORTH_SAVING_TOKENS, sessions.WORTH_SAVING_SECONDS = 16, 0.0
    lookup.MOST = {most}
    decode = Context.decode
    def told(context, parts, report=None):
        print("step:", sum(len(part.tokens) for part in parts), file=sys.stderr, flush=True)
        return decode(context, parts, report)
    Context.decode = told
"""

Open = Callable[..., EngineProcess]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def talkative(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens engines whose log says how many tokens each step has."""

    def opened(model: Path, placement: Placement, store: Store = NO_STORE, guesses: int = 8) -> EngineProcess:
        (tmp_path / "sitecustomize.py").write_text(SITE.format(most=guesses))
        log.unlink(missing_ok=True)
        return EngineProcess(model, placement, log, store=store)

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return opened


def steps(log: Path) -> list[int]:
    """How many tokens were computed at once, step for step."""
    return [int(count) for count in re.findall(r"^step: (\d+)$", log.read_text("utf-8"), re.MULTILINE)]


def question(engine: EngineProcess, text: str) -> list[int]:
    conversation = Conversation().say("system", "You are a helpful AI assistant.")
    return list(prompt_for(engine, conversation.ask(text), GREEDY).tokens)


def likely(events: Sequence[Event]) -> list[TokenProbability]:
    """The tokens of a reply, and what else was likely."""
    return [found for event in events if isinstance(event, Piece) for found in event.logprobs]


def reply(engine: EngineProcess, prompt: Sequence[int]) -> tuple[list[TokenProbability], Done]:
    *events, done = engine.reply(prompt, GREEDY, ())
    assert isinstance(done, Done)
    return likely(events), done


def at_once(engine: EngineProcess, prompts: Sequence[Sequence[int]]) -> list[list[TokenProbability]]:
    found: dict[int, list[TokenProbability]] = {}

    def ask(number: int) -> None:
        found[number] = reply(engine, prompts[number])[0]

    threads = [threading.Thread(target=ask, args=[number]) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(prompts))]


def are_same(first: Sequence[TokenProbability], second: Sequence[TokenProbability]) -> bool:
    """The same tokens, up to one where two were as likely: behind it each text may go its own way."""
    for one, other in zip(first, second, strict=False):
        if one.text != other.text:
            return abs(one.logprob - dict(one.likeliest).get(other.text, -99.0)) < TIE
        if abs(one.logprob - other.logprob) > TIE:
            return False
    return len(first) == len(second)


# Several at once


def test_replies_at_once_are_those_of_one_alone(smollm2_file: Path, log: Path) -> None:
    placement = Placement(2048, 1, 512, "f16")
    with EngineProcess(smollm2_file, placement, log) as engine:
        prompts = [question(engine, text) for text in QUESTIONS]
        alone = [reply(engine, prompt)[0] for prompt in prompts]
        together = at_once(engine, prompts)
    assert all(are_same(one, other) for one, other in zip(alone, together, strict=True))
    assert not any(are_same(one, other) for one, other in pairwise(alone)), "they are different replies"
    assert "Paris" in "".join(found.text for found in together[0])


def test_more_replies_than_there_are_slots_are_all_given(chatml_file: Path, log: Path) -> None:
    with EngineProcess(chatml_file, Placement(512, 1, 512, "f16", slots=2), log) as engine:
        prompts = [[1, 300 + number, 7, 400 - number] for number in range(8)]
        for tokens in at_once(engine, prompts):
            assert len(tokens) == GREEDY.max_tokens


def test_texts_become_tokens_while_a_reply_is_written(chatml_file: Path, log: Path) -> None:
    with EngineProcess(chatml_file, Placement(8192, 1, 512, "f16"), log) as engine:
        expected = engine.tokenize(["Hello world"])
        with closing(engine.reply([1, 300], ENDLESS, ())) as events:
            until(events, Piece)
            assert engine.tokenize(["Hello world"]) == expected
            assert isinstance(next(events), Piece)


def until(events: Iterator[Event], kind: type[Event]) -> Event:
    return next(event for event in events if isinstance(event, kind))


def test_a_long_prompt_that_is_cancelled_is_broken_off_in_the_middle(smollm2_file: Path, log: Path) -> None:
    """The step is one of two seconds, or of 2,000 tokens: were it not broken off, these would be in the cache."""
    with EngineProcess(smollm2_file, Placement(4096, 1, 2048, "f16"), log) as engine:
        word = engine.tokenize([" word"])[0]
        list(engine.reply([5, *(word * 600)][:600], Sampling(max_tokens=1), ()))  # so that the pace is known
        prompt = [6, *(word * 4000)][:4000]
        events = engine.reply(prompt, ENDLESS, ())
        until(events, Reading)
        events.close()
        with closing(engine.reply(prompt, ENDLESS, ())) as again:
            first = until(again, Reading)
            assert isinstance(first, Reading)
            assert first.done_tokens < 128


# Sessions


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_what_was_read_is_there_after_a_restart(
    kv_type: str, chatml_file: Path, talkative: Open, tmp_path: Path
) -> None:
    (tmp_path / "sessions").mkdir()
    store = Store(str(tmp_path / "sessions"), 1 << 30, "model")
    placement = Placement(2048, 1, 512, kv_type)
    prompt = [1, *(300 + number * 7 % 500 for number in range(400))]
    with talkative(chatml_file, placement, store) as engine:
        reply(engine, prompt)
        expected, again = reply(engine, prompt)
    assert again.usage.cached_tokens == len(prompt) - 1
    with talkative(chatml_file, placement, store) as engine:
        found, done = reply(engine, prompt)
    assert done.usage.cached_tokens == len(prompt) - 1
    assert are_same(expected, found)


def test_a_session_of_another_cache_type_is_read_anew(chatml_file: Path, talkative: Open, tmp_path: Path) -> None:
    """Whoever names the model leaves the type out: llama.cpp refuses it, and the reply is right all the same."""
    (tmp_path / "sessions").mkdir()
    store = Store(str(tmp_path / "sessions"), 1 << 30, "model")
    prompt = [1, *range(300, 400)]
    with talkative(chatml_file, Placement(2048, 1, 512, "q8_0"), store) as engine:
        reply(engine, prompt)
    with talkative(chatml_file, Placement(2048, 1, 512, "f16"), store) as engine:
        found, done = reply(engine, prompt)
    with talkative(chatml_file, Placement(2048, 1, 512, "f16")) as engine:
        expected, _ = reply(engine, prompt)
    assert done.usage.cached_tokens == 0
    assert are_same(expected, found)


# Guesses


def test_guesses_change_no_text_and_save_steps(smollm2_file: Path, talkative: Open, log: Path) -> None:
    line = " The old keeper counted nine grey boats and wrote their names into a green book before the lamp went out."
    found: dict[int, tuple[list[TokenProbability], int]] = {}
    for most in (0, 8):
        with talkative(smollm2_file, Placement(1024, 1, 512, "f16"), guesses=most) as engine:
            tokens = engine.tokenize([line])[0]
            text, _ = reply(engine, [*tokens, *tokens, *tokens[:6]])
        found[most] = text, len(steps(log))
    assert "wrote their names into a" in "".join(token.text for token in found[8][0]), "it is a quotation"
    assert are_same(found[0][0], found[8][0])
    assert found[8][1] < found[0][1]


# What is left


def test_many_replies_that_are_cancelled_leave_no_memory_behind(chatml_file: Path, log: Path) -> None:
    """In each state that a reply can be in: waiting, being read, being written, over."""
    with EngineProcess(chatml_file, Placement(2048, 1, 512, "f16"), log) as engine:
        process = psutil.Process(engine.pid)

        def rounds(numbers: range) -> int:
            for number in numbers:
                opened = [
                    engine.reply([1, *([300 + number % 400] * (number % 300)), 7, place], Sampling(max_tokens=8), ())
                    for place in range(300, 306)
                ]
                for place, events in enumerate(opened):
                    for _ in range((number + place) % 6):
                        next(events, None)
                for events in opened:
                    events.close()
            return process.memory_info().rss

        before, after = rounds(range(40)), rounds(range(40, 160))
        assert len(reply(engine, [1, 300])[0]) == GREEDY.max_tokens
    assert after - before < 24 << 20
