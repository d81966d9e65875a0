"""One reply at a time: what is read, what is written, and what of it is in the cache."""

from __future__ import annotations

import itertools
import math

import pytest
from scripted_context import ScriptedSampler, scripted
from stage import Told, counted, end_of, expected, readings, text_of

from localchat.engine.busy import Moment
from localchat.engine.events import Done, Piece, Reading, Usage
from localchat.errors import LocalchatError

__all__ = ["scripted"]

PROMPT = (2, 3, 4)


def test_a_prompt_is_read_in_slices_that_the_batch_can_hold() -> None:
    one = counted(tokens=4096)
    told = one.reply(range(1, 1001), limit=1)
    assert sum(len(part.tokens) for part in one.parts(0)) == 1000
    assert readings(told)[0] == (0, 1000)
    assert readings(told)[-1] == (1000, 1000)
    assert readings(told) == sorted(readings(told))


def test_a_prompt_is_read_in_parts_as_large_as_fit() -> None:
    one = counted(tokens=8192, batch=512)
    one.reply(range(1, 1101), limit=1)
    assert [len(part.tokens) for part in one.parts(0)] == [512, 512, 76]


def test_how_far_it_is_is_told_in_the_middle_of_a_long_part() -> None:
    told = counted(tokens=8192, batch=512).reply(range(1, 1101), limit=1)
    assert [done for done, _ in readings(told)] == [0, 256, 512, 768, 1024, 1100]


def test_only_the_last_slice_wants_logits() -> None:
    one = counted()
    one.reply(range(1, 201), limit=1)
    assert [part.outputs for part in one.parts(0)] == [0, 0, 0, 1]


def test_only_what_is_new_is_read() -> None:
    one = counted()
    one.reply(PROMPT, limit=3)
    written = one.context.text(0)
    assert written[:3] == PROMPT
    told = one.reply([*written, 9], limit=1)
    assert readings(told)[0] == (len(written), len(written) + 1)
    assert end_of(told).usage.cached_tokens == len(written)
    assert one.context.text(0) == (*written, 9)


def test_the_last_token_is_read_again_to_know_what_follows() -> None:
    one = counted()
    first, again = one.reply(PROMPT, limit=1), one.reply(PROMPT, limit=1)
    assert end_of(again).usage.cached_tokens == 2
    assert text_of(first) == text_of(again)


def test_a_cache_that_cannot_be_cut_is_read_anew() -> None:
    one = counted(can_cut=False, slots=1)
    one.reply([1, 2, 3], limit=1)
    told = one.reply([1, 2, 4], limit=1)
    assert end_of(told).usage.cached_tokens == 0
    assert one.context.text(0) == (1, 2, 4)


def test_a_cache_that_cannot_be_cut_goes_on_where_nothing_is_cut() -> None:
    one = counted(can_cut=False, slots=1)
    one.reply([1, 2, 3], limit=2)
    known = one.context.text(0)
    assert end_of(one.reply([*known, 4], limit=1)).usage.cached_tokens == len(known)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 30])
def test_a_reply_that_is_cancelled_leaves_the_cache_in_order(steps: int) -> None:
    one = counted(tokens=4096)
    one.ask(1, range(1, 501))
    for _ in range(steps):
        one.step()
    one.schedule.cancel({1})
    assert one.schedule.is_idle
    assert ScriptedSampler.open == 0
    known = one.context.text(0)
    told = one.reply([*range(1, 501), 7], limit=4)
    assert end_of(told).usage.cached_tokens == min(500, len(known))
    assert text_of(told) == expected([*range(1, 501), 7], 4)


@pytest.mark.parametrize("call", [0, 1, 4, 12])
def test_a_failure_leaves_the_cache_in_order(call: int) -> None:
    one = counted(tokens=4096)
    one.context.breaks[call] = "fail"
    assert isinstance(one.reply(range(1, 501))[-1], LocalchatError)
    assert len(one.context.text(0)) == sum(len(part.tokens) for part in one.parts(0)[:-1])
    assert ScriptedSampler.open == 0
    told = one.reply([*range(1, 301), 7], limit=3)
    assert text_of(told) == expected([*range(1, 301), 7], 3)


@pytest.mark.parametrize("can_cut", [True, False])
def test_a_step_that_is_broken_off_is_done_again(can_cut: bool) -> None:
    one = counted(tokens=4096, can_cut=can_cut)
    one.context.breaks = dict.fromkeys([0, 2, 9, 10, 14], "abort")
    told = one.reply(range(1, 501), limit=20)
    assert text_of(told) == expected(range(1, 501), 20)
    assert len(one.context.calls) > 14


def test_a_step_is_broken_off_by_whoever_interrupts_and_not_once_that_is_over() -> None:
    one = counted()
    one.ask(1, PROMPT, limit=3)
    one.schedule.interrupt()
    one.step()
    one.step()
    assert one.text(1) == ""
    one.schedule.resume()
    one.finish()
    assert one.text(1) == expected(PROMPT, 3)


def test_a_long_step_that_is_broken_off_is_followed_by_a_short_one() -> None:
    """Where others come and go every second, steps of two seconds would never be over."""
    one = counted(tokens=8192, batch=2048)
    one.context.token_seconds = 0.01
    one.ask(1, range(1, 2001), limit=1)
    one.step()
    one.context.breaks[1] = "abort"
    one.ask(2, range(2001, 3001), limit=1)
    one.finish()
    whole, broken, *after = (sum(len(part.tokens) for part in call) for call in one.context.calls)
    assert (whole, broken) == (2000, 1000)
    assert 8 <= after[0] <= 16


RATES = [
    (Usage(100, 20, 11, 0.5, 2.0, 5.0), 2.0, 40.0),
    (Usage(100, 100, 1, 0.5, 2.0, 5.0), 0.0, 0.0),
    (Usage(100, 0, 0, 0.5, 0.0, 0.0), 0.0, 0.0),
    (Usage(100, 0, 2, 0.5, 0.0, 0.0), 0.0, 0.0),  # a clock may be too coarse to tell
]


@pytest.mark.parametrize(("usage", "writing", "reading"), RATES)
def test_rates_are_of_what_was_done_in_that_time(usage: Usage, writing: float, reading: float) -> None:
    assert (usage.tokens_per_second, usage.prompt_tokens_per_second) == (writing, reading)


def test_events_come_in_the_order_that_faces_expect() -> None:
    def kinds(told: list[Told]) -> list[type]:
        found = [type(event) for event in told]
        return [kind for index, kind in enumerate(found) if kind is not found[index - 1]]

    assert kinds(counted().reply(range(1, 200), limit=3)) == [Reading, Piece, Done]


def test_a_schedule_looks_between_its_steps_and_says_how_many_computed() -> None:
    stage = counted()
    threads = stage.schedule._threads
    moments = (Moment(float(second), 0.0, 2.0 * second) for second in itertools.count())
    threads.look, threads.clock, threads.cores = lambda: next(moments), lambda: math.inf, 4
    assert end_of(stage.reply([5, 6], limit=3)).usage.threads == stage.context.threads == 2
