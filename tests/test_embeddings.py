"""Texts that become vectors: beside replies, in short steps, and as llama.cpp alone makes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_context import ScriptedContext, ScriptedModel, counting, scripted, vector_of
from stage import Stage, counted, expected, readings, refused

from localchat.engine.events import Embedded, Piece, Reading, Usage
from localchat.engine.process import EngineProcess
from localchat.engine.vector import packed, scaled, shortened, unpacked
from localchat.engine.wire import event_frame, frame_event, pack, unpack
from localchat.llama.placement import Placement
from localchat.sampling import Sampling
from localchat.server.metrics import Metrics

__all__ = ["scripted"]

LONG = [5] * 300
GREEDY = Sampling(temperature=0, max_tokens=40, logprobs=0, speculate=False)
TIE = 0.3  # in a batch with others, sums are rounded otherwise
TEXT = "The cat sits on the mat."


def end_of(one: Stage, number: int) -> Embedded:
    [*others, end] = one.told[number]
    assert isinstance(end, Embedded)
    assert not any(isinstance(event, Embedded) for event in others)
    return end


# In steps


@pytest.mark.parametrize("prompt", [[7], [5, 6, 7], LONG, [5] * 512])
def test_a_text_becomes_the_vector_of_its_last_token(prompt: list[int]) -> None:
    one = counted()
    one.schedule.embed(1, prompt)
    one.finish()
    assert end_of(one, 1) == Embedded(scaled(vector_of(prompt)), len(prompt), 0)
    assert readings(one.told[1])[0] == (0, len(prompt))
    assert one.context.used == 0, "nobody goes on from it"


def test_a_short_text_takes_one_step_and_a_long_one_ends_in_a_short_one() -> None:
    one = counted(batch=400)
    one.schedule.embed(1, LONG[: one.context.outputs])
    one.finish()
    one.schedule.embed(2, LONG)
    one.finish()
    assert [[len(part.tokens) for part in call] for call in one.context.calls] == [[36], [299], [1]]


def test_replies_go_on_beside_it_and_are_what_they_are_alone() -> None:
    one = counted(tokens=2048)
    one.ask(1, [5, 6], limit=60)
    one.step()
    one.schedule.embed(2, LONG)
    one.finish()
    assert one.text(1) == expected([5, 6], 60)
    assert end_of(one, 2).vector == scaled(vector_of(LONG))
    assert all(1 in [part.slot for part in call] or 0 in [part.slot for part in call] for call in one.context.calls)


def test_many_short_texts_do_not_keep_a_prompt_from_being_read() -> None:
    one = counted(tokens=2048, batch=16)
    one.ask(1, [9] * 160, limit=1)
    for number in range(2, 60):
        one.schedule.embed(number, [3, number])
    one.finish()
    assert one.text(1) == expected([9] * 160, 1)
    reads = [any(len(part.tokens) > 2 for part in call) for call in one.context.calls]
    until = len(reads) - reads[::-1].index(True)
    assert until > 20
    assert all(any(pair) for pair in pairwise(reads[:until])), "it has every second step"


def test_conversations_stay_in_the_cache_when_texts_come_and_go() -> None:
    one = counted(slots=2)
    one.reply([8] * 50, limit=1)
    for number in range(5):
        one.schedule.embed(number, [100 + number] * 20)
        one.finish()
    told = one.reply([8] * 50 + [2], limit=1)
    assert Reading(50, 51) in told


def test_what_is_cancelled_leaves_nothing() -> None:
    one = counted(batch=16)
    one.schedule.embed(1, LONG)
    one.step()
    one.schedule.cancel({1})
    assert one.schedule.is_idle
    assert one.context.used == 0
    assert not any(isinstance(event, Embedded) for event in one.told[1])


def test_refusals() -> None:
    one = counted()
    with refused("0 tokens cannot be read"):
        one.schedule.embed(1, [])
    with refused("513 tokens cannot be read"):
        one.schedule.embed(1, [5] * 513)
    model = ScriptedModel(counting)
    model.pools_last = False
    with refused("vectors of whole texts"):
        Stage(model, ScriptedContext()).schedule.embed(1, [5])


# As bytes


def test_a_vector_goes_over_the_wire_as_it_is() -> None:
    event = Embedded(scaled(np.array([3, -4e-30, 4], np.float32)), 7, 2)
    assert frame_event(unpack(pack(event_frame(event)))) == event


def test_lengths_are_one() -> None:
    assert unpacked(scaled(np.array([3, 4], np.float32))).tolist() == pytest.approx([0.6, 0.8])
    assert unpacked(scaled(np.array([3e30, 4e30], np.float32))).tolist() == pytest.approx([0.6, 0.8])
    assert not scaled(np.zeros(3, np.float32))
    assert not scaled(np.array([np.nan, 1], np.float32))
    assert unpacked(shortened(packed(np.array([0.6, 0.8, 0])), 1)).tolist() == [1.0]
    assert unpacked(shortened(packed(np.array([0, 1.0])), 1)).tolist() == [0.0]


def test_they_are_counted() -> None:
    metrics = Metrics()
    metrics.embedded(Embedded(b"", 7, 3))
    metrics.replied("stop", Usage(5, 1, 2, 0.1, 0.1, 0.1))
    text = metrics.text(0, 0, {})
    assert 'replies_total{ended="embedded"} 1' in text
    assert "localchat_prompt_tokens_total 12\nlocalchat_cached_tokens_total 4" in text.replace(
        "# TYPE localchat_cached_tokens_total counter\n", ""
    )


# With a real model


@pytest.fixture(scope="module")
def engine(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with EngineProcess(smollm2_file, Placement(2048, 1, 64, "f16"), log) as engine:
        yield engine


def vector(engine: EngineProcess, tokens: Sequence[int]) -> Any:
    *_, end = engine.embed(tokens)
    assert isinstance(end, Embedded)
    return unpacked(end.vector).astype(np.float64)


def tokens(engine: EngineProcess, text: str) -> list[int]:
    return engine.tokenize([text])[0]


def written(engine: EngineProcess, prompt: Sequence[int]) -> list[tuple[str, float]]:
    events = engine.reply(prompt, GREEDY, ())
    return [(one.text, one.logprob) for event in events if isinstance(event, Piece) for one in event.logprobs]


@pytest.mark.model
def test_the_vector_is_that_of_llama_cpp_alone(engine: EngineProcess, smollm2_file: Path) -> None:
    for text in (TEXT, TEXT * 12):  # one step, and several
        prompt = tokens(engine, text)
        assert vector(engine, prompt) @ alone(smollm2_file, prompt) == pytest.approx(1, abs=1e-3)


def alone(path: Path, prompt: Sequence[int]) -> Any:
    """The vector of the last token as llama.cpp itself pools it, in a context of its own."""
    from llama_cpp import llama_cpp as cpp

    parameters = cpp.llama_model_default_params()
    model = cpp.llama_model_load_from_file(str(path).encode(), parameters)
    raw = cpp.llama_context_default_params()
    raw.n_ctx, raw.n_batch, raw.n_ubatch, raw.embeddings = 512, 512, 512, True
    raw.pooling_type = cpp.LLAMA_POOLING_TYPE_LAST
    context = cpp.llama_init_from_model(model, raw)
    array = (cpp.llama_token * len(prompt))(*prompt)
    assert cpp.llama_decode(context, cpp.llama_batch_get_one(array, len(prompt))) == 0
    found = np.ctypeslib.as_array(cpp.llama_get_embeddings_seq(context, 0), (cpp.llama_model_n_embd_out(model),))
    unit = found.astype(np.float64) / np.linalg.norm(found)
    cpp.llama_free(context)
    cpp.llama_model_free(model)
    return unit


@pytest.mark.model
def test_replies_beside_vectors_are_those_alone(engine: EngineProcess) -> None:
    prompt, text = tokens(engine, "The numbers from one to twenty: one, two, three,"), tokens(engine, TEXT)
    first, one = vector(engine, text), written(engine, prompt)
    found: list[list[tuple[str, float]]] = []
    thread = threading.Thread(target=lambda: found.append(written(engine, prompt)))
    thread.start()
    beside = [vector(engine, text)]
    while thread.is_alive():
        beside.append(vector(engine, text))
    thread.join()
    assert [text for text, _ in found[0]] == [text for text, _ in one]
    assert [value for _, value in found[0]] == pytest.approx([value for _, value in one], abs=TIE)
    assert all(first @ other == pytest.approx(1, abs=1e-3) for other in beside)


@pytest.mark.model
def test_what_is_in_the_cache_changes_no_vector(engine: EngineProcess) -> None:
    prompt = tokens(engine, "A long story of a cat and a dog. " * 20)
    first = vector(engine, prompt)
    list(engine.reply(prompt, Sampling(temperature=0, max_tokens=1), ()))
    *_, end = engine.embed(prompt)
    assert isinstance(end, Embedded)
    assert end.cached_tokens == len(prompt) - 1
    assert unpacked(end.vector).astype(np.float64) @ first == pytest.approx(1, abs=1e-3)


@pytest.mark.model
def test_closing_it_cancels(engine: EngineProcess) -> None:
    with closing(engine.embed(tokens(engine, "word " * 1500))) as events:
        next(events)
    assert vector(engine, tokens(engine, TEXT)).shape == (576,)
