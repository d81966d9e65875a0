"""Steps that write to several are filled up to four tokens where that is faster, and the texts stay the same."""

from __future__ import annotations

import pytest
from scripted_context import ScriptedModel, scripted, scripts
from stage import Stage, counted, expected

from localchat.engine.guessing import AGAIN_STEPS, TRIES, Widths
from localchat.engine.lookup import Costs, Lookup

__all__ = ["scripted"]

QUOTE = list(range(100, 160))


def widths_of(one: Stage) -> list[int]:
    """How many tokens each step has computed that read nothing."""
    return [
        sum(len(part.tokens) for part in call)
        for call in one.context.calls
        if all(part.outputs == len(part.tokens) for part in call)
    ]


def chosen(seconds: dict[int, float], writers: int, steps: int) -> list[int]:
    widths, found = Widths(), []
    for _ in range(steps):
        found.append(widths.choose(writers))
        widths.learn(found[-1], seconds[found[-1]])
    return found


# Which width


@pytest.mark.parametrize(("writers", "full"), [(2, 4), (3, 4), (6, 8), (7, 8)])
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_the_faster_width_is_found_and_the_other_one_tried_from_time_to_time(
    writers: int, full: int, factor: float
) -> None:
    found = chosen({writers: 1.0, full: factor}, writers, 1 + 4 * AGAIN_STEPS)
    faster, slower = (full, writers) if factor < 1 else (writers, full)
    assert sorted(found[: 2 * TRIES]) == sorted([writers, full] * TRIES)
    assert found[2 * TRIES :].count(slower) == 4
    assert found[-1] == faster


@pytest.mark.parametrize("writers", [1, 4, 5, 8, 9])
def test_one_that_is_left_over_is_not_filled_up(writers: int) -> None:
    assert set(chosen({width: 1 / width for width in range(1, 13)}, writers, 20)) == {writers}


def test_a_slow_moment_is_forgiven() -> None:
    widths = Widths()
    for seconds in (9.0, 1.0, 9.0):
        widths.learn(3, seconds)
        widths.learn(4, 1.2)
    assert widths.choose(3) == 3


# In the schedule


@pytest.mark.parametrize("writers", [2, 3, 6, 7])
@pytest.mark.parametrize("single_seconds", [0.0, 0.05])
def test_a_step_that_is_filled_up_changes_no_text(writers: int, single_seconds: float) -> None:
    one = counted(tokens=2048, slots=8)
    one.context.single_seconds = single_seconds
    for number in range(writers):
        one.ask(number, [5, number + 1], limit=40)
    one.finish()
    for number in range(writers):
        assert one.text(number) == expected([5, number + 1], 40)
    full = -(-writers // 4) * 4
    filled = widths_of(one).count(full)
    assert filled > 20 if single_seconds else filled == TRIES


def test_what_fills_a_step_up_may_be_right() -> None:
    prompts = [(number, *QUOTE, 6) for number in range(3)]
    one = Stage(ScriptedModel(scripts(dict.fromkeys(prompts, QUOTE))))
    one.context.single_seconds = 0.05
    for number, prompt in enumerate(prompts):
        one.ask(number, prompt)
    one.finish()
    assert all(one.text(number) == "".join(f"{token} " for token in QUOTE) for number in range(3))
    assert len(widths_of(one)) < len(QUOTE)


def test_who_wants_no_guesses_has_none() -> None:
    one = counted()
    one.context.single_seconds = 0.05
    for number in range(3):
        one.ask(number, [5, number + 1], limit=40, speculate=False)
    one.finish()
    assert set(widths_of(one)) == {3}


@pytest.mark.parametrize("room", range(3, 40))
def test_steps_are_not_filled_up_beyond_the_context(room: int) -> None:
    one = counted(tokens=6 + room)
    one.context.single_seconds = 0.05
    for number in range(3):
        one.ask(number, [5, number + 1], limit=10)
    one.finish()
    assert all(one.text(number) == expected([5, number + 1], min(10, 4 + room)) for number in range(3))


def test_steps_are_not_filled_up_beyond_the_batch() -> None:
    one = counted(batch=3)
    one.context.single_seconds = 0.05
    for number in range(3):
        one.ask(number, [5, number + 1], limit=20)
    one.finish()
    assert max(widths_of(one)) == 3


# What is tried


def test_what_is_made_up_says_nothing_about_guesses() -> None:
    one = Lookup(Costs({1: 1.0, 2: 1.01, 3: 1.02}))
    tokens = [*QUOTE, 1, *QUOTE[:8]]
    before = one.guess(tokens, 2)
    for _ in range(20):
        assert one.fill([1, 2, 3], 2) == [3, 3]
        one.learn(2, 0)
    assert one.guess(tokens, 2) == before == QUOTE[8:10]
    assert one.fill(tokens, 2) == QUOTE[8:10]
