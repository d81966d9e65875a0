"""Vectors over the wire: OpenAI's own client against a live server with a real model, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import openai
import pytest
from live_model import client, live
from openai import OpenAI
from serving import SMOLLM2, Live, Scripted, serving

from localchat.engine.events import Embedded
from localchat.engine.vector import packed
from localchat.server.wire.embeddings import told

__all__ = ["client", "live"]

CAT = "The cat sits on the mat."


def vectors(client: OpenAI, texts: Any, **more: Any) -> Any:
    answer = client.embeddings.create(model=SMOLLM2, input=texts, **more)
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    return np.array([one.embedding for one in answer.data])


@pytest.mark.model
def test_the_same_text_is_the_same_vector_in_every_form(client: OpenAI) -> None:
    [first] = vectors(client, CAT)  # the client asks for base64
    assert first.shape == (576,)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    [again], [as_numbers] = vectors(client, [CAT]), vectors(client, CAT, encoding_format="float")
    assert first @ again == pytest.approx(1, abs=1e-3)
    assert first @ as_numbers == pytest.approx(1, abs=1e-3)


@pytest.mark.model
def test_texts_that_mean_the_same_are_nearer(client: OpenAI) -> None:
    cat, kitten, stocks = vectors(client, [CAT, "A kitten rests on a rug.", "Stocks fell sharply on Monday."])
    assert cat @ kitten > cat @ stocks + 0.05


@pytest.mark.model
def test_tokens_are_as_good_as_their_text(client: OpenAI, live: Live) -> None:
    engine = live.server.models.loaded()[SMOLLM2]
    [tokens, other] = engine.tokenize([CAT, "word"])
    by_text, by_tokens = vectors(client, [CAT, "word"]), vectors(client, [tokens, other])
    assert np.sum(by_text * by_tokens, axis=1) == pytest.approx(1, abs=1e-3)
    assert vectors(client, tokens)[0] @ by_text[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.model
def test_fewer_dimensions_are_the_first_ones(client: OpenAI) -> None:
    [whole], [short] = vectors(client, CAT), vectors(client, CAT, dimensions=64)
    assert short == pytest.approx(whole[:64] / np.linalg.norm(whole[:64]), abs=1e-2)
    with pytest.raises(openai.BadRequestError) as refused:
        vectors(client, CAT, dimensions=577)
    assert refused.value.param == "dimensions"


@pytest.mark.model
def test_what_is_too_long_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        vectors(client, [CAT, "word " * 3000])
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError):
        vectors(client, [[2**30]])


@pytest.mark.parametrize("texts", ["", [], ["a", ""], [[]], [[1], []], [1, "a"], {}, None, [[1.5]], ["a"] * 2049])
def test_what_is_no_text_is_refused(texts: Any) -> None:
    with serving() as live:
        answer = live.ask("/v1/embeddings", {"model": "parrot", "input": texts})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith("input")


def test_many_texts_are_counted_and_keep_their_order() -> None:
    texts = ["a" * length for length in range(1, 30)]
    with serving(Scripted(context=64)) as live:
        answer = live.ask("/v1/embeddings", {"model": "parrot", "input": texts}).json()
        lengths = [round(one["embedding"][0] / one["embedding"][1]) for one in answer["data"]]
        assert lengths == list(range(1, 30))
        assert answer["usage"]["prompt_tokens"] == sum(lengths)
        metrics = live.ask("/metrics").text
        assert 'localchat_replies_total{ended="embedded"} 29' in metrics
        assert "localchat_replies_writing 0" in metrics


def test_a_text_is_put_between_the_tokens_that_belong_around_it() -> None:
    engine = Scripted()
    object.__setattr__(engine.loaded, "adds_bos", 7)
    object.__setattr__(engine.loaded, "adds_eos", 9)
    with serving(engine) as live:
        live.ask("/v1/embeddings", {"model": "parrot", "input": ["<|im_end|>"]})
        live.ask("/v1/embeddings", {"model": "parrot", "input": [5, 6]})
    assert engine.prompts == [[7, *(1000 + ord(one) for one in "<|im_end|>"), 9], [5, 6]]


def test_every_float_comes_back() -> None:
    numbers = np.array([1 / 3, -1e-30, 1e-45, 3.4e38, 0, 1], np.float32)
    answer = json.loads(told('"\n', [Embedded(packed(numbers), 3)], "float"))
    assert np.array_equal(np.array(answer["data"][0]["embedding"], np.float32), numbers)
    assert answer["model"] == '"\n'
