"""Guesses come from what was there before, and are made only while they pay."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.guessing import Costs, best_counts
from localchat.engine.lookup import FORGIVING, HOPE, MOST, Lookup

LINE = list(range(100, 140))
CHEAP = {width: 1.0 + 0.01 * (width - 1) for width in range(1, MOST + 2)}
DEAR = {width: float(width) for width in range(1, MOST + 2)}


def measured(seconds: dict[int, float]) -> Costs:
    costs = Costs()
    for width in sorted(seconds):
        costs.learn(width, seconds[width])
    return costs


class Alone:
    """The guesses for a reply that is written alone, where steps take so long."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self._lookup, self._costs = Lookup(), measured(seconds)
        self.learn = self._lookup.learn

    def guess(self, tokens: Sequence[int], most: int) -> Sequence[int]:
        offer = self._lookup.offer(tokens, most)
        return offer.tokens[: best_counts([offer], self._costs, most)[0]]


def lookup(seconds: dict[int, float] = CHEAP) -> Alone:
    return Alone(seconds)


# What is guessed


def test_what_followed_before_is_guessed_to_follow_again() -> None:
    assert lookup().guess([*LINE, 1, *LINE[:20]], 100) == LINE[20 : 20 + MOST]


def test_of_several_places_the_last_one_counts() -> None:
    tokens = [*LINE[:20], 7, 1, *LINE[:20], 8, 9, *LINE[:20]]
    assert lookup().guess(tokens, 1) == [8]


def test_what_the_last_tokens_are_themselves_is_no_guess() -> None:
    assert not lookup().guess(LINE, 100)
    assert not lookup().guess([5, 5, 5], 100)
    assert lookup().guess([5] * 20, 100)[0] == 5


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3], [1, 2, 1, 2]])
def test_where_there_is_little_nothing_is_guessed(tokens: list[int]) -> None:
    assert not lookup().guess(tokens, 100)


@pytest.mark.parametrize("most", [-5, 0, 1, 2, 5])
def test_no_more_is_guessed_than_is_wanted(most: int) -> None:
    assert list(lookup().guess([*LINE, 1, *LINE[:20]], most)) == LINE[20 : 20 + max(0, most)]


def test_guesses_end_where_the_text_ends() -> None:
    assert lookup().guess([*LINE[:4], *LINE[:3]], 100) == [LINE[3], *LINE[:3]]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 60), st.integers(0, 10))
def test_a_text_that_grows_is_known_as_well_as_one_that_is_there_at_once(
    tokens: list[int], cut: int, most: int
) -> None:
    growing = lookup()
    growing.guess(tokens[:cut], most)
    growing.guess(tokens, most)
    assert growing.guess(tokens, most) == lookup().guess(tokens, most)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 10))
def test_a_guess_stands_behind_the_same_three_tokens(tokens: list[int], most: int) -> None:
    guess = lookup().guess(tokens, most)
    assert len(guess) <= min(most, MOST)
    places = range(3, len(tokens))
    assert not guess or any(
        tokens[place - 3 : place] == tokens[-3:] and tokens[place : place + len(guess)] == guess for place in places
    )


# Whether it pays


def test_a_longer_match_is_hoped_more_of() -> None:
    widths = [len(lookup({1: 1.0, **dict.fromkeys(range(2, 10), 1.8)}).guess([*LINE, 1, *LINE[:n]], 100))
              for n in (3, 4, 8, 16)]  # fmt: skip
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] == MOST


def test_where_a_token_more_costs_a_step_nothing_is_guessed() -> None:
    assert not lookup(DEAR).guess([*LINE, 1, *LINE[:20]], 100)


def test_before_anything_is_measured_only_what_is_likely_is_tried() -> None:
    assert not lookup({}).guess([*LINE, 1, *LINE[:3]], 100)
    assert lookup({}).guess([*LINE, 1, *LINE[:20]], 100)


def test_who_guesses_wrong_again_and_again_stops() -> None:
    one, tries = lookup({1: 1.0, **dict.fromkeys(range(2, 10), 1.3)}), 0
    while guess := one.guess([*LINE, 1, *LINE[:20]], 100):
        one.learn(len(guess), 0)
        tries += 1
        assert tries < 10
    assert tries > 0


def test_who_stopped_tries_again_some_time() -> None:
    one, tokens = lookup({1: 1.0, **dict.fromkeys(range(2, 10), 1.3)}), [*LINE, 1, *LINE[:20]]
    while guess := one.guess(tokens, 100):
        one.learn(len(guess), 0)
    waited = 0
    while not one.guess(tokens, 100):
        one.learn(0, 0)
        waited += 1
        assert waited <= max(HOPE.values()) / FORGIVING
    assert waited > 1


def test_right_guesses_keep_hope_up() -> None:
    one = lookup({1: 1.0, **dict.fromkeys(range(2, 10), 1.3)})
    for _ in range(20):
        guess = one.guess([*LINE, 1, *LINE[:20]], 100)
        assert guess
        one.learn(len(guess), len(guess))


def test_right_guesses_make_longer_ones_pay() -> None:
    one = lookup({width: 1 + 0.35 * (width - 1) for width in range(1, 10)})
    tokens = [*LINE, 1, *LINE[:8]]
    first = one.guess(tokens, 100)
    for _ in range(10):
        one.learn(len(one.guess(tokens, 100)), len(one.guess(tokens, 100)))
    assert 0 < len(first) < len(one.guess(tokens, 100)) == MOST
