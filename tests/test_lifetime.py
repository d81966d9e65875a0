"""How often an engine may die, and when nobody has needed it for long enough."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import EngineDied
from localchat.lifetime import DEATHS_LIMIT, DEATHS_SECONDS, Deaths, Idle, timer

DEATH = EngineDied("the engine stopped: memory ran out", "its log is engine.log")

TIMES = [
    ([0, 1, 2], [True, True, False]),
    ([0, 30, 60], [True, True, False]),
    ([0, 30, 60.5], [True, True, True]),
    ([0, 30, 60.5, 61], [True, True, True, False]),
    ([0, 59, 118, 177], [True, True, True, True]),
    ([5, 5, 5], [True, True, False]),
]


@pytest.mark.parametrize(("times", "expected"), TIMES)
def test_the_third_death_within_a_minute_is_the_last(times: list[float], expected: list[bool]) -> None:
    deaths = Deaths()
    assert [deaths.record(DEATH, now) is None for now in times] == expected


def test_it_is_told_with_the_reason_and_what_to_do() -> None:
    deaths = Deaths()
    end = [deaths.record(DEATH, 0) for _ in range(DEATHS_LIMIT)][-1]
    assert end is not None
    assert str(end).startswith("the engine stopped: memory ran out, for the third time within a minute")
    assert "smaller model" in end.hint
    assert "engine.log" in end.hint


@given(st.lists(st.floats(0, 100), max_size=12))
def test_only_three_deaths_close_together_stop_it(pauses: list[float]) -> None:
    deaths, now = Deaths(), 0.0
    times: list[float] = []
    for pause in pauses:
        now += pause
        times.append(now)
        is_over = deaths.record(DEATH, now) is not None
        assert is_over == (sum(now - one <= DEATHS_SECONDS for one in times) >= DEATHS_LIMIT)


class Desk:
    """A clock that stands still, and alarms that ring when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.set: list[float] = []
        self._call: Callable[[], None] | None = None

    def clock(self) -> float:
        return self.now

    def alarms(self, seconds: float, call: Callable[[], None]) -> Desk:
        self.set.append(seconds)
        self._call = call
        return self

    def start(self) -> None:
        """It waits by itself."""

    def cancel(self) -> None:
        self._call = None

    def join(self, timeout: float | None = None) -> None:
        """It is no thread."""

    def ring(self) -> None:
        call, self._call = self._call, None
        assert call is not None, "an alarm is set"
        call()


def test_one_alarm_is_set_for_the_moment_when_it_is_long_enough() -> None:
    desk, rung = Desk(), []
    idle = Idle(60, lambda: rung.append(desk.now), desk.clock, desk.alarms)
    idle.set()
    idle.set()
    assert desk.set == [60]
    idle.begin()
    desk.now = 50
    idle.end()
    desk.now = 60
    desk.ring()
    assert rung == [60]
    assert idle.left_seconds() == 50
    idle.set()
    assert desk.set == [60, 50]


def test_while_somebody_needs_it_there_is_all_the_time_left() -> None:
    desk = Desk()
    idle = Idle(60, lambda: None, desk.clock, desk.alarms)
    idle.begin()
    idle.begin()
    desk.now = 1000
    idle.end()
    assert idle.left_seconds() == 60
    idle.end()
    desk.now = 1060
    assert idle.left_seconds() == 0


def test_an_alarm_for_a_moment_that_is_over_rings_at_once() -> None:
    desk = Desk()
    idle = Idle(60, lambda: None, desk.clock, desk.alarms)
    desk.now = 100
    idle.set()
    assert desk.set == [0]


def test_without_a_time_no_alarm_is_set() -> None:
    desk = Desk()
    idle = Idle(0, lambda: None, desk.clock, desk.alarms)
    idle.set()
    idle.stop()
    assert desk.set == []


def test_the_real_alarm_calls_from_a_thread_that_keeps_nobody() -> None:
    called: list[int] = []
    alarm = timer(0, lambda: called.append(1))
    assert getattr(alarm, "daemon", False)
    alarm.start()
    alarm.join()
    assert called == [1]


def test_the_real_alarm_can_be_stopped() -> None:
    called: list[int] = []
    idle = Idle(3600, lambda: called.append(1))
    idle.set()
    idle.stop()
    assert called == []
