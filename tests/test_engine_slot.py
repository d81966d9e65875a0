"""The loop that reads and writes, on a model that says what it was told to say, one byte a token if need be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine.events import Done, Event, Piece, Reading, Usage
from localchat.engine.slot import Slot, shared_prefix
from localchat.errors import LocalchatError
from localchat.sampling import Sampling

pytestmark = pytest.mark.model  # the samplers are llama.cpp's

END = 1_000_000
PROMPT = (2, 3, 4)


class ScriptedModel:
    """A model and its context: writes the given pieces, and knows what it was made to read."""

    def __init__(self, script: Sequence[bytes], *, tokens: int = 512, batch: int = 64, keeps: bool = True) -> None:
        self.script, self.tokens, self.batch, self.keeps = list(script), tokens, batch, keeps
        self.is_sentencepiece = False
        self.vocabulary = len(self.script)
        self.cache: list[int] = []
        self.reads: list[int] = []
        """The length of every part that was read at once."""
        self.fails_at: int | None = None
        self._said = 0

    def piece(self, token: int, strip: int = 0) -> bytes:
        text = self.script[token]
        return text.removeprefix(b" ") if strip else text

    def is_end(self, token: int) -> bool:
        return token == END

    def keep(self, count: int) -> bool:
        del self.cache[count if self.keeps else 0 :]
        return self.keeps

    def decode(self, tokens: Sequence[int], position: int) -> None:
        assert position == len(self.cache), "every token is read in its place"
        assert 0 < len(tokens) <= self.batch
        if self.fails_at is not None and position + len(tokens) > self.fails_at:
            raise LocalchatError("it was told to fail", "tell it not to")
        self.cache += tokens
        self.reads.append(len(tokens))

    def sample(self, _sampler: Any) -> int:
        self._said += 1
        return self._said - 1 if self._said <= len(self.script) else END


def slot_of(model: ScriptedModel) -> Slot:
    return Slot(cast("Any", model), cast("Any", model))


def reply(model: ScriptedModel, *stops: str, limit: int | None = None) -> tuple[list[str], Done]:
    """The pieces of a reply and its end."""
    events = list(slot_of(model).reply(PROMPT, Sampling(max_tokens=limit), stops))
    assert isinstance(events[-1], Done)
    pieces = [event for event in events if isinstance(event, Piece)]
    counts = [piece.tokens for piece in pieces]
    assert counts == sorted(counts)
    assert all(0 < count <= events[-1].usage.completion_tokens for count in counts)
    return [piece.text for piece in pieces], events[-1]


def single_bytes(text: str) -> list[bytes]:
    return [bytes([byte]) for byte in text.encode()]


# Text


def test_a_character_is_shown_once_it_is_whole() -> None:
    pieces, _ = reply(ScriptedModel(single_bytes("Größe: 模型 👩‍👩‍👧.")))
    assert "".join(pieces) == "Größe: 模型 👩‍👩‍👧."
    assert pieces == list("Größe: 模型 👩‍👩‍👧.")


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
    assert "".join(reply(ScriptedModel([raw[index : index + 1] for index in range(len(raw))]))[0]) == text


@given(st.text(max_size=20), st.lists(st.integers(0, 60), max_size=6), st.lists(st.text(max_size=3), max_size=2))
@settings(max_examples=100, deadline=None)
def test_the_pieces_joined_are_the_text_however_it_is_cut(text: str, cuts: list[int], stops: list[str]) -> None:
    raw = text.encode("utf-8")
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    tokens = [raw[start:end] for start, end in zip(places, [*places[1:], len(raw)], strict=True)]
    pieces, done = reply(ScriptedModel(tokens), *stops)
    ends = [text.index(stop) for stop in stops if stop and stop in text]
    assert done.reason == "stop"
    assert "".join(pieces) == text if not ends else text.startswith("".join(pieces))
    assert all(piece.encode("utf-8") for piece in pieces)


@given(st.lists(st.binary(max_size=4), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_bytes_become_valid_text(tokens: list[bytes]) -> None:
    assert "".join(reply(ScriptedModel(tokens))[0]) == b"".join(tokens).decode("utf-8", "replace")


@pytest.mark.parametrize(("is_sentencepiece", "text"), [(True, "Paris is"), (False, " Paris is")])
def test_the_space_that_sentencepiece_puts_before_a_text_is_not_shown(is_sentencepiece: bool, text: str) -> None:
    model = ScriptedModel([b" Paris", b" is"])
    model.is_sentencepiece = is_sentencepiece
    assert "".join(reply(model)[0]) == text


# Ends


def test_a_stop_string_over_several_tokens_ends_the_reply() -> None:
    pieces, done = reply(ScriptedModel(single_bytes("yes\nUser: and so on")), "\nUser:")
    assert ("".join(pieces), done.reason, done.usage.completion_tokens) == ("yes", "stop", len("yes\nUser:"))


def test_the_beginning_of_a_stop_string_is_shown_if_nothing_follows() -> None:
    assert "".join(reply(ScriptedModel(single_bytes("yes\nUse")), "\nUser:")[0]) == "yes\nUse"
    assert "".join(reply(ScriptedModel(single_bytes("yes\nUser")), "\nUser:", limit=7)[0]) == "yes\nUse"


def test_an_end_token_ends_the_reply_and_is_counted() -> None:
    _, done = reply(ScriptedModel([b"a", b"b"]))
    assert (done.reason, done.usage.completion_tokens) == ("stop", 3)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_ends_the_reply(limit: int) -> None:
    pieces, done = reply(ScriptedModel([b"a", b"b", b"c"]), limit=limit)
    assert (len(pieces), done.reason, done.usage.completion_tokens) == (limit, "length", limit)


@pytest.mark.parametrize("limit", [None, 50])
def test_a_full_context_ends_the_reply(limit: int | None) -> None:
    model = ScriptedModel([b"a"] * 100, tokens=10)
    _, done = reply(model, limit=limit)
    assert (done.reason, len(PROMPT) + done.usage.completion_tokens) == ("length", 10)


def test_a_prompt_that_fills_the_context_leaves_an_empty_reply() -> None:
    pieces, done = reply(ScriptedModel([b"a"], tokens=len(PROMPT)))
    assert (pieces, done.reason, done.usage.completion_tokens) == ([], "length", 0)
    assert (done.usage.tokens_per_second, done.usage.first_token_seconds >= 0) == (0.0, True)


# Reading


def readings(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.done_tokens, event.total_tokens) for event in events if isinstance(event, Reading)]


def test_a_prompt_is_read_in_slices_that_the_batch_can_hold() -> None:
    model = ScriptedModel([], batch=64, tokens=4096)
    told = readings(list(slot_of(model).reply(range(1000), Sampling(), ())))
    assert sum(model.reads) == 1000
    assert told[0] == (0, 1000)
    assert told[-1] == (1000, 1000)
    assert told == sorted(told)


def test_only_what_is_new_is_read() -> None:
    model = ScriptedModel([b"a", b"b"])
    slot = slot_of(model)
    list(slot.reply([1, 2, 3], Sampling(), ()))
    written = list(model.cache)
    events = list(slot.reply([*written, 9], Sampling(), ()))
    assert readings(events)[0] == (len(written), len(written) + 1)
    assert model.cache == [*written, 9]


def test_the_last_token_is_read_again_to_know_what_follows() -> None:
    model = ScriptedModel([])
    slot = slot_of(model)
    list(slot.reply([1, 2, 3], Sampling(), ()))
    *_, done = slot.reply([1, 2, 3], Sampling(), ())
    assert isinstance(done, Done)
    assert done.usage.cached_tokens == 2


def test_a_cache_that_cannot_be_cut_is_read_anew() -> None:
    model = ScriptedModel([], keeps=False)
    slot = slot_of(model)
    list(slot.reply([1, 2, 3], Sampling(), ()))
    *_, done = slot.reply([1, 2, 4], Sampling(), ())
    assert isinstance(done, Done)
    assert done.usage.cached_tokens == 0
    assert model.cache == [1, 2, 4]


@pytest.mark.parametrize("events_read", [1, 2, 5, 30])
def test_a_reply_that_is_closed_leaves_the_cache_in_order(events_read: int) -> None:
    model = ScriptedModel([b"a"] * 40, tokens=4096)
    slot = slot_of(model)
    events = slot.reply(range(500), Sampling(), ())
    for _ in range(events_read):
        next(events)
    events.close()
    list(slot.reply([*range(500), 7], Sampling(max_tokens=1), ()))
    assert model.cache == [*range(500), 7]


def test_a_failure_while_reading_leaves_the_cache_in_order() -> None:
    model = ScriptedModel([], tokens=4096)
    slot = slot_of(model)
    model.fails_at = 100
    with pytest.raises(LocalchatError):
        list(slot.reply(range(500), Sampling(), ()))
    model.fails_at = None
    list(slot.reply(range(300), Sampling(), ()))
    assert model.cache == list(range(300))


@pytest.mark.parametrize(("first", "second", "length"), [
    ([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 3], 1), ([1, 2], [1, 2, 3], 2), ([1], [2], 0),
])  # fmt: skip
def test_a_shared_prefix_ends_where_the_first_difference_is(first: list[int], second: list[int], length: int) -> None:
    assert shared_prefix(first, second) == shared_prefix(second, first) == length


RATES = [
    (Usage(100, 20, 11, 0.5, 2.0, 5.0), 2.0, 40.0),
    (Usage(100, 100, 1, 0.5, 2.0, 5.0), 0.0, 0.0),
    (Usage(100, 0, 0, 0.5, 0.0, 0.0), 0.0, 0.0),
    (Usage(100, 0, 2, 0.5, 0.0, 0.0), 0.0, 0.0),  # a clock may be too coarse to tell
]


@pytest.mark.parametrize(("usage", "writing", "reading"), RATES)
def test_rates_are_of_what_was_done_in_that_time(usage: Usage, writing: float, reading: float) -> None:
    assert (usage.tokens_per_second, usage.prompt_tokens_per_second) == (writing, reading)
