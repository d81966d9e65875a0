"""The bounds of numbers in a schema: what their grammar allows is what lies between them."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import refused

from localchat.errors import LocalchatError
from localchat.llama.bounds import DIGITS, LIMIT, number_gbnf

PLACES = 5
NAMES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
SIGN = re.compile(r'"[^"]*"|[^\s"]+')


def allows(schema: dict[str, Any], text: str, *, is_whole: bool) -> bool:
    """What stands here of GBNF is a regular expression but for its quotes and blanks."""
    signs = SIGN.findall(number_gbnf(schema, is_whole=is_whole))
    expression = "".join(re.escape(sign[1:-1]) if sign.startswith('"') else sign for sign in signs)
    return re.fullmatch(expression, text) is not None


def decimals(limit: int, places: int) -> st.SearchStrategy[float]:
    return st.decimals(-limit, limit, places=places).map(float)


EDGES = st.one_of(
    st.integers(-30, 30), st.integers(-1200, 1200), decimals(20, 3), decimals(2, 1),
    st.sampled_from([0.1 + 0.2, 100, 999, 1000, 10**15, 10**20, -1e17]),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), EDGES, min_size=1), st.booleans(), st.data())
def test_what_lies_between_the_bounds_is_allowed_and_nothing_else(
    schema: dict[str, float], is_whole: bool, data: st.DataObject
) -> None:
    low, high, above, below = (Decimal(repr(schema[name])) if name in schema else None for name in NAMES)
    near = data.draw(st.sampled_from([Decimal(repr(edge)) for edge in schema.values()]))
    number = near + data.draw(st.sampled_from([0, 1, -1])) * Decimal(10) ** data.draw(st.integers(-PLACES, 3))
    text = data.draw(st.sampled_from([f"{number:f}", f"{number:.{PLACES}f}", f"{number:.0f}"]))
    value = Decimal(text)
    lies_between = all((
        low is None or value >= low, high is None or value <= high,
        above is None or value > above, below is None or value < below,
    ))  # fmt: skip
    if (value == 0 and text.startswith("-")) or len(text.partition(".")[2]) > DIGITS:
        return  # it may be allowed or not
    try:
        is_allowed = allows(schema, text, is_whole=is_whole)
    except LocalchatError:
        is_allowed = False
    assert is_allowed == (lies_between and abs(value) < LIMIT and not (is_whole and "." in text))


@pytest.mark.parametrize("text", ["-0", "-0.0", "01", "1.", ".5", "+1", "1e2", "", "0.5."])
def test_what_is_no_plain_number_is_not_allowed(text: str) -> None:
    assert not allows({"minimum": -1000, "maximum": 1000}, text, is_whole=False)


def test_the_oldest_drafts_say_by_a_truth_that_a_bound_is_excluded() -> None:
    schema = {"minimum": 1, "exclusiveMinimum": True, "maximum": 3, "exclusiveMaximum": False}
    assert [allows(schema, text, is_whole=True) for text in "01234"] == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minimum": 2, "maximum": 1}, "no number between"), ({"minimum": 0.2, "maximum": 0.8}, "no number between"),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, "no number between"), ({"minimum": 1e17}, "no number between"),
        ({"minimum": "1"}, "minimum is no number"), ({"maximum": None}, "maximum is no number"),
        ({"exclusiveMaximum": math.nan}, "exclusiveMaximum is no"), ({"maximum": -math.inf}, "maximum is no number"),
    ],
    ids=str,
)  # fmt: skip
def test_bounds_that_cannot_be_are_one_sentence(schema: dict[str, Any], words: str) -> None:
    with refused(words):
        number_gbnf(schema, is_whole=True)


def test_a_bound_of_very_many_digits_is_refused() -> None:
    with refused("too many digits"):
        number_gbnf({"minimum": 1e-300}, is_whole=False)
