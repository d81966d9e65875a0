"""What other programs compute is what is neither ours nor nobody's."""

from __future__ import annotations

from collections import namedtuple

import psutil
import pytest

from localchat.engine import busy
from localchat.engine.busy import Moment, now, other_cores

CASES = [
    ("nobody else", Moment(10.0, 4.0, 100.0), 0.0),
    ("one other", Moment(10.0, 4.0, 110.0), 1.0),
    ("one and a half", Moment(10.0, 4.0, 115.0), 1.5),
    ("clocks that do not agree", Moment(10.0, 6.0, 100.0), 0.0),
    ("too short to tell", Moment(0.1, 0.0, 500.0), 0.0),
    ("no time at all", Moment(0.0, 0.0, 500.0), 0.0),
]


@pytest.mark.parametrize(("until", "cores"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_other_cores_are_an_average(until: Moment, cores: float) -> None:
    assert other_cores(Moment(0.0, 0.0, 96.0), until) == cores


TIMES = [
    ({"user": 5.0, "system": 2.0, "idle": 90.0}, 7.0),
    ({"user": 5.0, "system": 2.0, "idle": 90.0, "iowait": 50.0}, 7.0),
    ({"user": 5.0, "nice": 1.0, "system": 2.0, "idle": 90.0, "iowait": 3.0, "guest": 4.0, "guest_nice": 1.0}, 8.0),
]


@pytest.mark.parametrize(("times", "computed"), TIMES)
def test_waiting_is_not_computing_and_guests_count_once(
    times: dict[str, float], computed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems have different fields; what a guest computes is in `user` already."""
    kind = namedtuple("kind", times)
    monkeypatch.setattr(busy, "psutil", type("System", (), {"cpu_times": staticmethod(lambda: kind(**times))}))
    assert now().all_seconds == pytest.approx(computed)


def test_what_this_machine_says_grows() -> None:
    first = now()
    burned = sum(number * number for number in range(200_000))
    second = now()
    assert burned
    assert first.at < second.at
    assert first.ours_seconds < second.ours_seconds
    assert first.all_seconds <= second.all_seconds
    assert 0 <= other_cores(first, second) <= (psutil.cpu_count() or 1) + 1
