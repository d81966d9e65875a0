"""What takes too long is ended, and nothing else is."""

from __future__ import annotations

import threading

import pytest

from localchat.watchdog import TookTooLong, Watchdog

LONG = 60.0


def test_what_takes_too_long_is_ended_and_says_so() -> None:
    ended = threading.Event()
    with Watchdog(ended.set) as watchdog, pytest.raises(TookTooLong), watchdog.within(0.01):
        assert ended.wait(LONG)


def test_what_ends_in_time_is_left_alone_however_often() -> None:
    ended = threading.Event()
    with Watchdog(ended.set) as watchdog:
        for _ in range(100):
            with watchdog.within(LONG):
                pass
        with watchdog.within(0.0001 + LONG):
            assert not ended.is_set()


def test_a_shorter_limit_behind_a_longer_one_counts() -> None:
    ended = threading.Event()
    with Watchdog(ended.set) as watchdog:
        with watchdog.within(LONG):
            pass
        with pytest.raises(TookTooLong), watchdog.within(0.01):
            assert ended.wait(LONG)
        ended.clear()
        with watchdog.within(LONG):  # and the next one begins anew
            assert not ended.is_set()


def test_the_limit_of_what_is_over_ends_nothing() -> None:
    ended = threading.Event()
    with Watchdog(ended.set) as watchdog:
        with watchdog.within(0.05):
            pass
        with watchdog.within(LONG):
            assert not ended.wait(0.3)


def test_what_was_raised_goes_on_unless_it_was_too_late() -> None:
    late = threading.Event()

    def fail(seconds: float) -> None:
        with watchdog.within(seconds):
            late.wait(0 if seconds == LONG else LONG)
            raise KeyError

    with Watchdog(late.set) as watchdog:
        with pytest.raises(KeyError):
            fail(LONG)
        with pytest.raises(TookTooLong):
            fail(0.01)


def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    with Watchdog(lambda: None):
        [watching] = set(threading.enumerate()) - before
    watching.join(LONG)
    assert not watching.is_alive()
