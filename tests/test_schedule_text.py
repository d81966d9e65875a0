"""The text of one reply, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_context import ScriptedContext, ScriptedModel, ScriptedSampler, scripted, scripts
from stage import Stage, counted, end_of, expected, refused, text_of

from localchat.engine.events import Done, Piece, TokenProbability
from localchat.errors import LocalchatError

__all__ = ["scripted"]

PROMPT = (2, 3, 4)
FIRST = 10_000  # the token of a script's first piece


def stage(script: Sequence[bytes], *, tokens: int = 512, is_sentencepiece: bool = False) -> Stage:
    """A model that answers PROMPT with these pieces, one a token."""
    answer = range(FIRST, FIRST + len(script))
    model = ScriptedModel(scripts({PROMPT: answer}), dict(zip(answer, script, strict=True)))
    model.is_sentencepiece = is_sentencepiece
    return Stage(model, ScriptedContext(tokens))


def reply(script: Sequence[bytes], *stops: str, limit: int | None = None, tokens: int = 512) -> tuple[list[str], Done]:
    """The pieces of a reply and its end."""
    told = stage(script, tokens=tokens).reply(PROMPT, *stops, limit=limit)
    done, pieces = end_of(told), [event for event in told if isinstance(event, Piece)]
    counts = [piece.tokens for piece in pieces]
    assert counts == sorted(counts)
    assert all(0 < count <= done.usage.completion_tokens for count in counts)
    return [piece.text for piece in pieces], done


def single_bytes(text: str) -> list[bytes]:
    return [bytes([byte]) for byte in text.encode()]


# Text


def test_a_character_is_shown_once_it_is_whole() -> None:
    assert reply(single_bytes("Größe: 模型 👩‍👩‍👧."))[0] == list("Größe: 模型 👩‍👩‍👧.")


BYTES = [
    (b"\xff", "\ufffd"),
    (b"a\xf0\x9f\x98", "a\ufffd"),
    (b"\xc3(", "\ufffd("),
    (b"\xed\xa0\x80b", "\ufffd\ufffd\ufffdb"),
    (b"\xf0\x9f\x98\x80", "😀"),
    (b"nul\x00", "nul\x00"),
]


@pytest.mark.parametrize(("raw", "text"), BYTES)
def test_bytes_that_are_no_text_become_a_sign_for_that(raw: bytes, text: str) -> None:
    assert "".join(reply([raw[index : index + 1] for index in range(len(raw))])[0]) == text


@given(st.text(max_size=20), st.lists(st.integers(0, 60), max_size=6), st.lists(st.text(max_size=3), max_size=2))
@settings(max_examples=100, deadline=None)
def test_the_pieces_joined_are_the_text_however_it_is_cut(text: str, cuts: list[int], stops: list[str]) -> None:
    raw = text.encode("utf-8")
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    tokens = [raw[start:end] for start, end in zip(places, [*places[1:], len(raw)], strict=True)]
    pieces, done = reply(tokens, *stops)
    ends = [text.index(stop) for stop in stops if stop and stop in text]
    assert done.reason == "stop"
    assert "".join(pieces) == text if not ends else text.startswith("".join(pieces))
    assert all(piece.encode("utf-8") for piece in pieces)


@given(st.lists(st.binary(max_size=4), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_bytes_become_valid_text(tokens: list[bytes]) -> None:
    assert "".join(reply(tokens)[0]) == b"".join(tokens).decode("utf-8", "replace")


@pytest.mark.parametrize(("is_sentencepiece", "text"), [(True, "Paris is"), (False, " Paris is")])
def test_the_space_that_sentencepiece_puts_before_a_text_is_not_shown(is_sentencepiece: bool, text: str) -> None:
    assert text_of(stage([b" Paris", b" is"], is_sentencepiece=is_sentencepiece).reply(PROMPT)) == text


def test_probabilities_come_with_the_text_of_their_tokens_and_none_is_lost() -> None:
    script = single_bytes("aéb!")
    one = stage([*script, b"?"])
    one.ask(1, PROMPT, "!?", logprobs=1)
    one.finish()
    pieces = [event for event in one.told[1] if isinstance(event, Piece)]
    assert [piece.text for piece in pieces] == ["a", "é", "b"]
    # The first byte of a character has no text of its own and is told with the second.
    assert [[found.text for found in piece.logprobs] for piece in pieces] == [["a"], ["\ufffd", "\ufffd"], ["b"]]
    assert pieces[0].logprobs == (TokenProbability("a", -0.5, (("a", -0.5), ("\ufffd", -2.0))),)


def test_without_being_asked_for_no_probabilities_are_told() -> None:
    told = stage([b"a", b"b"]).reply(PROMPT)
    assert [event.logprobs for event in told if isinstance(event, Piece)] == [(), ()]


# Ends


def test_a_stop_string_over_several_tokens_ends_the_reply() -> None:
    pieces, done = reply(single_bytes("yes\nUser: and so on"), "\nUser:")
    assert ("".join(pieces), done.reason, done.usage.completion_tokens) == ("yes", "stop", len("yes\nUser:"))


def test_the_beginning_of_a_stop_string_is_shown_if_nothing_follows() -> None:
    assert "".join(reply(single_bytes("yes\nUse"), "\nUser:")[0]) == "yes\nUse"
    assert "".join(reply(single_bytes("yes\nUser"), "\nUser:", limit=7)[0]) == "yes\nUse"


def test_an_end_token_ends_the_reply_and_is_counted() -> None:
    _, done = reply([b"a", b"b"])
    assert (done.reason, done.usage.completion_tokens) == ("stop", 3)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_ends_the_reply(limit: int) -> None:
    pieces, done = reply([b"a", b"b", b"c"], limit=limit)
    assert (len(pieces), done.reason, done.usage.completion_tokens) == (limit, "length", limit)


@pytest.mark.parametrize("limit", [None, 50])
def test_a_full_context_ends_the_reply(limit: int | None) -> None:
    _, done = reply([b"a"] * 100, limit=limit, tokens=10)
    assert (done.reason, len(PROMPT) + done.usage.completion_tokens) == ("length", 10)


def test_a_prompt_that_fills_the_context_leaves_an_empty_reply() -> None:
    pieces, done = reply([b"a"], tokens=len(PROMPT))
    assert (pieces, done.reason, done.usage.completion_tokens) == ([], "length", 0)
    assert (done.usage.tokens_per_second, done.usage.first_token_seconds >= 0) == (0.0, True)


PROMPTS = [
    ((), "prompt of 0 tokens"),
    (range(1, 514), "prompt of 513 tokens"),
    ((1, -1), "does not know"),
    ((1, 100_000), "does not know"),
    ((1 << 40,), "does not know"),
]


@pytest.mark.parametrize(("prompt", "words"), PROMPTS)
def test_a_prompt_that_cannot_be_read_is_refused_and_harms_nobody(prompt: Sequence[int], words: str) -> None:
    one = counted()
    one.ask(1, PROMPT, limit=5)
    with refused(words):
        one.ask(2, prompt)
    one.finish()
    assert one.text(1) == expected(PROMPT, 5)
    assert not one.told[2]


def test_a_grammar_that_is_refused_is_refused_at_once() -> None:
    one = counted()
    with refused("grammar"):
        one.ask(1, PROMPT, grammar="refused")
    assert one.schedule.is_idle


def test_a_grammar_that_comes_to_an_end_is_told_behind_what_was_written() -> None:
    one = counted()
    one.ask(1, PROMPT, grammar="root ::= x")
    one.ask(2, (7, 8), limit=5)
    one.finish()
    assert isinstance(one.told[1][-1], LocalchatError)
    assert one.text(1) == expected(PROMPT, 2)
    assert one.text(2) == expected((7, 8), 5)
    assert ScriptedSampler.open == 0
