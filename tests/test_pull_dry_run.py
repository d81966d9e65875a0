"""What a pull says before it begins: the plan, the download, the disk, and the time by earlier pulls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from made_up import plan
from tiny import sound_or_refused

from localchat.commands.pull_page import choice_facts, choice_lines
from localchat.paths import measured_folder
from localchat.pull import rates
from localchat.pull.events import Chosen, Progress, PullEvent
from localchat.pull.rates import Outlook, measured, outlook, rate, remember

MIB, GIB = 1 << 20, 1 << 30
PLAN = replace(plan(4 * GIB, "it fits", "it is small"), quant="Q4_K_M")
HUB = Chosen("tiny", "acme/tiny", PLAN, 14 * GIB, 4 * GIB, "0123456789abcdef", source_bytes=14 * GIB)
FILE = replace(HUB, download_bytes=4 * GIB, source_bytes=0)
LINKED = Chosen("tiny", "/models/tiny.gguf", PLAN, 0, 0)
FOLDER = replace(LINKED, disk_bytes=4 * GIB, source_bytes=14 * GIB)


@pytest.fixture(autouse=True)
def space(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 20 GiB free, and a terminal of 80 columns."""
    monkeypatch.setattr(rates, "disk_space", lambda _: (100 * GIB, 20 * GIB))
    monkeypatch.setenv("COLUMNS", "80")


# Rates


def test_no_rate_is_known_before_the_first_pull() -> None:
    assert rate("download") is None
    assert outlook(HUB) == Outlook(None, None, None, 20 * GIB, 4 * GIB)
    assert outlook(HUB).seconds is None


def test_the_rate_is_the_middle_of_the_last_times() -> None:
    for mib_per_second in (1, 2, 100, 50, 40, 60, 70):
        remember("download", mib_per_second * 100 * MIB, 100.0)
    assert rate("download") == 60 * MIB


def test_what_is_too_short_tells_no_rate() -> None:
    remember("download", 10 * MIB, 10.0)
    remember("download", 10 * GIB, 0.5)
    assert rate("download") is None


@pytest.mark.parametrize("text", [
    "", "[]", "{", '{"download": 5}', '{"download": ["a", null, true, -1, 0, 1e300, NaN]}', '{"download": [-5, 1e13]}',
])  # fmt: skip
def test_a_damaged_file_of_rates_knows_none(text: str) -> None:
    (measured_folder() / "pulls.json").write_text(text)
    with sound_or_refused():
        assert rate("download") is None
    remember("download", GIB, 100.0)
    assert rate("download") == GIB / 100


def test_a_pull_tells_its_rates_once_its_stages_are_over() -> None:
    now, seen = [0.0], []
    events: list[PullEvent] = [
        HUB,
        *(Progress("download", "x", count * 100 * MIB, GIB) for count in range(11)),
        Progress("download", "x", GIB, GIB),
        *(Progress("convert", "x", count * 100 * MIB, 400 * MIB) for count in range(5)),
        Progress("check", "x", 0, GIB),
    ]

    def passing() -> Iterator[PullEvent]:
        for event in events:
            now[0] += 1.0
            yield event

    for event in measured(passing(), lambda: now[0]):  # type: ignore[arg-type]
        seen.append(event)
    assert seen == events
    assert rate("arrive Q4_K_M") == GIB / 11
    assert rate("convert Q4_K_M") == 100 * MIB
    assert (rate("convert Q8_0"), rate("download")) == (None, None)


def test_the_time_in_which_nothing_came_tells_no_rate() -> None:
    now = [0.0]

    def passing() -> Iterator[PullEvent]:
        yield FILE
        for count in (5, 5, 5, 5, 7, 9):
            now[0] += 10.0
            yield Progress("download", "x", count * GIB, 9 * GIB)

    for _ in measured(passing(), lambda: now[0]):  # type: ignore[arg-type]
        pass
    assert rate("download") == 4 * GIB / 20


def test_a_pull_that_is_stopped_tells_no_rate_and_is_closed() -> None:
    closed = []

    def endless() -> Iterator[PullEvent]:
        try:
            for count in range(1000):
                yield Progress("download", "x", count * GIB, 1000 * GIB)
        finally:
            closed.append(True)

    with closing(measured(endless())) as events:  # type: ignore[arg-type]
        for _ in zip(range(10), events, strict=False):
            pass
    assert closed == [True]
    assert rate("download") is None


# What is ahead


def known(download: float = 0, convert: float = 0) -> None:
    """Earlier pulls went at these MiB per second."""
    remember("download", int(download * 1000 * MIB), 1000.0)
    remember("convert Q4_K_M", int(convert * 1000 * MIB), 1000.0)


TIMES = [
    (HUB, 20, 100, 14 * 1024 / 20),
    (HUB, 100, 20, 14 * 1024 / 20),
    (HUB, 20, 0, None),
    (FILE, 20, 0, 4 * 1024 / 20),
    (FOLDER, 0, 20, 14 * 1024 / 20),
    (LINKED, 0, 0, 0),
]


@pytest.mark.parametrize(("chosen", "download", "convert", "seconds"), TIMES)
def test_the_slower_of_two_rates_counts(chosen: Chosen, download: float, convert: float, seconds: float | None) -> None:
    known(download, convert)
    assert outlook(chosen).seconds == (None if seconds is None else pytest.approx(seconds))


FULL = replace(HUB, disk_bytes=20 * GIB)
ROOMS = [(HUB, 4 * GIB, True), (FILE, 4 * GIB, True), (FULL, 20 * GIB, False), (LINKED, 0, True)]


@pytest.mark.parametrize(("chosen", "needed", "has_room"), ROOMS)
def test_only_the_result_needs_room(chosen: Chosen, needed: int, has_room: bool) -> None:
    assert (outlook(chosen).needed_bytes, outlook(chosen).has_room) == (needed, has_room)


def test_what_arrived_and_was_converted_together_tells_the_most() -> None:
    known(100, 100)
    remember("arrive Q4_K_M", 1000 * GIB, 2000.0)
    assert outlook(HUB).seconds == pytest.approx(28)
    assert outlook(FILE).seconds == pytest.approx(40.96)
    assert choice_lines(HUB)[-1] == "This takes about 28 s at 512 MiB/s, as in earlier pulls."


def test_what_is_left_of_a_download_is_what_it_needs() -> None:
    assert outlook(replace(FILE, download_bytes=GIB)).needed_bytes == GIB


# In words


def test_everything_is_said_in_lines_that_fit() -> None:
    known(20, 100)
    reason = "a reason that is so long that it does not fit into one line of a terminal at all, and goes on"
    lines = choice_lines(replace(HUB, plan=replace(PLAN, reasons=(reason, "it fits")), notes=("it moved \x1b[31m",)))
    assert (
        "\n".join(lines)
        == """\
note: it moved ␛[31m
tiny, from acme/tiny at 0123456:
  - a reason that is so long that it does not fit into one line of a terminal at
    all, and goes on
  - it fits
14.0 GiB to download, 4.0 GiB on the disk, where 20.0 GiB are free.
This takes about 11 min 57 s at 20.0 MiB/s, as in earlier pulls."""
    )


WORDS = [
    (HUB, 0, 0, "How long it takes is not known before the first pull."),
    (HUB, 20, 0, "The download takes about 11 min 57 s at 20.0 MiB/s, as in earlier pulls; how fast\n"
     "  this machine converts is not known yet."),
    (HUB, 100, 20, "This takes about 11 min 57 s, by earlier conversions."),
    (FILE, 20, 0, "This takes about 3 min 25 s at 20.0 MiB/s, as in earlier pulls."),
    (FOLDER, 0, 20, "This takes about 11 min 57 s, by earlier conversions."),
    (FOLDER, 0, 0, "How long it takes is not known before the first pull."),
    (LINKED, 0, 0, "linked, not copied."),
    (replace(FILE, disk_bytes=30 * GIB, download_bytes=30 * GIB), 0, 0,
     "30.0 GiB on the disk, where 20.0 GiB are free, too little."),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "download", "convert", "words"), WORDS)
def test_the_time_is_said_where_it_is_known(chosen: Chosen, download: float, convert: float, words: str) -> None:
    known(download, convert)
    said = " ".join("\n".join(choice_lines(chosen)).split())
    assert " ".join(words.split()) in said


def test_what_is_there_already_is_said_to_be_up_to_date() -> None:
    assert choice_lines(replace(HUB, is_present=True)) == ["tiny is up to date with acme/tiny at 0123456."]


def test_the_facts_for_programs_have_all_of_it() -> None:
    known(20, 100)
    facts = json.loads(json.dumps(choice_facts(HUB)))
    assert facts["disk_needed_bytes"] == 4 * GIB
    assert facts["disk_free_bytes"] == 20 * GIB
    assert facts["has_room"] is True
    assert facts["seconds"] == pytest.approx({"download": 716.8, "convert": 143.36, "all": 716.8})
    assert (facts["commit"], facts["source"], facts["is_present"]) == ("0123456789abcdef", "acme/tiny", False)
