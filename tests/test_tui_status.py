"""What is going on, always visible: the status line, the title, the rate while it is written, and why it is slow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from desk import install_fake, wait_until
from fakes import ScriptedEngine, facts
from made_up import GIB, hardware, plan
from textual.app import App, ComposeResult

from localchat.chat import TurnEvent
from localchat.engine.events import Done, Piece, Reading, Usage
from localchat.errors import LocalchatError
from localchat.plan.hardware import Hardware, UnusedGpu
from localchat.prompt.ledger import Ledger
from localchat.slowness import Conditions
from localchat.tui.app import STYLES
from localchat.tui.course import Course, followed, ticked
from localchat.tui.judge import Judge
from localchat.tui.meter import Kind, Part, legend, lengths, meter
from localchat.tui.services import Running
from localchat.tui.situation import Situation, after
from localchat.tui.status import Status
from localchat.tui.status_line import lines
from localchat.tui.title import Title, title_line

WRITING = Situation(
    "writing", "busy", used_tokens=1204, reply_tokens=310, window_tokens=8192, tokens_per_second=12.34,
    first_token_seconds=0.84,
)  # fmt: skip
LEDGER = Ledger(8192, 1204, 0)


def usage(tokens: int = 101, seconds: float = 10.0, **more: Any) -> Usage:
    return Usage(
        1204, 0, tokens, first_token_seconds=0.5, reading_seconds=2.0, writing_seconds=seconds, **more
    )  # fmt: skip


def said(now: Situation, width: int, slow: str = "") -> list[str]:
    return [line.plain for line in lines(now, slow, width)]


# The line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            116, "◐ writing  ·  ━━━╍──────────────── 1,204 + 310 of 8,192 tokens"
            "  ·  12.3 tokens/s  ·  first after 0.8 s  ·  guard off",
        ),
        (76, "◐ writing · ━╍────── 1,514/8,192 · 12.3 tokens/s · first 0.8 s · guard off"),
        (70, "◐ writing · ━╍────── 1,514/8,192 · 12.3 tokens/s · first 0.8 s"),
        (50, "◐ writing · ━╍────── 1,514/8,192 · 12.3 tokens/s"),
        (40, "◐ writing · ━╍────── 1,514/8,192"),
        (20, "◐ writing"),
        (6, "◐ wri…"),
    ],
)  # fmt: skip
def test_the_line_says_as_much_as_has_room_and_the_state_always(width: int, line: str) -> None:
    assert said(WRITING, width) == [line]


def test_what_dropped_out_and_what_is_pinned_is_said() -> None:
    now = replace(WRITING, dropped_turns=6, pinned=2)
    assert "  ·  6 oldest turns left out  ·  2 pinned  ·  " in said(now, 200)[0]
    assert said(now, 76) == ["◐ writing · ━╍────── 1,514/8,192 · 6 left out · 12.3 tokens/s · first 0.8 s"]
    assert "1 oldest turn left out" in said(replace(now, dropped_turns=1), 200)[0]


def test_no_line_is_ever_wider_than_the_screen_and_reading_is_told_at_80_cells() -> None:
    reading = replace(
        WRITING, state="reading 1,204/3,310", reply_tokens=0, tokens_per_second=0.0, first_token_seconds=0.0
    )
    assert said(reading, 76) == ["◐ reading 1,204/3,310 · ━─────── 1,204/8,192 · guard off"]
    for width in range(1, 150):
        for line in lines(replace(WRITING, dropped_turns=12, pinned=3), "x " * 80, width):
            assert line.cell_length <= width


def test_a_reason_stands_on_the_line_where_it_has_room_and_else_beneath_it() -> None:
    assert said(Situation("ready", "ready"), 76, "it is hot") == ["● ready  ·  guard off  ·  slow: it is hot"]
    assert said(WRITING, 76, "other programs use 1.3 of 2 cores")[1:] == ["slow: other programs use 1.3 of 2 cores"]


def test_words_from_outside_cannot_reach_the_terminal() -> None:
    line = said(Situation("load\x1b[31ming\n[b]x[/b]", "busy", guard="\x9bon"), 76, "\x1b]0;x\x07")[0]
    assert line == "◐ load␛[31ming [b]x[/b]  ·  guard on  ·  slow: ␛]0;x"


# The title


@pytest.mark.parametrize(
    ("width", "download", "line"),
    [
        (76, "", "localchat  ·  Bread          parrot · Q4_K_M · RTX 3060, 28 of 33 layers"),
        (90, "", "localchat  ·  Bread             parrot · Q4_K_M · RTX 3060, 28 of 33 layers, 8 threads"),
        (
            120, "↓ zephyr-7b-beta 34 %, 12 min left",
            "localchat · Bread parrot · Q4_K_M · RTX 3060, 28 of 33 layers, 8 threads "
            "↓ zephyr-7b-beta 34 %, 12 min left",
        ),
        (
            76, "↓ zephyr-7b-beta 34 %, 12 min left", "localchat · Bread parrot · Q4_K_M · RTX 3060 ↓ zephyr… 34 %",
        ),
    ],
)  # fmt: skip
def test_the_title_gives_way_from_the_right_and_keeps_type_place_and_download(
    width: int, download: str, line: str
) -> None:
    shown = title_line("Bread", "parrot · Q4_K_M · RTX 3060, 28 of 33 layers", "8 threads", download, width)
    assert " ".join(shown.plain.split()) == " ".join(line.split())
    assert shown.cell_length <= width


def test_a_long_title_takes_the_place_of_the_programs_name() -> None:
    shown = title_line("What a very long question this was, was it not?", "parrot · Q4_K_M · CPU", "", "", 60).plain
    assert shown.startswith("What a very long question this was")
    assert shown.endswith("…  parrot · Q4_K_M · CPU")


def test_hostile_titles_stay_on_their_line() -> None:
    shown = title_line("a\nb\x1b[2J[red]", "m\x9b2J" * 99, "d\n", "↓ \x1b[1m" * 50, 76)
    assert "\n" not in shown.plain
    assert "\x1b" not in shown.plain
    assert shown.cell_length <= 76


# Bars


def test_what_is_there_at_all_is_seen_and_the_cells_add_up() -> None:
    assert lengths([98, 1, 1], 10) == [8, 1, 1]
    assert lengths([0, 0], 10) == [0, 0]
    assert lengths([1, 1, 1, 1], 2) in ([0, 0, 1, 1], [1, 1, 0, 0])
    for amounts in itertools.product((0, 1, 7, 1000), repeat=3):
        assert sum(lengths(amounts, 10)) == (10 if sum(amounts) else 0)


def test_a_bar_and_its_legend_are_read_without_color() -> None:
    parts = [Part(Kind("weights", "█", ""), 3 * GIB), Part(Kind("none", "x", ""), 0), Part(Kind("free", "·", ""), GIB)]
    assert meter(parts, 8).plain == "██████··"
    assert [line.plain for line in legend(parts, 80)] == ["█ weights 3.0 GiB   · free 1.0 GiB"]
    assert [line.plain for line in legend(parts, 20)] == ["█ weights 3.0 GiB", "· free 1.0 GiB"]


# The course of a turn


def course_of(events: Sequence[tuple[float, TurnEvent]], start: Course = Course()) -> Course:  # noqa: B008 - frozen
    for at, event in events:
        start = followed(start, event, at)
    return start


def test_the_rate_is_that_of_the_last_two_seconds_and_changes_twice_a_second_at_most() -> None:
    even = [(10 + 0.04 * n, Piece("x", n)) for n in range(1, 101)]  # 25 tokens a second for four seconds
    course, shown = course_of([(9.0, LEDGER)]), []
    for at, event in even:
        course = followed(course, event, at)
        shown.append(course.tokens_per_second)
    assert course.tokens_per_second == pytest.approx(25)
    assert shown[:12] == [0.0] * 12
    assert len(set(shown)) <= 1 + 4 / 0.5
    slower = course_of([(14 + 0.2 * n, Piece("x", 100 + n)) for n in range(1, 21)], course)
    assert slower.tokens_per_second == pytest.approx(5, rel=0.1)
    assert slower.tokens == 120
    assert slower.first_token_seconds == pytest.approx(1.04)


def test_a_rate_sinks_while_nothing_comes() -> None:
    course = course_of([(9.0, LEDGER), *((10 + 0.04 * n, Piece("x", n)) for n in range(1, 51))])
    assert ticked(course, 12.1).tokens_per_second == pytest.approx(25)
    assert ticked(course, 16.0).tokens_per_second < 10


def test_how_long_reading_takes_is_known_from_its_first_part_or_from_before() -> None:
    first = course_of([(0.0, LEDGER), (1.0, Reading(200, 3510))])
    assert (first.phase, first.reading_tokens, first.reading_seconds) == ("reading", 3310, None)
    later = course_of([(5.0, Reading(531, 3510))], first)
    assert later.reading_seconds == pytest.approx(40)
    again = course_of([(50.0, Done("stop", usage())), (60.0, LEDGER), (61.0, Reading(0, 602))], later)
    assert again.reading_seconds == pytest.approx(1)  # 602 tokens a second the last time


def test_a_new_turn_forgets_the_rate_of_the_last_one() -> None:
    course = course_of([(0.0, LEDGER), *((0.1 * n, Piece("x", n)) for n in range(1, 30)), (4.0, LEDGER)])
    assert (course.phase, course.tokens_per_second, course.first_token_seconds) == ("starting", 0.0, 0.0)
    assert after(WRITING, LEDGER).tokens_per_second == 0


# Why it is slow


def running(rate: float | None = 10.0) -> Running:
    engine: Any = ScriptedEngine([])
    return Running(install_fake(), engine, replace(plan(4 * GIB), tokens_per_second=rate))


def slow_judge() -> tuple[Judge, Course]:
    """One that has taken a model, and a reply at four of ten tokens a second."""
    judge = Judge()
    judge.take(running())
    return judge, Course("writing", tokens_per_second=4.0, marks=((0.0, 100),))


BUSY, CALM = Conditions(other_cores=1.3, cores=2, disk_stall=0.0), Conditions(other_cores=0.0, cores=2, disk_stall=0.0)
OTHERS = "other programs use 1.3 of 2 cores"


def test_a_reason_stays_while_a_single_look_finds_none() -> None:
    judge, course = slow_judge()
    assert judge.see(BUSY, course, 0, 1.0) == OTHERS
    quicker = replace(course, tokens_per_second=9.0)
    assert judge.see(CALM, quicker, 0, 3.0) == OTHERS
    assert judge.see(CALM, quicker, 0, 5.0) == ""


def test_a_reason_goes_at_once_where_it_is_as_fast_as_predicted() -> None:
    judge, course = slow_judge()
    assert judge.see(BUSY, course, 0, 1.0) == OTHERS
    assert judge.see(CALM, replace(course, tokens_per_second=10.0), 0, 3.0) == ""


def test_the_end_of_a_reply_is_judged_by_what_the_engine_measured() -> None:
    judge, course = slow_judge()
    judge.see(CALM, course, 0, 1.0)
    assert judge.end(usage(41, other_cores=1.3), course, 9.0) == OTHERS
    assert judge.end(usage(101, other_cores=1.3), course, 9.0) == ""
    assert judge.end(usage(5, other_cores=1.3), course, 9.0) == ""  # too short to tell


def test_the_best_that_was_seen_is_what_is_expected() -> None:
    judge, course = slow_judge()
    judge.take(running(rate=None))
    assert judge.end(usage(301), course, 9.0) == ""
    assert judge.end(usage(101), course, 9.0) == "30.0 tokens/s were seen here before; what holds it back is not known"


async def test_a_reply_beside_another_is_slow_because_of_it_though_the_other_ended_first() -> None:
    ticks = itertools.count()
    status = Status(look=lambda: CALM, clock=lambda: next(ticks) * 0.25)  # four tokens a second
    async with Bench(status).run_test(size=(200, 24)):
        status.take(running())
        status.situation = Situation("thinking", "busy")
        status.beside = 1
        status.hear(LEDGER)
        status.beside = 0
        for count in range(1, 41):
            status.hear(Piece("x", count))
        status.on_status_looked(Status.Looked(CALM, None))
        status.hear(Done("stop", usage(41)))
        assert shown(status).endswith("slow: another conversation is answered at the same time")
        status.hear(LEDGER)
        assert status.course.beside == 0


def test_a_first_reply_is_one_after_each_load() -> None:
    judge, course = slow_judge()
    cold = Conditions(disk_stall=0.6)
    assert judge.see(cold, course, 0, 1.0).startswith("cold start")
    judge.end(usage(), course, 2.0)
    judge.begin()
    assert not judge.see(cold, course, 0, 3.0).startswith("cold start")
    judge.take(replace(running(), engine=_loaded_again()))
    assert judge.see(cold, course, 0, 4.0).startswith("cold start")


def _loaded_again() -> Any:
    engine = ScriptedEngine([])
    engine.loaded = facts()
    return engine


def test_a_model_on_a_server_is_not_judged() -> None:
    judge, course = slow_judge()
    judge.take(replace(running(), plan=None))
    assert judge.see(BUSY, course, 0, 1.0) == ""


# The widgets


class Bench(App[None]):
    CSS_PATH = list(STYLES)  # noqa: RUF012 - as Textual declares it

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status = status

    def compose(self) -> ComposeResult:
        yield Title()
        yield self.status


def shown(status: Status) -> str:
    return str(status.render())


async def test_the_widget_shows_the_rate_while_it_is_written_and_the_usage_at_the_end() -> None:
    ticks = itertools.count()
    status = Status(look=lambda: CALM, clock=lambda: next(ticks) * 0.05)
    async with Bench(status).run_test(size=(120, 24)) as pilot:
        status.situation = Situation("thinking", "busy")
        status.hear(LEDGER)
        for count in range(1, 41):
            status.hear(Piece("x", count))
        assert "20.0 tokens/s" in shown(status)
        assert "first after 0.1 s" in shown(status)
        status.hear(Done("stop", usage()))
        assert "10.0 tokens/s" in shown(status)
        status.situation = replace(status.situation, state="ready", mood="ready")
        await pilot.pause()
        assert status.course.phase == "rest"
        assert status.size.height == 1


async def test_a_slow_reply_says_why_on_a_line_of_its_own_where_the_screen_is_narrow() -> None:
    looks: list[int] = []

    def look() -> Conditions:
        looks.append(1)
        return BUSY

    ticks = itertools.count()
    status = Status(look=look, clock=lambda: next(ticks) * 0.25)  # four tokens a second
    async with Bench(status).run_test(size=(80, 24)) as pilot:
        status.take(running())
        status.situation = Situation("thinking", "busy")
        status.hear(LEDGER)
        for count in range(1, 41):
            status.hear(Piece("x", count))
        await wait_until(lambda: looks)
        await wait_until(lambda: status.slow == OTHERS)
        await wait_until(lambda: status.size.height == 2)
        assert shown(status).endswith(f"\nslow: {OTHERS}")
        await pilot.resize_terminal(200, 24)
        await wait_until(lambda: status.size.height == 1)
        assert shown(status).endswith(f"slow: {OTHERS}")
        status.hear(LEDGER)
        assert status.slow == ""


@pytest.mark.parametrize("broken", [False, True])
async def test_a_gpu_that_lies_idle_is_looked_for_once_a_reply_is_slow(broken: bool) -> None:
    asked: list[int] = []

    def machine() -> Hardware:
        asked.append(1)
        if broken:
            raise LocalchatError("the disk cannot be read", "look at it")
        return replace(hardware(), unused_gpus=(UnusedGpu("NVIDIA GeForce RTX 3060", "build it"),))

    ticks = itertools.count()
    status = Status(machine, look=lambda: CALM, clock=lambda: next(ticks) * 0.13)
    async with Bench(status).run_test(size=(80, 24)):
        status.take(running(rate=8.0))
        status.situation = Situation("thinking", "busy")
        status.hear(LEDGER)
        assert not asked
        for count in range(1, 41):
            status.hear(Piece("x", count))
        status._tick()
        await wait_until(lambda: asked)
        if not broken:
            await wait_until(lambda: status.slow == "RTX 3060 is there, but this llama.cpp does not use it")


async def test_a_machine_at_rest_is_not_looked_at() -> None:
    looks: list[int] = []
    status = Status(look=lambda: looks.append(1) or CALM)  # type: ignore[func-returns-value]
    async with Bench(status).run_test() as pilot:
        status.take(running())
        status._tick()
        await pilot.pause()
        assert looks == []


async def test_the_title_shows_what_it_is_told_and_a_download_beside_it() -> None:
    app = Bench(Status(look=lambda: CALM))
    async with app.run_test(size=(80, 24)) as pilot:
        title = app.query_one(Title)
        model = running()
        title.text, title.model, title.detail = "[b]Bread[/b]", model.title, model.detail
        title.download = "↓ zephyr 34 %, 12 min left"
        await pilot.pause()
        words = str(title.render())
        assert words.startswith("[b]Bread[/b]")
        assert words.endswith("parrot · Q4_K_M · CPU   ↓ zephyr 34 %, 12 min left")


async def test_another_conversation_begins_with_nothing_of_the_one_that_is_left() -> None:
    ticks = itertools.count()
    status = Status(look=lambda: CALM, clock=lambda: next(ticks) * 0.05)
    async with Bench(status).run_test(size=(120, 24)):
        status.situation = Situation("writing", "busy")
        for count in range(1, 500):
            status.hear(Piece("x", count))
        status.slow = "it is hot"
        status.leave()
        status.hear(Piece("x", 20))
        status.hear(Piece("x", 21))
        assert "-" not in shown(status)
        assert "first" not in shown(status)
        assert status.slow == ""
