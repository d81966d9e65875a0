"""What leaves the cache is kept on disk where it would take long to read again, and comes back from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_context import ScriptedContext, ScriptedModel, counting, scripted
from stage import Stage, end_of, expected, text_of

from localchat.engine.store import Store

__all__ = ["scripted"]

SYSTEM = [2] * 20
LONG = [*SYSTEM, *([30] * 300)]
OTHER = [*SYSTEM, *([40] * 300)]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Stage]:
    """Makes stages that keep their sessions in the same folder; each token takes a while to read."""

    def stage(**context: int | bool) -> Stage:
        slow = ScriptedContext(**{"tokens": 1024, **context})  # type: ignore[arg-type]
        slow.token_seconds = 0.01
        return Stage(ScriptedModel(counting), slow, Store(str(tmp_path), 1 << 30, "model"))

    return stage


def test_what_is_saved_at_the_end_is_there_at_the_next_beginning(made: Callable[..., Stage]) -> None:
    first = made()
    first.reply(LONG, limit=5)
    known = first.context.text(0)
    first.schedule.save_sessions()
    second = made()
    told = second.reply([*known, 7], limit=5)
    assert end_of(told).usage.cached_tokens == len(known)
    assert text_of(told) == expected([*known, 7], 5)
    assert sum(len(part.tokens) for part in second.parts(0)) < 10


def test_a_branch_finds_what_it_has_in_common(made: Callable[..., Stage]) -> None:
    first = made()
    first.reply(LONG, limit=5)
    first.schedule.save_sessions()
    told = made().reply([*LONG[:200], 7], limit=5)
    assert end_of(told).usage.cached_tokens == 200
    assert text_of(told) == expected([*LONG[:200], 7], 5)


@pytest.mark.parametrize("slots", [1, 2])
def test_what_gives_way_is_saved_also_where_both_begin_alike(made: Callable[..., Stage], slots: int) -> None:
    """Most conversations begin with the same system message."""
    one = made(slots=slots)
    one.reply(LONG, limit=2)
    for _ in range(slots):
        one.reply(OTHER, limit=2)
        one.reply([*SYSTEM, 50], limit=2)
    told = one.reply([*LONG, 7], limit=5)
    assert end_of(told).usage.cached_tokens == len(LONG)
    assert text_of(told) == expected([*LONG, 7], 5)


def test_a_branch_gives_way_without_a_write_where_another_has_nearly_all_of_it(
    made: Callable[..., Stage], tmp_path: Path
) -> None:
    """Whoever has a question answered again and again would wait for the disk each time."""
    one = made(slots=2)
    for last in (50, 60, 70, 80):
        told = one.reply([*LONG, last], limit=2)
        assert text_of(told) == expected([*LONG, last], 2)
    assert end_of(told).usage.cached_tokens == len(LONG)
    assert not list(tmp_path.iterdir())
    one.reply([90] * 300, limit=2)
    one.reply([95] * 300, limit=2)
    assert cached(one, [*LONG, 80, 7]) == len(LONG) + 1, "the last one that had it was kept"


def test_at_the_end_what_all_branches_have_is_written_once(made: Callable[..., Stage], tmp_path: Path) -> None:
    first = made(slots=3)
    for last in (50, 60, 70):
        first.reply([*LONG, last], limit=2)
    first.schedule.save_sessions()
    assert len(list(tmp_path.glob("*.kv"))) == 1
    assert cached(made(), [*LONG, 70, 7]) == len(LONG) + 1
    assert cached(made(), [*LONG, 50, 7]) == len(LONG)


def test_branches_that_are_long_themselves_are_all_kept(made: Callable[..., Stage], tmp_path: Path) -> None:
    first = made(slots=2, tokens=2048)
    for token in (50, 60):
        first.reply([*LONG, *([token] * 300)], limit=2)
    first.schedule.save_sessions()
    assert len(list(tmp_path.glob("*.kv"))) == 2
    assert [cached(made(), [*LONG, *([token] * 300), 7]) for token in (50, 60)] == [len(LONG) + 300] * 2


def test_one_that_made_room_comes_back_from_disk(made: Callable[..., Stage]) -> None:
    one = made(slots=2)
    one.ask(1, [30] * 400, limit=200)
    one.ask(2, [40] * 400, limit=200)
    one.finish()
    assert [one.text(1), one.text(2)] == [expected([30] * 400, 200), expected([40] * 400, 200)]
    assert sum(part.position == 0 for part in one.parts(1)) == 1, "it was read once"


def test_where_the_disk_takes_nothing_all_is_read_again(made: Callable[..., Stage], tmp_path: Path) -> None:
    one = made(slots=1)
    one.reply(LONG, limit=2)
    tmp_path.rmdir()
    tmp_path.touch()
    one.reply(OTHER, limit=2)
    told = one.reply([*LONG, 7], limit=5)
    assert end_of(told).usage.cached_tokens == len(SYSTEM)
    assert text_of(told) == expected([*LONG, 7], 5)


def test_a_damaged_session_changes_no_text(made: Callable[..., Stage], tmp_path: Path) -> None:
    first = made()
    first.reply(LONG, limit=5)
    first.schedule.save_sessions()
    for path in tmp_path.glob("*.kv"):
        path.write_text(path.read_text().replace("30", "31"))
    told = made().reply([*LONG, 7], limit=5)
    assert end_of(told).usage.cached_tokens == 0
    assert text_of(told) == expected([*LONG, 7], 5)


def test_what_nobody_uses_leaves_for_a_session(made: Callable[..., Stage]) -> None:
    first = made(tokens=700)
    first.reply(LONG, limit=5)
    first.schedule.save_sessions()
    second = made(tokens=700)
    second.reply([60] * 400, limit=2)
    told = second.reply([*LONG, 7], limit=5)
    assert end_of(told).usage.cached_tokens == len(LONG)
    assert second.context.text(0) == ()


def test_for_a_session_that_has_no_room_all_the_same_nothing_leaves(made: Callable[..., Stage]) -> None:
    first = made()
    first.reply([*LONG, *([31] * 400)], limit=5)
    first.schedule.save_sessions()
    second = made()
    second.reply([60] * 100, limit=2)
    second.ask(1, [70] * 400, limit=50)
    second.step()
    second.ask(2, [*LONG, 7], limit=5)
    second.finish()
    assert second.text(2) == expected([*LONG, 7], 5)
    assert second.context.text(0)[:100] == (60,) * 100


def test_a_session_of_a_larger_context_is_left_alone(made: Callable[..., Stage], tmp_path: Path) -> None:
    first = made()
    first.reply([*LONG, *([31] * 400)], limit=5)
    first.schedule.save_sessions()
    small = made(tokens=512)
    told = small.reply([*LONG, 7], limit=5)
    assert text_of(told) == expected([*LONG, 7], 5)
    assert len(list(tmp_path.glob("*.kv"))) == 1


def test_a_cache_that_cannot_be_cut_is_restored_where_all_of_it_goes_on(made: Callable[..., Stage]) -> None:
    first = made(can_cut=False, slots=1)
    first.reply(LONG, limit=5)
    known = first.context.text(0)
    first.schedule.save_sessions()
    assert end_of(made(can_cut=False).reply([*known, 7], limit=5)).usage.cached_tokens == len(known)
    told = made(can_cut=False).reply([*LONG[:200], 7], limit=5)
    assert end_of(told).usage.cached_tokens == 0
    assert text_of(told) == expected([*LONG[:200], 7], 5)


def tidied(stage: Stage) -> int:
    """Let it use idle time until nothing is left to do; how many steps that took."""
    steps = 0
    while stage.schedule.tidy():
        steps += 1
        assert steps < 20, "it does not end"
    return steps


def cached(stage: Stage, prompt: list[int]) -> int:
    """How much of a prompt need not be read; what is said is checked as well."""
    told = stage.reply(prompt, limit=3)
    assert text_of(told) == expected(prompt, 3)
    return end_of(told).usage.cached_tokens


def test_while_nobody_asks_only_what_was_used_last_stays_and_all_comes_back(made: Callable[..., Stage]) -> None:
    one = made()
    one.reply(LONG, limit=5)
    one.reply([90] * 300, limit=5)
    one.reply([70] * 10, limit=5)
    assert tidied(one) == 2
    assert one.context.used == 14, "the last token of a reply is never computed"
    assert cached(one, [*([70] * 10), 7]) == 10
    assert cached(one, [*LONG, 7]) == len(LONG)
    assert cached(one, [*([90] * 300), 7]) == 300


def test_one_conversation_is_kept_on_disk_and_stays_where_it_is(made: Callable[..., Stage], tmp_path: Path) -> None:
    one = made()
    one.reply(LONG, limit=5)
    assert tidied(one) == 1
    assert one.context.used == len(LONG) + 4
    assert len(list(tmp_path.glob("*.kv"))) == 1
    assert tidied(one) == 0
    assert cached(made(), [*LONG, 7]) == len(LONG), "should this process be killed now, another one finds it"


def test_what_is_too_short_to_be_kept_is_not_read_again_after_it_was_moved(made: Callable[..., Stage]) -> None:
    one = made()
    one.reply(LONG, limit=5)
    one.reply([70] * 10, limit=5)
    one.reply([80] * 10, limit=5)
    tidied(one)
    assert one.context.used == 28
    assert [cached(one, [*([token] * 10), 7]) for token in (70, 80)] == [10, 10]


def test_where_the_disk_takes_nothing_all_stays_in_the_cache(made: Callable[..., Stage], tmp_path: Path) -> None:
    one = made()
    one.reply(LONG, limit=5)
    one.reply([90] * 300, limit=5)
    used = one.context.used
    tmp_path.rmdir()
    tmp_path.touch()
    assert tidied(one) == 0
    assert one.context.used == used


def test_a_budget_for_one_session_does_not_keep_it_busy_for_ever(tmp_path: Path) -> None:
    slow = ScriptedContext(tokens=1024)
    slow.token_seconds = 0.01
    one = Stage(ScriptedModel(counting), slow, Store(str(tmp_path), 1, "model"))
    one.reply(LONG, limit=5)
    one.reply([90] * 300, limit=5)
    assert tidied(one) == 2
    assert cached(one, [*([90] * 300), 7]) == 300
    assert cached(one, [*LONG, 7]) == len(LONG), "what could not be kept is still in the cache"


def test_idle_time_that_ends_early_leaves_everything_right(made: Callable[..., Stage]) -> None:
    one = made()
    for token in (30, 40, 50):
        one.reply([token] * 300, limit=5)
    one.schedule.tidy()
    assert [cached(one, [*([token] * 300), 7]) for token in (30, 40, 50)] == [300] * 3
