"""How fast a pull goes, in words."""

from __future__ import annotations

import pytest

from localchat.pull.events import Progress, Stage
from localchat.pull.pace import Pace

MIB = 1 << 20


def words(*steps: tuple[float, Stage, int, int]) -> list[str]:
    """What is said at these seconds of a stage with so many MiB done and in all."""
    now = [0.0]
    pace = Pace(lambda: now[0])
    said = []
    for second, stage, done, total in steps:
        now[0] = second
        said.append(pace.words(Progress(stage, "x", done * MIB, total * MIB)))
    return said


def test_the_rate_and_the_time_left_are_told_once_they_are_known() -> None:
    assert words(
        (0, "download", 0, 40), (0.1, "download", 5, 40), (5, "download", 10, 40), (20, "download", 40, 40)
    ) == [
        "Downloading 0 B of 40.0 MiB",
        "Downloading 5.0 MiB of 40.0 MiB",
        "Downloading 10.0 MiB of 40.0 MiB · 2.0 MiB/s · 15 s left",
        "Downloading 40.0 MiB of 40.0 MiB · 2.0 MiB/s",
    ]


def test_what_was_there_before_does_not_count_as_speed() -> None:
    assert words((0, "download", 30, 40), (5, "download", 35, 40))[1].endswith("1.0 MiB/s · 5 s left")


def test_each_stage_has_a_pace_of_its_own() -> None:
    said = words((0, "download", 0, 40), (5, "download", 40, 40), (5, "convert", 0, 40), (15, "convert", 10, 40))
    assert said[2:] == ["Converting 0 B of 40.0 MiB", "Converting 10.0 MiB of 40.0 MiB · 1.0 MiB/s · 30 s left"]


@pytest.mark.parametrize("total", [0, 40])
def test_nothing_done_has_no_rate(total: int) -> None:
    assert (
        words((0, "check", 0, total), (9, "check", 0, total))[1] == f"Checking 0 B of {'40.0 MiB' if total else '0 B'}"
    )
