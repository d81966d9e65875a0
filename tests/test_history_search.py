"""Searching the history: what is found, how it is marked, and what a hostile search does."""

from __future__ import annotations

import pytest

from localchat.history.marking import beginnings, folded, literally, marked, words_of
from localchat.history.store import History


def said(history: History, question: str, reply: str = "", system: str = "") -> int:
    number = history.begin(question, "tiny", system)
    history.ask(number, question)
    if reply:
        history.draft(number, "tiny").finish(reply, "stop")
    return number


def found(history: History, text: str) -> list[str]:
    """The titles of the conversations that are found, and what is marked in them."""
    return [
        f"{hit.heading.title}: {'|'.join(piece for piece, is_found in hit.pieces if is_found)}"
        for hit in history.search(text)
    ]


def shown(text: str, words: str) -> str:
    """A line with what is marked in brackets."""
    return "".join(f"[{piece}]" if is_found else piece for piece, is_found in marked(text, beginnings(words_of(words))))


def test_words_are_found_by_their_beginnings_whatever_their_case_and_accents(history: History) -> None:
    said(history, "Trip", "We went to the Café Zürich.")
    for text in ("cafe", "CAFÉ zur", "zürich", "zurich went", "cafe\u0301"):
        assert [line.partition(":")[0] for line in found(history, text)] == ["Trip"], text
    assert found(history, "ric") == ["Trip: ric"]  # as a text, where no word begins so
    assert found(history, "cafe berlin") == []


def test_titles_are_found_too(history: History) -> None:
    number = said(history, "Hello", "Hi")
    history.rename(number, "Garden plans")
    (hit,) = history.search("gard")
    assert (hit.message, hit.pieces) == (0, (("Gard", True), ("en plans", False)))
    assert hit.heading == history.conversations()[0]


def test_a_conversation_is_found_once_by_its_latest_message(history: History) -> None:
    number = said(history, "rain today", "More rain.")
    last = history.ask(number, "And rain tomorrow?")
    (hit,) = history.search("rain")
    assert hit.message == last
    assert hit.pieces == (("And ", False), ("rain", True), (" tomorrow?", False))


def test_the_latest_come_first_and_only_so_many(history: History) -> None:
    for index in range(6):
        said(history, f"rain {index}")
    assert [hit.heading.title for hit in history.search("rain", limit=3)] == ["rain 5", "rain 4", "rain 3"]


def test_what_is_deleted_renamed_or_a_system_message_is_not_found(history: History) -> None:
    number = said(history, "rain", "It pours", system="Speak of hail")
    history.rename(number, "weather")
    history.remove_message(history.messages(number)[1].id)
    history.ask(number, "sun")
    assert found(history, "rain") == found(history, "pours") == found(history, "hail") == []
    history.delete(number)
    assert found(history, "sun") == []
    history.restore(number)
    assert found(history, "sun") == ["weather: sun"]


def test_another_branch_is_searched_too(history: History) -> None:
    number = said(history, "rain", "It pours")
    history.ask(number, "sun", instead_of=history.messages(number)[0].id)
    assert found(history, "pours") == ["rain: pour" + "s"]


def test_a_reply_is_found_while_it_is_written(history: History) -> None:
    draft = history.draft(said(history, "Tell"), "tiny")
    draft.save("Once upon")
    assert found(history, "upon") == ["Tell: upon"]
    draft.save("Something else")
    assert found(history, "upon") == []


def test_languages_without_spaces_and_signs_are_found_as_they_stand(history: History) -> None:
    said(history, "jp", "今日は東京へ行きました")
    said(history, "code", "x ::= 100%_done\\n")
    assert found(history, "東京") == ["jp: 東京"]
    assert found(history, "::=") == ["code: ::="]
    assert found(history, "%_") == ["code: %_"]
    assert found(history, "\\n") == ["code: n"]
    assert found(history, "!?") == []


HOSTILE = [
    '"', "'", '"" OR *', "a* OR b", "NEAR(a b)", "title: x", "-x", "^x", "(", ")", "{", "\\", "%", "_", "*", "AND",
    "OR NOT", "a\x00b", "\x00", "\udcff", "x" * 100_000, "a " * 100_000, '"a" + "b"', "\u0301\u0301", "\ufdd0",
    "'; DROP TABLE message; --",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_any_search_is_harmless_and_finds_what_was_said(history: History, text: str) -> None:
    said(history, "other", "nothing of it")
    assert isinstance(history.search(text), list)
    said(history, "hostile", text[:200] + " end")
    assert "hostile" in [hit.heading.title for hit in history.search("end")]
    if text.strip("\x00\udcff") and len(text) < 100:
        assert "hostile" in [hit.heading.title for hit in history.search(text)]


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_nothing_is_found_where_nothing_is_searched_for(history: History, text: str) -> None:
    said(history, "anything")
    assert history.search(text) == []


def test_a_message_of_a_megabyte_is_searched(history: History) -> None:
    said(history, "long", "é" * 500_000 + " needle " + "x" * 500_000)
    (hit,) = history.search("needle")
    assert ("needle", True) in hit.pieces
    assert sum(len(piece) for piece, _ in hit.pieces) < 200


LINES = [
    ("a rainy day", "rain", "a [rain]y day"),
    ("Train rain", "rain", "Train [rain]"),
    ("rain and snow", "snow rain", "[rain] and [snow]"),
    ("two\n\n lines\tof rain", "rain", "two lines of [rain]"),
    ("\x1b[31m rain\x07 \u202eback", "rain", "␛[31m [rain] back"),
    ("cafe\u0301 noir", "café", "[cafe\u0301] noir"),
    ("x" * 50 + " rain", "rain", "…" + "x" * 29 + " [rain]"),
    ("words before it all the way up to the rain", "rain", "…it all the way up to the [rain]"),
    ("rain " + "y" * 400, "rain", "[rain] " + "y" * 155 + "…"),
    ("nothing", "rain", "nothing"),
    ("", "rain", ""),
    ("rain " + "z " * 200 + "rain snow", "rain snow", "…" + "z " * 14 + "[rain] [snow]"),
]


@pytest.mark.parametrize(("text", "words", "line"), LINES)
def test_a_line_shows_what_was_found(text: str, words: str, line: str) -> None:
    assert shown(text, words) == line


def test_folding_keeps_every_place() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000), 0x1F600, 0xDC00]))
    assert len(folded(everything)) == len(everything)
    assert folded("ÀÉÎõÜ İ ẞ") == "aeiou i ß"


def test_ten_thousand_marks_do_not_make_a_long_line() -> None:
    pieces = marked("a" + "\u0301" * 10_000 + " rain", literally("rain"))
    assert sum(len(piece) for piece, _ in pieces) < 200
