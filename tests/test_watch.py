"""How far a step is, told by the number of operations of the one before."""

from __future__ import annotations

import pytest

from localchat.llama import watch
from localchat.llama.watch import Watch


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REPORT_SECONDS", 0.0)


def step(watched: Watch, operations: int) -> list[float]:
    """The fractions that are told while llama.cpp asks so many times."""
    told: list[float] = []
    watched.begin(told.append)
    assert not any(watched.callback(None) for _ in range(operations))
    return told


def test_the_first_step_counts_and_the_next_ones_tell() -> None:
    watched = Watch(lambda: False)
    assert step(watched, 4) == []
    watched.end()
    assert step(watched, 4) == [0.25, 0.5, 0.75]
    watched.end()
    assert step(watched, 8) == [0.25, 0.5, 0.75], "a longer step never tells more than all"


def test_a_step_that_was_broken_off_does_not_count() -> None:
    watched = Watch(lambda: False)
    step(watched, 4)
    watched.end()
    step(watched, 2)
    assert step(watched, 4) == [0.25, 0.5, 0.75]


def test_llama_cpp_is_told_to_stop_as_soon_as_it_asks() -> None:
    is_aborted = False
    watched = Watch(lambda: is_aborted)
    watched.begin([].append)
    assert not watched.callback(None)
    is_aborted = True
    assert watched.callback(None)
