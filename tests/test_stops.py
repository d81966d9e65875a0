"""Stop strings in a stream: the same text is shown however it is cut, and nothing of a stop string ever is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine.stops import StopScanner


def shown(pieces: Sequence[str], stops: Sequence[str]) -> tuple[str, bool]:
    """What a reader sees of a reply that comes in these pieces, and whether a stop string ended it."""
    scanner = StopScanner(stops)
    text = ""
    for piece in pieces:
        text += scanner.feed(piece)
        if scanner.stopped:
            return text, True
    return text + scanner.finish(), False


SHOWN = [
    ("plain text", [], "plain text", False),
    ("plain text", [""], "plain text", False),
    ("Paris.<|im_end|>more", ["<|im_end|>"], "Paris.", True),
    ("<|im_end|>", ["<|im_end|>"], "", True),
    ("a < b <|im_", ["<|im_end|>"], "a < b <|im_", False),
    ("yes\nUser: no", ["\nUser:", "\nAssistant:"], "yes", True),
    ("aaab", ["aab"], "a", True),
    ("ababac", ["abac"], "ab", True),
    ("x\n\n\ny", ["\n\n"], "x", True),
    # both begin at one place: the shorter one is complete first
    ("go END. on", ["END", "END."], "go ", True),
    # the one that is complete first ends the reply, wherever the other one began
    ("xabcd", ["abcd", "b"], "xa", True),
    ("👩‍👩‍👧 und Größe", ["Grö"], "👩‍👩‍👧 und ", True),
]


@pytest.mark.parametrize(("text", "stops", "expected", "stopped"), SHOWN)
@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
def test_a_reply_ends_before_a_stop_string(text: str, stops: list[str], expected: str, stopped: bool, cut: int) -> None:
    pieces = [text[start : start + cut] for start in range(0, len(text), cut)]
    assert shown(pieces, stops) == (expected, stopped)


def test_text_is_held_back_only_while_it_may_begin_a_stop_string() -> None:
    scanner = StopScanner(["<|im_end|>"])
    assert [scanner.feed(piece) for piece in ("a <", "|im", "_start", "|> b")] == ["a ", "", "<|im_start", "|> b"]


def test_held_text_is_released_when_the_reply_ends() -> None:
    scanner = StopScanner(["<|im_end|>"])
    assert scanner.feed("5 <|im_en") == "5 "
    assert scanner.finish() == "<|im_en"
    assert scanner.finish() == ""


def test_nothing_is_held_after_a_stop_string() -> None:
    scanner = StopScanner(["END"])
    assert scanner.feed("go END and EN") == "go "
    assert scanner.stopped
    assert scanner.finish() == ""


LETTERS = st.text("ab\n", max_size=30)
STOPS = st.lists(st.text("ab\n", max_size=4), max_size=3)


@given(LETTERS, STOPS, st.lists(st.integers(0, 30), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_split_of_a_reply_shows_the_same(text: str, stops: list[str], cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert shown(pieces, stops) == shown(list(text), stops) == shown([text], stops)


@given(LETTERS, STOPS)
@settings(max_examples=200, deadline=None)
def test_nothing_of_a_stop_string_is_shown(text: str, stops: list[str]) -> None:
    found, stopped = shown(list(text), stops)
    wanted = [stop for stop in stops if stop]
    assert not any(stop in found for stop in wanted)
    assert text.startswith(found)
    if stopped:
        assert any(text[len(found) :].startswith(stop) for stop in wanted)
    else:
        assert found == text
