"""What is tried pays, or costs nothing because it fills a step up to four tokens; the texts stay the same."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_context import ScriptedContext, ScriptedModel, scripted, scripts
from stage import Stage, counted, expected

from localchat.engine.guessing import AGAIN_STEPS, TRIES, Costs, Widths, best_counts
from localchat.engine.lookup import MOST, Lookup, Offer

__all__ = ["scripted"]

QUOTE = list(range(100, 160))


def widths_of(one: Stage) -> list[int]:
    """How many tokens each step has computed that read nothing."""
    return [
        sum(len(part.tokens) for part in call)
        for call in one.context.calls
        if all(part.outputs == len(part.tokens) for part in call)
    ]


def measured(seconds: Mapping[int, float], writers: int = 1) -> Costs:
    """What is known where each width was measured once."""
    costs = Costs(writers)
    for width in sorted(seconds):
        costs.learn(width, seconds[width])
    return costs


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


# What steps cost


def test_a_cost_that_was_not_measured_is_guessed_to_be_high() -> None:
    costs = Costs()
    assert costs.factor(1) == 1.0
    assert costs.factor(9) > 3
    costs.learn(9, 1.0)
    assert costs.factor(9) > 3, "what a single one takes is not known"


def test_a_cost_is_an_average_in_which_the_newest_counts_most() -> None:
    costs = Costs()
    for seconds in (1.0, 1.0, 1.0, 2.0):
        costs.learn(1, seconds)
    costs.learn(4, 2.5)
    assert 2.5 / 1.5 < costs.factor(4) < 2.5 / 1.0


def test_a_width_that_was_not_measured_is_taken_to_cost_what_the_nearest_one_says() -> None:
    costs = measured({1: 1.0, 3: 1.4, 9: 1.8})
    assert costs.factor(2) == pytest.approx(1.2)
    assert costs.factor(5) == pytest.approx(1.8)
    assert costs.factor(8) == pytest.approx(1.7)


def test_one_that_is_faster_than_without_guesses_promises_no_others_that_are_faster_still() -> None:
    costs = measured({3: 1.0, 4: 0.6}, 3)
    assert costs.factor(4) == 0.6
    assert costs.factor(8) == costs.factor(50) == 1.0


@pytest.mark.parametrize("seconds", [0.0, 1e-320])
def test_a_clock_that_stands_still_is_survived(seconds: float) -> None:
    costs = Costs()
    for width in range(1, 10):
        costs.learn(width, seconds)
    assert best_counts([Offer(QUOTE[:MOST], 0.9)], costs, 100)[0] <= MOST


@pytest.mark.parametrize("writers", [2, 3, 5, 8])
def test_beside_many_a_token_more_is_a_smaller_part_of_the_step(writers: int) -> None:
    costs = Costs(writers)
    assert costs.factor(writers) == 1.0
    assert 1.0 < costs.factor(writers + 1) <= 1 + 1 / writers
    costs.learn(writers, 10.0)
    costs.learn(writers + 1, 9.0)
    assert costs.factor(writers + 1) < 1.0


# How many guesses of each


FLAT = {width: 1.0 + 0.02 * width for width in range(1, 80)}


def test_several_that_quote_are_all_guessed() -> None:
    offers = [Offer(QUOTE[:MOST], 0.9), Offer(QUOTE[:3], 0.9), Offer()]
    assert best_counts(offers, measured(FLAT, 3), 100) == [MOST, 3, 0]


def test_what_is_likelier_is_tried_first() -> None:
    offers = [Offer(QUOTE[:MOST], 0.5), Offer(QUOTE[:MOST], 0.9)]
    assert best_counts(offers, measured(FLAT, 2), 3) == [0, 3]
    assert best_counts(offers, measured(FLAT, 2), 8) == [1, 7]


@pytest.mark.parametrize("hope", [0.0, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("writers", [1, 2, 5])
def test_where_each_token_takes_its_time_nothing_is_guessed(writers: int, hope: float) -> None:
    offers = [Offer(QUOTE[:MOST], hope)] * writers
    assert best_counts(offers, measured({width: float(width) for width in range(1, 80)}, writers), 100) == [0] * writers


@given(
    st.lists(st.builds(Offer, st.lists(st.integers(), max_size=MOST), st.floats(0, 1)), min_size=1, max_size=8),
    st.integers(0, 40),
)
def test_no_more_is_tried_than_is_offered_and_has_room(offers: list[Offer], room: int) -> None:
    counts = best_counts(offers, measured(FLAT, len(offers)), room)
    assert sum(counts) <= room
    assert all(0 <= count <= len(offer.tokens) for count, offer in zip(counts, offers, strict=True))


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


@pytest.mark.parametrize("writers", [2, 3, 5])
def test_several_that_repeat_a_text_are_written_to_in_fewer_steps(writers: int) -> None:
    text = list(range(100, 300))
    prompts = [(number, *text, 6) for number in range(writers)]
    one = Stage(ScriptedModel(scripts(dict.fromkeys(prompts, text))), ScriptedContext(tokens=2048, slots=8))
    for number, prompt in enumerate(prompts):
        one.ask(number, prompt)
    one.finish()
    assert all(one.text(number) == "".join(f"{token} " for token in text) for number in range(writers))
    assert len(widths_of(one)) < len(text) / 3


def test_who_repeats_nothing_is_not_guessed_beside_one_that_does() -> None:
    quoting, free = (0, *QUOTE, 6), (7, 8, 9)
    answers = {quoting: QUOTE, free: range(1000, 1050)}
    one = Stage(ScriptedModel(scripts(answers)), ScriptedContext(tokens=2048, slots=8))
    one.ask(0, quoting)
    one.ask(1, free)
    one.finish()
    assert one.text(0) == "".join(f"{token} " for token in QUOTE)
    both = [call for call in one.context.calls if len(call) == 2 and all(part.outputs for part in call)]
    lengths = {part.slot: [len(other.tokens) for call in both for other in call if other.slot == part.slot]
               for part in both[0]}  # fmt: skip
    assert sorted(max(found) for found in lengths.values())[1] > 4
    assert sum(min(found) > 1 for found in lengths.values()) == 0


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
    one = Lookup()
    tokens = [*QUOTE, 1, *QUOTE[:8]]
    before = one.offer(tokens, 2)
    for _ in range(20):
        assert one.fill([1, 2, 3], 2) == [3, 3]
        one.learn(2, 0)
    assert one.offer(tokens, 2) == before
    assert one.fill(tokens, 2) == before.tokens == QUOTE[8:10]
