"""Several replies at once: each gets its own text, none stands still for another's sake, and the queue is fair."""

from __future__ import annotations

import pytest
from scripted_context import ScriptedSampler, scripted
from stage import Stage, counted, end_of, expected, readings, refused, text_of, waits

from localchat.engine.events import Done, Piece, Reading, Waiting
from localchat.engine.schedule import QUEUE_LIMIT
from localchat.errors import LocalchatError

__all__ = ["scripted"]

START = list(range(1, 41))
PROMPTS = {1: [*START, 7], 2: [8, 9], 3: [*START[:20], 5, 5], 4: [*START, 7, 7], 5: [50] * 90, 6: [3]}


def ends(one: Stage) -> list[int]:
    """Who is done, in the order in which they were told."""
    return [number for number, told in one.told.items() if isinstance(told[-1], Done)]


def finished_in_order(one: Stage) -> list[int]:
    """Who ends when."""
    order: list[int] = []
    while not one.schedule.is_idle:
        one.step()
        order += [number for number in ends(one) if number not in order]
    return order


# Together


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_each_reply_gets_its_own_text(slots: int) -> None:
    one = counted(slots=slots)
    for number, prompt in PROMPTS.items():
        one.ask(number, prompt, limit=10 * number)
    one.finish()
    for number, prompt in PROMPTS.items():
        assert one.text(number) == expected(prompt, 10 * number)
        assert end_of(one.told[number]).usage.completion_tokens == 10 * number
    assert ScriptedSampler.open == 0


def test_several_that_write_get_a_token_each_in_every_step() -> None:
    one = counted()
    for number in range(4):
        one.ask(number, [5, number + 1], limit=10)
    one.finish()
    assert [len(call) for call in one.context.calls] == [4] * 10


def test_a_prompt_that_is_read_stops_no_text_of_others() -> None:
    one = counted(tokens=2048)
    one.ask(1, [5, 6])
    for _ in range(3):
        one.step()
    one.ask(2, range(1, 1001), limit=1)
    written = len(one.told[1])
    while not readings(one.told[2]) or readings(one.told[2])[-1] != (1000, 1000):
        one.step()
        written += 1
        assert len(one.told[1]) == written
        assert isinstance(one.told[1][-1], Piece)


def test_a_prompt_is_read_in_small_parts_while_others_write() -> None:
    one = counted(tokens=4096, batch=512)
    one.context.token_seconds = 0.01
    one.ask(1, [5, 6])
    one.step()
    one.ask(2, range(1, 401), limit=1)
    while not one.text(2):
        one.step()
    lengths = [len(part.tokens) for part in one.parts(1)]
    assert sum(lengths) == 400
    assert max(lengths) <= 15


def test_prompts_that_are_read_together_get_on_together() -> None:
    one = counted(tokens=4096, batch=64)
    one.ask(1, [5] * 600, limit=1)
    one.ask(2, [6] * 600, limit=1)
    for _ in range(10):
        one.step()
    first, second = (readings(one.told[number])[-1][0] for number in (1, 2))
    assert first > 200
    assert abs(first - second) <= 2


def test_a_short_prompt_beside_a_long_one_is_answered_first() -> None:
    one = counted(tokens=4096, batch=64)
    one.ask(1, [5] * 1000, limit=1)
    one.ask(2, [6] * 20, limit=1)
    assert finished_in_order(one) == [2, 1]


def test_more_prompts_than_a_batch_has_tokens_are_all_read() -> None:
    one = counted(tokens=512, batch=3, slots=3)
    for number in range(3):
        one.ask(number, [5 + number] * 30, limit=4)
    one.finish()
    assert [one.text(number) for number in range(3)] == [expected([5 + number] * 30, 4) for number in range(3)]


def test_one_that_is_cancelled_takes_nobody_along() -> None:
    one = counted()
    for number in (1, 2, 3):
        one.ask(number, PROMPTS[number], limit=10)
    for _ in range(4):
        one.step()
    one.schedule.cancel({2, 99})
    told = len(one.told[2])
    one.finish()
    assert len(one.told[2]) == told
    assert [one.text(number) for number in (1, 3)] == [expected(PROMPTS[number], 10) for number in (1, 3)]
    assert ScriptedSampler.open == 0


def test_a_failure_is_told_to_all_that_it_concerns_and_to_nobody_else() -> None:
    one = counted(slots=2)
    one.context.breaks[3] = "fail"
    for number in (1, 2, 3):
        one.ask(number, PROMPTS[number], limit=10)
    one.finish()
    assert [isinstance(one.told[number][-1], LocalchatError) for number in (1, 2, 3)] == [True, True, False]
    assert one.text(3) == expected(PROMPTS[3], 10)
    assert ScriptedSampler.open == 0


def test_a_step_of_several_that_is_broken_off_is_done_again_for_all() -> None:
    one = counted()
    one.context.breaks = dict.fromkeys([0, 1, 4, 7], "abort")
    for number in (1, 2, 3):
        one.ask(number, PROMPTS[number], limit=10)
    one.finish()
    assert [one.text(number) for number in (1, 2, 3)] == [expected(PROMPTS[number], 10) for number in (1, 2, 3)]


# The queue


def test_who_comes_first_is_answered_first() -> None:
    one = counted(slots=1)
    for number in range(6):
        one.ask(number, [9, number + 1], limit=3)
    assert finished_in_order(one) == list(range(6))


def test_nobody_is_overtaken_by_one_who_needs_less_room() -> None:
    one = counted(tokens=512)
    one.ask(1, [5] * 300, limit=10)
    one.ask(2, [6] * 300, limit=10)
    one.ask(3, [7] * 3, limit=3)
    while not ends(one):
        one.step()
    assert ends(one) == [1]
    assert [type(event) for event in one.told[3]] == [Waiting]
    one.finish()
    assert one.text(3) == expected([7] * 3, 3)


def test_who_waits_is_told_so_once_and_first() -> None:
    one = counted(slots=2)
    for number in range(5):
        one.ask(number, [9, number + 1], limit=5)
    one.finish()
    assert [waits(one.told[number]) for number in range(5)] == [0, 0, 1, 1, 1]
    assert all(isinstance(one.told[number][0], Waiting) for number in (2, 3, 4))


def test_the_queue_has_an_end_and_says_so() -> None:
    one = counted(slots=1)
    for number in range(QUEUE_LIMIT):
        one.ask(number, [5, 6], limit=1)
    with refused(f"{QUEUE_LIMIT} replies are waiting"):
        one.ask(1000, [5, 6], limit=1)
    one.schedule.cancel({3})
    one.ask(1001, [5, 6], limit=1)
    assert finished_in_order(one) == [number for number in range(QUEUE_LIMIT) if number != 3] + [1001]
    assert ScriptedSampler.open == 0


def test_one_that_is_cancelled_while_it_waits_is_never_read() -> None:
    one = counted(slots=1)
    for number in (1, 2, 3):
        one.ask(number, PROMPTS[number], limit=3)
    one.step()
    one.schedule.cancel({2})
    one.finish()
    assert [type(event) for event in one.told[2]] == [Waiting]
    assert one.text(3) == expected(PROMPTS[3], 3)


# What is known already


def test_what_another_slot_has_is_copied() -> None:
    one = counted()
    one.ask(1, [*START, 100, 101], limit=3)
    one.finish()
    told = one.reply([*START, 200], limit=3)
    assert end_of(told).usage.cached_tokens == len(START)
    assert one.context.copies == [(0, 1, len(START))]
    assert text_of(told) == expected([*START, 200], 3)
    assert one.context.text(0)[: len(START) + 2] == (*START, 100, 101), "what was there stays"


def test_what_is_copied_takes_no_room() -> None:
    one = counted(tokens=512, slots=4)
    for number in range(4):
        one.ask(number, [*([9] * 100), number + 1], limit=3)
        one.finish()
    assert one.context.used < 100 + 4 * 10


def test_a_slot_that_writes_is_copied_from() -> None:
    one = counted()
    one.ask(1, [*START, 100], limit=30)
    for _ in range(4):
        one.step()
    one.ask(2, [*START, 200], limit=3)
    one.finish()
    assert end_of(one.told[2]).usage.cached_tokens == len(START)
    assert (one.text(1), one.text(2)) == (expected([*START, 100], 30), expected([*START, 200], 3))


def test_a_conversation_goes_on_where_it_was() -> None:
    one = counted()
    prompts = [[50 + number] * 30 for number in range(4)]
    for _ in range(3):
        for number, prompt in enumerate(prompts):
            told = one.reply(prompt, limit=5)
            assert text_of(told) == expected(prompt, 5)
            assert one.context.text(number)[: len(prompt)] == tuple(prompt)
            prompts[number] = [*one.context.text(number), 7]
    assert one.context.copies == [(source, target, 0) for source, target, _ in one.context.copies]


def test_the_slot_that_was_not_used_for_the_longest_time_gives_way() -> None:
    one = counted()
    for number in (1, 2, 3, 4):
        one.reply([50 + number] * 20, limit=2)
    one.reply([*one.context.text(0), 7], limit=2)  # the first is used again
    kept = [one.context.text(slot) for slot in range(4)]
    one.reply([60] * 20, limit=2)
    assert [one.context.text(slot) == kept[slot] for slot in range(4)] == [True, False, True, True]


# Room


def test_what_nobody_uses_leaves_a_full_cache_the_oldest_first() -> None:
    one = counted(tokens=200)
    for number in (1, 2, 3):
        one.reply([50 + number] * 50, limit=2)
    told = one.reply([60] * 60, limit=20)
    assert text_of(told) == expected([60] * 60, 20)
    assert one.context.text(0) == ()
    assert one.context.text(2)[:50] == (53,) * 50


def test_the_youngest_makes_room_and_ends_with_the_same_text() -> None:
    one = counted(tokens=300, slots=3)
    for number in (1, 2, 3):
        one.ask(number, [50 + number] * 10, limit=140)
    assert finished_in_order(one) == [1, 2, 3]
    assert [one.text(number) for number in (1, 2, 3)] == [expected([50 + number] * 10, 140) for number in (1, 2, 3)]
    assert all(waits(one.told[number]) <= 1 for number in (1, 2, 3))
    assert [end_of(one.told[number]).usage.prompt_tokens for number in (1, 2, 3)] == [10, 10, 10]


def test_a_reply_that_has_begun_never_tells_that_it_waits_or_reads() -> None:
    one = counted(tokens=300, slots=3)
    for number in (1, 2, 3):
        one.ask(number, [50 + number] * 10, limit=140)
    one.finish()
    assert sum(part.position == 0 for slot in range(3) for part in one.parts(slot)) > 3, "somebody made room"
    for number in (1, 2, 3):
        begun = next(place for place, told in enumerate(one.told[number]) if isinstance(told, Piece))
        assert not [told for told in one.told[number][begun:] if isinstance(told, Reading | Waiting)]


def test_one_that_made_room_is_the_next_to_have_some() -> None:
    one = counted(tokens=300, slots=2)
    one.ask(1, [51] * 10, limit=200)
    one.ask(2, [52] * 10, limit=200)
    one.ask(3, [53] * 150, limit=5)
    assert finished_in_order(one) == [1, 2, 3]


def test_the_eldest_is_never_set_back() -> None:
    one = counted(tokens=300, slots=3)
    for number in (1, 2, 3):
        one.ask(number, [50 + number] * 10, limit=140)
    one.finish()
    positions = [part.position for part in one.parts(0)[:100]]
    assert positions == sorted(positions)
    assert len(readings(one.told[1])) == 2


def test_one_that_made_room_may_be_cancelled() -> None:
    one = counted(tokens=300, slots=2)
    one.ask(1, [51] * 10)
    one.ask(2, [52] * 10)
    one.step()
    assert one.context.text(1)
    while one.context.text(1):
        one.step()
    one.schedule.cancel({2})
    one.finish()
    assert one.text(1) == expected([51] * 10, 290)
    assert ScriptedSampler.open == 0


def test_where_writing_is_slow_the_first_crowd_is_not_read_by_a_few_tokens_either() -> None:
    """How long a step of writing takes is looked at before anything is read beside one."""
    one = counted(tokens=2048, batch=512)
    one.context.step_seconds, one.context.token_seconds = 1.0, 0.05
    one.ask(1, [5] * 40, limit=60)
    one.step()
    one.ask(2, [7] * 400, limit=2)
    one.step()
    one.step()
    assert [[len(part.tokens) for part in call] for call in one.context.calls[:2]] == [[40], [1]]
    [written, read] = one.context.calls[2]
    assert len(written.tokens) == 1
    assert len(read.tokens) > 20
    one.finish()
    assert [one.text(1), one.text(2)] == [expected([5] * 40, 60), expected([7] * 400, 2)]
