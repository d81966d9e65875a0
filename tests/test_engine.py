"""Replies of the engine, compared with llama.cpp used as plainly as can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from engine_oracle import greedy

from localchat.chat import prompt_for
from localchat.conversation import Conversation
from localchat.engine.events import Done, Event, Piece, Reading
from localchat.engine.process import EngineProcess
from localchat.errors import LocalchatError
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

pytestmark = pytest.mark.model

# Guesses are made where they save time, and leave gaps in the cache: the last bits of sums then depend on time.
GREEDY = Sampling(temperature=0, max_tokens=40, speculate=False)
CONTEXT = 512


@pytest.fixture(scope="module")
def engine(chatml_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with EngineProcess(chatml_file, Placement(CONTEXT, 1, 512, "f16"), log(tmp_path_factory)) as engine:
        yield engine


@pytest.fixture
def alone(chatml_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One that was asked nothing before: where a prompt lies in the cache may change the last bits of its sums, and
    of random weights many tokens are about as likely."""
    with EngineProcess(chatml_file, Placement(CONTEXT, 1, 512, "f16"), log(tmp_path_factory)) as engine:
        yield engine


@pytest.fixture(scope="module")
def smollm2(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with EngineProcess(smollm2_file, Placement(2048, 2, 512, "f16"), log(tmp_path_factory)) as engine:
        yield engine


def log(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("logs") / "engine.log"


def fresh_prompt(engine: EngineProcess, text: str) -> list[int]:
    """A prompt with nothing in common with those of other tests but its first tokens."""
    return [1, *engine.tokenize([text])[0]]


def reply(engine: EngineProcess, tokens: Sequence[int], sampling: Sampling = GREEDY, *stops: str) -> tuple[str, Done]:
    """The text of a reply and its end."""
    *events, done = engine.reply(tokens, sampling, stops)
    assert isinstance(done, Done)
    return "".join(event.text for event in events if isinstance(event, Piece)), done


def question(engine: EngineProcess, text: str) -> list[int]:
    """The prompt of a question in the model's own template, with the system message of its catalog entry."""
    conversation = Conversation().say("system", "You are a helpful AI assistant.")
    return list(prompt_for(engine, conversation.ask(text), GREEDY).tokens)


# Facts


def test_the_facts_of_the_model_are_told(engine: EngineProcess) -> None:
    loaded = engine.loaded
    assert (loaded.context, loaded.layers, loaded.bos, loaded.eos, loaded.adds_bos) == (512, 2, "<s>", "<|im_end|>", 1)
    assert loaded.template is not None
    assert "<|im_start|>" in loaded.template


def test_a_model_may_want_no_bos(smollm2: EngineProcess) -> None:
    assert smollm2.loaded.adds_bos is None
    assert smollm2.loaded.special_tokens["<|im_end|>"] == 2


# Text


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_a_greedy_reply_is_that_of_llama_cpp(alone: EngineProcess, chatml_file: Path, penalty: float) -> None:
    prompt = fresh_prompt(alone, "Hello world")
    expected = greedy(chatml_file, prompt, 40, penalty)
    *events, done = alone.reply(prompt, replace(GREEDY, repeat_penalty=penalty), ())
    text = "".join(event.text for event in events if isinstance(event, Piece))
    assert text == decoded(chatml_file, expected)
    assert isinstance(done, Done)
    assert done.usage.completion_tokens == len(expected)


def decoded(path: Path, tokens: Sequence[int]) -> str:
    """The text of tokens by the vocabulary in the file itself."""
    from localchat.gguf_file import read_header

    pieces = read_header(path).metadata["tokenizer.ggml.tokens"]
    raw = b"".join(
        bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("\u2581", " ").encode()
        for piece in (pieces[token] for token in tokens)
        if not piece.startswith("<|") and piece not in ("<unk>", "<s>", "</s>")
    )
    return raw.removeprefix(b" ").decode("utf-8", "replace")


def test_a_model_that_can_talk_answers_and_ends_by_itself(smollm2: EngineProcess, smollm2_file: Path) -> None:
    prompt = question(smollm2, "What is the capital of France?")
    text, done = reply(smollm2, prompt)
    assert "Paris" in text
    assert done.reason == "stop"
    assert "<|im_end|>" not in text
    assert greedy(smollm2_file, prompt, 40)[-1] == smollm2.loaded.special_tokens["<|im_end|>"]
    assert len(greedy(smollm2_file, prompt, 40)) == done.usage.completion_tokens


def test_the_same_seed_gives_the_same_text(alone: EngineProcess) -> None:
    prompt = fresh_prompt(alone, "Once upon a time")
    wild = replace(GREEDY, temperature=1.5, top_k=0)
    first, again, other = (reply(alone, prompt, replace(wild, seed=seed))[0] for seed in (7, 7, 8))
    assert first == again != other


def test_without_a_seed_each_reply_is_another(engine: EngineProcess) -> None:
    prompt = fresh_prompt(engine, "Once upon a time")
    assert len({reply(engine, prompt, Sampling(temperature=1.5, max_tokens=40))[0] for _ in range(3)}) == 3


@pytest.mark.parametrize("sampling", [Sampling(top_k=1), Sampling(top_p=0.0), Sampling(min_p=1.0)], ids=str)
def test_a_sampler_that_leaves_one_token_is_greedy(alone: EngineProcess, sampling: Sampling) -> None:
    prompt = fresh_prompt(alone, "It was")
    narrow = Sampling(2.0, sampling.top_k, sampling.top_p, sampling.min_p, max_tokens=40, speculate=False)
    assert reply(alone, prompt, narrow)[0] == reply(alone, prompt)[0]


# Ends


@pytest.mark.parametrize("count", [1, 2, 17])
def test_a_length_limit_ends_a_reply(engine: EngineProcess, count: int) -> None:
    _, done = reply(engine, fresh_prompt(engine, "Hello"), Sampling(temperature=0, max_tokens=count))
    assert (done.reason, done.usage.completion_tokens) == ("length", count)


def test_a_stop_string_ends_a_reply_and_is_not_shown(engine: EngineProcess) -> None:
    prompt = fresh_prompt(engine, "Hello world")
    whole = reply(engine, prompt)[0]
    stop = whole[10:14]
    text, done = reply(engine, prompt, GREEDY, "never said", stop)
    assert (text, done.reason) == (whole[: whole.index(stop)], "stop")
    assert done.usage.completion_tokens < 40


def test_a_full_context_ends_a_reply(engine: EngineProcess) -> None:
    prompt = fresh_prompt(engine, "Hello")
    _, done = reply(engine, prompt, Sampling(temperature=0))
    assert (done.reason, len(prompt) + done.usage.completion_tokens) == ("length", CONTEXT)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_prompt_may_fill_the_context_to_the_last_token(engine: EngineProcess, left: int) -> None:
    prompt = [1, *[300] * (CONTEXT - left - 1)]
    _, done = reply(engine, prompt, Sampling(temperature=0, max_tokens=left or None))
    assert (done.reason, done.usage.prompt_tokens) == ("length", CONTEXT - left)


def test_a_prompt_that_is_longer_than_the_context_is_refused_and_the_engine_lives(engine: EngineProcess) -> None:
    with pytest.raises(LocalchatError):
        reply(engine, [1] * (CONTEXT + 1))
    assert reply(engine, fresh_prompt(engine, "Hello"))[1].usage.completion_tokens == 40


def test_a_prompt_of_nothing_is_refused_and_the_engine_lives(engine: EngineProcess) -> None:
    with pytest.raises(LocalchatError) as refusal:
        reply(engine, [])
    assert refusal.value.hint
    assert engine.is_alive


# The cache


def test_what_was_read_is_not_read_again(alone: EngineProcess) -> None:
    prompt = fresh_prompt(alone, "A question that is asked twice, word for word")
    first_text, first = reply(alone, prompt)
    again_text, again = reply(alone, prompt)
    assert first.usage.cached_tokens < 5
    assert again.usage.cached_tokens == len(prompt) - 1
    assert again_text == first_text


def test_a_conversation_that_goes_on_reads_only_what_is_new(alone: EngineProcess, chatml_file: Path) -> None:
    prompt = fresh_prompt(alone, "The first question of two")
    answer = greedy(chatml_file, prompt, 40)
    reply(alone, prompt)
    longer = [*prompt, *answer, *fresh_prompt(alone, "and the second")]
    text, done = reply(alone, longer)
    # The last token of a reply is sampled but not read: nobody needs what would come after it.
    assert done.usage.cached_tokens == len(prompt) + len(answer) - 1
    assert text == decoded(chatml_file, greedy(chatml_file, longer, 40))


def test_a_prompt_that_parts_ways_is_read_from_there(alone: EngineProcess, chatml_file: Path) -> None:
    start = fresh_prompt(alone, "They begin alike and")
    reply(alone, [*start, 300, 301, 302])
    text, done = reply(alone, [*start, 400, 401])
    assert done.usage.cached_tokens == len(start)
    assert text == decoded(chatml_file, greedy(chatml_file, [*start, 400, 401], 40))


# Who stops reading, cancels


def first_reading(events: Iterator[Event]) -> Reading:
    event = next(events)
    assert isinstance(event, Reading)
    return event


def test_a_reply_that_is_closed_while_it_reads_stops_reading(smollm2: EngineProcess) -> None:
    prompt = question(smollm2, "word " * 1500)
    events = smollm2.reply(prompt, GREEDY, ())
    assert first_reading(events).total_tokens == len(prompt)
    events.close()
    again = smollm2.reply(prompt, GREEDY, ())
    assert first_reading(again).done_tokens < len(prompt) - 1
    again.close()
    assert "Paris" in reply(smollm2, question(smollm2, "What is the capital of France?"))[0]


def test_a_reply_that_is_closed_while_it_writes_stops_writing(smollm2: EngineProcess, smollm2_file: Path) -> None:
    prompt = question(smollm2, "Tell me a long story about the sea.")
    endless = Sampling(temperature=0)
    said = greedy(smollm2_file, prompt, 60)
    events = smollm2.reply(prompt, endless, ())
    while not isinstance(next(events), Piece):
        pass
    events.close()
    # What was written meanwhile is in the cache, and it is not the whole of it.
    after = smollm2.reply([*prompt, *said], endless, ())
    assert len(prompt) <= first_reading(after).done_tokens < len(prompt) + len(said) - 1
    after.close()
    assert reply(smollm2, prompt, Sampling(temperature=0, max_tokens=20))[1].usage.completion_tokens == 20
