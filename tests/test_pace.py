"""Parts of a prompt are as long as may be waited for them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.pace import BLOCK_TOKENS, CROWD_LIMIT, STALL_SECONDS, STALL_STEPS, ReadingPace


def blocks(tokens: float) -> int:
    """As many, filled up to whole blocks."""
    return math.ceil(tokens / BLOCK_TOKENS) * BLOCK_TOKENS


def test_before_anything_is_known_others_are_held_up_for_a_few_tokens_only() -> None:
    assert ReadingPace(2048).slice_tokens(are_others_writing=True) == 8


@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_a_part_takes_as_long_as_may_be_waited(rate: float) -> None:
    pace = ReadingPace(2048)
    pace.learn(100, 100 / rate)
    assert pace.slice_tokens(are_others_writing=True) == blocks(STALL_SECONDS * rate)
    assert pace.slice_tokens(are_others_writing=True, crowd=0.5) == pace.slice_tokens(are_others_writing=True)
    assert pace.slice_tokens(are_others_writing=True, crowd=2) == blocks(2 * STALL_SECONDS * rate)


@pytest.mark.parametrize("beside", [1, 3, 7, 8])
def test_with_those_that_are_written_a_step_is_a_whole_number_of_blocks(beside: int) -> None:
    pace = ReadingPace(512)
    pace.learn(100, 0.3)
    assert (pace.slice_tokens(are_others_writing=True, beside=beside) + beside) % BLOCK_TOKENS == 0
    assert pace.slice_tokens(are_others_writing=True, crowd=4, beside=beside) == blocks(200 + beside) - beside
    fast = ReadingPace(512)
    fast.learn(512, 1e-6)
    assert fast.slice_tokens(are_others_writing=True, beside=beside) == 512 - beside


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1000.0])
def test_where_nobody_is_written_to_as_much_is_read_as_fits(seconds: float) -> None:
    pace = ReadingPace(512)
    pace.learn(100, seconds)
    assert pace.slice_tokens(are_others_writing=False) == 512


@pytest.mark.parametrize(("crowd", "times"), [(0.0, 1.0), (0.1, 1.0), (2.5, 2.5), (1000.0, CROWD_LIMIT)])
def test_many_prompts_may_hold_up_a_few_that_write_for_longer(crowd: float, times: float) -> None:
    pace = ReadingPace(2048)
    pace.learn(100, 1.0)
    tokens = pace.slice_tokens(are_others_writing=True, crowd=crowd)
    assert tokens == blocks(times * STALL_SECONDS * 100)


def test_a_slow_machine_reads_some_tokens_all_the_same() -> None:
    pace = ReadingPace(2048)
    pace.learn(100, 1000.0)
    assert pace.slice_tokens(are_others_writing=True) == BLOCK_TOKENS


def test_a_step_of_few_tokens_teaches_nothing() -> None:
    """It takes as long as one of more."""
    pace = ReadingPace(2048)
    pace.learn(7, 100.0)
    assert pace.token_seconds == 0


def test_the_pace_follows_what_is_measured() -> None:
    pace = ReadingPace(2048)
    pace.learn(100, 1.0)
    pace.learn(100, 3.0)
    assert 0.01 < pace.token_seconds < 0.03
    for _ in range(30):
        pace.learn(100, 3.0)
    assert pace.token_seconds == pytest.approx(0.03, rel=0.01)


SECONDS = st.just(0.0) | st.floats(1e-9, 1e6)  # as a clock has them


@given(st.integers(1, 4096), st.lists(st.tuples(st.integers(1, 4096), SECONDS), max_size=5), st.booleans())
def test_a_part_is_never_empty_and_no_longer_than_is_known_to_fit(
    batch: int, steps: list[tuple[int, float]], are_others_writing: bool
) -> None:
    pace = ReadingPace(batch)
    for tokens, seconds in steps:
        pace.learn(tokens, seconds)
    tokens = pace.slice_tokens(are_others_writing=are_others_writing)
    assert 1 <= tokens <= batch


def test_where_writing_is_slow_itself_a_part_may_take_as_long_as_some_steps() -> None:
    """Of a 7B on two cores, a part of 150 ms would be two tokens."""
    pace = ReadingPace(512)
    pace.learn(64, 64 * 0.07)
    assert pace.slice_tokens(are_others_writing=True, crowd=3) == BLOCK_TOKENS
    pace.learn_step(0.4)
    assert pace.slice_tokens(are_others_writing=True) == blocks(STALL_STEPS * 0.4 / 0.07)
    assert pace.slice_tokens(are_others_writing=True, crowd=3) == blocks(3 * STALL_STEPS * 0.4 / 0.07)


def test_where_writing_is_fast_its_steps_change_nothing() -> None:
    pace = ReadingPace(2048)
    pace.learn(512, 0.5)
    before = pace.slice_tokens(are_others_writing=True)
    pace.learn_step(0.02)
    assert pace.slice_tokens(are_others_writing=True) == before


def test_a_step_that_was_slow_once_is_forgotten() -> None:
    pace = ReadingPace(2048)
    pace.learn(512, 0.5)
    pace.learn_step(5.0)
    for _ in range(30):
        pace.learn_step(0.02)
    assert pace.slice_tokens(are_others_writing=True) == blocks(STALL_SECONDS * 1024)
