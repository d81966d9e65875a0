"""What may reach a terminal, and sizes and times as people read them."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.text import capitalized, clean, duration, one_line, parse_size, size

# Everything there is, surrogates and noncharacters too, and more of what a terminal or a reader would stumble over.
NASTY = "\x1b\x9b\x07\x00\x7f\x85\u202e\u2066\u200b\U000e0041\ud800\ufdd0\U0010ffff\ufeff"
TEXTS = st.text(st.one_of(st.characters(exclude_categories=()), st.sampled_from(NASTY)), max_size=40)
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def is_harmful(character: str) -> bool:
    """Written from Unicode's own tables, not from those of the package."""
    code = ord(character)
    if unicodedata.category(character) == "Cc":  # C0, DEL and C1
        return character not in "\n\t"
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    is_tag = 0xE0000 <= code <= 0xE007F
    return unicodedata.category(character) == "Cs" or is_noncharacter or is_tag or character in BIDI


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_nothing_harmful_survives(text: str) -> None:
    assert not any(map(is_harmful, clean(text)))


def test_no_character_of_unicode_is_harmful_when_cleaned() -> None:
    assert [hex(code) for code in range(0x110000) if any(map(is_harmful, clean(chr(code))))] == []


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(0, 40))
def test_pieces_are_cleaned_as_the_whole(text: str, cut: int) -> None:
    assert clean(text[:cut]) + clean(text[cut:]) == clean(text)
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text\twith\nlines", "plain text\twith\nlines"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]0;title\x07", "␛]0;title"),
        ("\x9b31m", "31m"),
        ("over\rwritten", "overwritten"),
        ("back\x08\x7fspace", "backspace"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("hid\U000e0064\U000e0065den", "hidden"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half \ud83d of it", "half \ufffd of it"),
        ("👩\u200d👩\u200d👧 and e\u0301 and नमस्ते", "👩\u200d👩\u200d👧 and e\u0301 and नमस्ते"),
        ("", ""),
    ],
)
def test_harmless_text_stays_and_attempts_are_seen(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_invisible_characters_go_and_their_neighbors_stay() -> None:
    """Zero widths, marks of direction, separators of lines, annotations; not the joiner that emoji are made of."""
    gone = "\u061c\u180e\u200b\u200c\u200e\u200f\u2028\u2029\u2060\u2064\u206f\ufeff\ufff9\ufffb\U000e0000\U000e007f"
    kept = "\u061b\u061d\u180d\u180f\u200a\u200d\u2010\u2027\u202f\u205f\u2070\ufefe\ufff8\ufffc\U000e0080"
    kept += "\u00a0\ud7ff\ue000\ufdcf\ufdf0\ufffd"  # beside controls, surrogates and noncharacters
    assert clean(gone) == ""
    assert clean(kept) == kept


def test_a_line_is_one_clean_line_of_the_length_asked_for() -> None:
    assert one_line("  two\n\n words\t\x1b ") == "two words ␛"
    assert one_line("a" * 200) == "a" * 200
    assert one_line("a" * 201) == "a" * 199 + "…"
    assert one_line("abcdef", 4) == "abc…"


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(1, 30))
def test_a_line_never_is_longer_or_breaks(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 << 10, "100 KiB"),
        (96 << 20, "96.0 MiB"),
        (4402341478, "4.1 GiB"),
        (5 << 40, "5.0 TiB"),
        (2000 << 40, "2000 TiB"),
        (-2048, "-2.0 KiB"),
        (1.5 * (1 << 30), "1.5 GiB"),
    ],
)
def test_sizes_are_shown_in_binary_units(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("17B", 17),
        ("1K", 1024),
        ("1KiB", 1024),
        ("1kb", 1000),
        ("4.5GiB", 4831838208),
        ("4.5G", 4831838208),
        ("4200MB", 4_200_000_000),
        (" 2 tib ", 2 << 40),
    ],
)
def test_sizes_are_read_in_both_kinds_of_units(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "big", "-1", "1e9", "4,2G", "4.G", ".5G", "1 G B", "1P", "0x10", "NaN", "inf", "١٢", "4\u212a", "9" * 400],
)
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as caught:
        parse_size(text)
    assert repr(text)[:20] in str(caught.value)


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from("0123456789.kKmMgGtTiIbB -+eE_\u212a\u0131"), max_size=8))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse_size(text) >= 0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 1 << 53))
def test_plain_numbers_are_read_as_they_are(count: int) -> None:
    assert parse_size(str(count)) == count


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (8, "8 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_times_are_shown_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", ""), ("check it", "Check it"), ("éa", "Éa"), ("https://a.example is gone", "https://a.example is gone")],
)
def test_a_sentence_begins_with_a_capital_and_an_address_stays(text: str, shown: str) -> None:
    assert capitalized(text) == shown
