"""Other programs need cores: threads that would share one with them are not used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localchat.engine.busy import Moment
from localchat.engine.threads import Threads, threads_beside

TABLE = [
    ("nobody else", 0.0, 8, 8, 8),
    ("a little of one", 0.4, 2, 2, 2),
    ("most of one", 0.6, 2, 2, 1),
    ("one of two", 1.0, 2, 2, 1),
    ("one thread is the least", 8.0, 2, 2, 1),
    ("cores that were not to be used anyhow", 4.0, 4, 16, 4),
    ("more than those", 13.0, 4, 16, 3),
]


@pytest.mark.parametrize(("others", "planned", "cores", "threads"), [case[1:] for case in TABLE],
                         ids=[case[0] for case in TABLE])  # fmt: skip
def test_threads_have_cores_of_their_own(others: float, planned: int, cores: int, threads: int) -> None:
    assert threads_beside(others, planned, cores) == threads


class Machine:
    """Time that passes while we compute on two cores and others do too."""

    def __init__(self) -> None:
        self.now = Moment(0.0, 0.0, 0.0)
        self.used: list[int] = []
        self.threads = Threads(2, self.used.append, lambda: self.now, lambda: self.now.at, cores=2)

    def compute(self, seconds: float, others: float) -> int:
        ours = seconds * self.threads.count
        self.now = Moment(
            self.now.at + seconds, self.now.ours_seconds + ours, self.now.all_seconds + ours + others * seconds
        )
        self.threads.adapt()
        return self.threads.count


def test_threads_give_way_and_come_back() -> None:
    machine = Machine()
    machine.threads.begin()
    found = [machine.compute(0.6, others) for others in (0.0, 1.0, 1.0, 0.1, 0.0)]
    assert (found, machine.used) == ([2, 1, 1, 2, 2], [1, 2])


def test_a_short_time_tells_nothing_by_itself() -> None:
    machine = Machine()
    machine.threads.begin()
    assert [machine.compute(0.2, 1.0) for _ in range(4)] == [2, 2, 1, 1]


def test_what_others_did_while_nothing_was_computed_does_not_count() -> None:
    machine = Machine()
    machine.threads.begin()
    machine.now = replace(machine.now, at=100.0, all_seconds=200.0)
    machine.threads.begin()
    assert machine.compute(0.6, 0.0) == 2
