"""The hardware screen: bars that add up, the plan and its reasons, and the doctor's findings with their commands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from desk import FakeServices, install_fake, wait_until
from fakes import ScriptedEngine, facts
from made_up import GIB, hardware, plan
from planning import MACHINES, MISTRAL, MIXTRAL, made_up, planned
from textual.app import App
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Static

from localchat.doctor.finding import Finding
from localchat.doctor.terminal import check_terminal
from localchat.engine.events import Taken
from localchat.errors import LocalchatError
from localchat.keeper import Kept
from localchat.launch import Launched
from localchat.library import remember_use
from localchat.llama.placement import HOST
from localchat.plan import make
from localchat.plan.hardware import Hardware
from localchat.plan.plan import Plan
from localchat.tui.app import STYLES
from localchat.tui.finding_line import FindingLine
from localchat.tui.hardware_page import FREE, OTHERS, WEIGHTS, bars, choice, comparison, machine_rows, sentences
from localchat.tui.hardware_screen import HardwareScreen
from localchat.tui.meter_bar import MeterBar
from localchat.tui.services import Running

TAKEN = Taken(HOST, 4 * GIB, GIB, GIB // 2, int(5.6 * GIB))
FINDINGS = [
    Finding("libraries", "ok", "llama.cpp loads", "never shown"),
    Finding("GPU", "note", "a GPU is there and [b]not[/b] used", "pip  install\nit \x1b[2J"),
    Finding("disk", "broken", "the disk is full", "localchat remove parrot"),
]


# The page


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Plan]:
    monkeypatch.setattr(make, "find_works", made_up())
    return lambda name: planned(MIXTRAL if name == "two-gpus" else MISTRAL, MACHINES[name])


def amounts(bar: Any) -> dict[str, int]:
    return {part.kind.name: part.amount for part in bar.parts}


@pytest.mark.parametrize("name", sorted(MACHINES))
@pytest.mark.parametrize("is_mapped", [False, True])
def test_the_parts_of_a_memory_add_up_to_all_of_it(name: str, is_mapped: bool) -> None:
    machine = MACHINES[name]
    found = bars(machine, {}, is_mapped=is_mapped)
    assert [bar.total_bytes for bar in found] == [
        *(device.total_bytes for device in machine.devices), machine.memory.total_bytes,
    ]  # fmt: skip
    assert amounts(found[-1])[FREE.name] == machine.memory.available_bytes


def test_what_the_model_takes_is_not_counted_for_other_programs() -> None:
    machine = hardware(16 * GIB, 6 * GIB)  # after the load
    (copied,) = bars(machine, {HOST: TAKEN}, is_mapped=False)
    assert amounts(copied)[OTHERS.name] == 10 * GIB - 4 * GIB - GIB - GIB // 2
    assert amounts(copied)[FREE.name] == 6 * GIB
    (mapped,) = bars(machine, {HOST: TAKEN}, is_mapped=True)  # the system counts the mapped file as available
    assert amounts(mapped)[OTHERS.name] == 10 * GIB - GIB - GIB // 2
    assert amounts(mapped)[FREE.name] == 2 * GIB
    assert (copied.total_bytes, mapped.total_bytes) == (16 * GIB, 16 * GIB)


def test_a_gpu_that_shares_the_main_memory_fills_both_bars() -> None:
    machine = MACHINES["mac-16gb"]
    device, memory = bars(machine, {"MTL0": replace(TAKEN, name="MTL0")}, is_mapped=False)
    assert "shares the main memory" in device.about
    assert amounts(device)[WEIGHTS.name] == amounts(memory)[WEIGHTS.name] == 4 * GIB


def test_figures_that_contradict_each_other_are_never_negative() -> None:
    (bar,) = bars(hardware(4 * GIB, 4 * GIB), {HOST: replace(TAKEN, weights_bytes=40 * GIB)}, is_mapped=False)
    assert min(part.amount for part in bar.parts) == 0


def test_a_machine_is_told_in_rows() -> None:
    rows = dict(row for row in machine_rows(MACHINES["laptop-8gb"]) if row[0])
    assert rows["Processor"].startswith("Intel(R) Core(TM) i5-8250U")
    assert rows["Power"] == "on battery"
    assert rows["GPU"] == "none that llama.cpp uses; the processor does all the work"
    assert dict(machine_rows(MACHINES["nvidia-12gb"]))["RTX 4070"] == "reads 399 GiB a second"


def test_the_plan_is_a_sentence_and_its_reasons_are_sentences(plans: Callable[[str], Plan]) -> None:
    assert choice("parrot", plan(4 * GIB)) == (
        "parrot as Q4_K_M with 512 tokens of context and an f16 KV cache, on the CPU."
    )
    assert choice("parrot", plans("nvidia-12gb")).endswith(", on RTX 4070.")
    assert "and a q8_0 KV cache" in choice("parrot", replace(plan(GIB), kv_type="q8_0"))
    assert sentences(["it fits", "\x1b[2Jdo"]) == ["It fits.", "␛[2Jdo."]


def test_what_was_predicted_stands_beside_what_was_measured(plans: Callable[[str], Plan]) -> None:
    found = {row[0]: row[1:] for row in comparison(plan(4 * GIB), {HOST: TAKEN}, 12.34)}
    assert found == {"Main memory": ("5.5 GiB", "5.6 GiB"), "Rate of writing": ("not known", "12.3 tokens/s")}
    unknown = {row[0]: row[1:] for row in comparison(plans("nvidia-12gb"), {}, None)}
    assert unknown["RTX 4070"][1] == "not known"
    assert unknown["Rate of writing"][1] == "nothing yet"


# The screen


class Bench(App[None]):
    CSS_PATH = list(STYLES)  # noqa: RUF012 - as Textual declares it

    def __init__(self, screen: HardwareScreen) -> None:
        super().__init__()
        self.opened = screen

    def on_mount(self) -> None:
        self.push_screen(self.opened)


def running() -> Running:
    engine: Any = ScriptedEngine([])
    engine.loaded = replace(facts(), taken=(TAKEN,))
    return Running(install_fake(), engine, plan(4 * GIB, "it [b]fits[/b]"))


def words(pilot: Pilot[None], where: str = "") -> str:
    return "\n".join(str(static.render()) for static in pilot.app.screen.query(f"{where} Static").results(Static))


def drawn(screen: HardwareScreen) -> int:
    """How many findings are there with all that they say: a line is mounted before what it is made of."""
    return sum(len(line.query(Static)) >= 2 + line.can_focus for line in screen.query(FindingLine))


async def test_it_opens_at_once_and_what_takes_time_follows() -> None:
    gate = threading.Event()

    def examine() -> list[Finding]:
        gate.wait(60)
        return FINDINGS

    screen = HardwareScreen(FakeServices(examine=examine).services, running())
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: screen.query(MeterBar))
        assert words(pilot, "#findings") == "Looking …"
        assert screen.check_action("look", ()) is False
        gate.set()
        await wait_until(lambda: drawn(screen) == 3)
        assert screen.check_action("look", ()) is True
        await wait_until(lambda: "Made-up CPU" in words(pilot, "#machine"))
        await wait_until(lambda: "It [b]fits[/b]." in words(pilot, "#plan"))
        await wait_until(lambda: "note: a GPU is there and [b]not[/b] used" in words(pilot, "#findings"))
        await wait_until(lambda: "broken: the disk is full" in words(pilot, "#findings"))
        await wait_until(lambda: "$ pip install it ␛[2J" in words(pilot, "#findings"))
        assert "never shown" not in words(pilot)


async def test_a_command_is_copied_by_enter_or_a_click() -> None:
    app = Bench(screen := HardwareScreen(FakeServices(examine=lambda: FINDINGS).services, None))
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_until(lambda: drawn(screen) == 3)
        await pilot.press("tab", "tab", "enter")
        await wait_until(lambda: app.clipboard == "localchat remove parrot")
        await pilot.click(screen.query(FindingLine)[1])
        await wait_until(lambda: app.clipboard == "pip install it ␛[2J")
        await pilot.click(screen.query(FindingLine)[0])
        await pilot.pause()
        assert app.clipboard == "pip install it ␛[2J"
        assert {note.message for note in app._notifications} == {"The command was copied."}


async def test_control_r_looks_again() -> None:
    machines = iter([hardware(8 * GIB, GIB), hardware(32 * GIB, GIB)])
    findings = iter([FINDINGS, FINDINGS[:1]])
    services = FakeServices(machine=lambda: next(machines), examine=lambda: next(findings)).services
    screen = HardwareScreen(services, None)
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: not screen.waits_for)
        await wait_until(lambda: "of 8.0 GiB in use" in words(pilot, "#memory"))
        await pilot.press("ctrl+r")
        await wait_until(lambda: "of 32.0 GiB in use" in words(pilot, "#memory"))
        await wait_until(lambda: drawn(screen) == 1)


@pytest.mark.parametrize("key", ["escape", "f3"])
async def test_escape_and_f3_close_it(key: str) -> None:
    app = Bench(HardwareScreen(FakeServices().services, None))
    async with app.run_test() as pilot:
        await wait_until(lambda: "No model is loaded." in words(pilot, "#plan"))
        await pilot.press(key)
        await wait_until(lambda: not isinstance(app.screen, HardwareScreen))


async def test_all_of_it_can_be_scrolled_to_on_a_small_screen_and_a_wide_one_has_two_columns() -> None:
    screen = HardwareScreen(FakeServices(examine=lambda: FINDINGS * 4).services, running())
    async with Bench(screen).run_test(size=(80, 24)) as pilot:
        await wait_until(lambda: not screen.waits_for and drawn(screen) == 12)
        page, (left, right) = screen.query_one(".page", VerticalScroll), screen.query(".column")
        assert page.max_scroll_y > 0
        assert left.region.x == right.region.x
        await pilot.press("end")
        await wait_until(lambda: page.scroll_offset.y == page.max_scroll_y)
        await pilot.resize_terminal(120, 40)
        await wait_until(lambda: left.region.y == right.region.y)
        assert left.region.right <= right.region.x


async def test_a_machine_that_cannot_be_read_is_an_error_in_words() -> None:
    def machine() -> Hardware:
        raise LocalchatError("the disk cannot be read", "set LOCALCHAT_HOME")

    screen = HardwareScreen(FakeServices(machine=machine).services, running())
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: words(pilot, "#memory") == "the disk cannot be read: set LOCALCHAT_HOME")
        await wait_until(lambda: "parrot as Q4_K_M" in words(pilot, "#plan"))


async def test_the_rate_that_was_last_seen_is_shown_and_a_model_that_was_put_away_takes_nothing() -> None:
    model = running()
    remember_use(model.model, 7.5)  # type: ignore[arg-type]
    engine: Any = model.engine
    kept = Kept(lambda _hear: Launched(engine, plan(4 * GIB), ()))
    screen = HardwareScreen(FakeServices().services, replace(model, engine=kept))
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: "7.5 tokens/s" in words(pilot, "#plan"))
        await wait_until(lambda: "5.6 GiB" in words(pilot, "#plan"))
        kept._put_away()
        await pilot.press("ctrl+r")
        await wait_until(lambda: "not in memory now" in words(pilot, "#plan"))
        assert "5.6 GiB" not in words(pilot, "#plan")


async def test_a_model_on_a_server_says_where_it_runs() -> None:
    screen = HardwareScreen(FakeServices().services, replace(running(), plan=None, place="example.org"))
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: "parrot runs on example.org" in words(pilot, "#plan"))


async def test_the_real_look_at_the_terminal_works_within_the_app() -> None:
    screen = HardwareScreen(FakeServices(examine=check_terminal).services, None)
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: drawn(screen) == 1)
        await wait_until(lambda: "terminal" in words(pilot, "#findings"))


async def test_a_look_that_fails_unforeseen_does_not_leave_the_screen_waiting() -> None:
    def examine() -> list[Finding]:
        raise RuntimeError("nobody [b]foresaw[/b] this")

    screen = HardwareScreen(FakeServices(examine=examine).services, None)
    async with Bench(screen).run_test() as pilot:
        await wait_until(lambda: not screen.waits_for)
        await wait_until(lambda: "could not be looked at: nobody [b]foresaw[/b] this" in words(pilot, "#findings"))
