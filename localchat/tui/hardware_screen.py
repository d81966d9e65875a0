"""The machine, what the loaded model takes of it and why, and whether all is sound. Workers look; handlers paint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker, WorkerState, get_current_worker

from localchat import library
from localchat.doctor.finding import Finding
from localchat.errors import LocalchatError
from localchat.keeper import Kept
from localchat.library import Installed
from localchat.plan.hardware import Hardware
from localchat.text import one_line
from localchat.tui.finding_line import FindingLine
from localchat.tui.hardware_page import TakenBy, bars, choice, comparison, machine_rows, sentences, table
from localchat.tui.key_line import KeyLine
from localchat.tui.meter_bar import MeterBar
from localchat.tui.services import Running, Services

HOW_TO_COPY = "Tab goes to a command that mends something; Enter or a click copies it."
AWAY = "The model is not in memory now; the next question loads it."


class HardwareScreen(Screen[None]):
    """Opens at once; what takes time to find out follows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f3", "close", "Close", key_display="Esc"),
        Binding("ctrl+r", "look", "Look again"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (116, "-wide")]  # noqa: RUF012 - as Textual declares it
    waits_for: reactive[frozenset[str]] = reactive(frozenset(), bindings=True)
    """What is being looked for: `machine`, `findings`."""

    @dataclass
    class Machine(Message):
        """The machine as it is, and the rate that was last seen; or why that cannot be known."""

        hardware: Hardware | LocalchatError
        rate: float | None = None

    @dataclass
    class Findings(Message):
        """What the doctor found."""

        found: list[Finding]

    def __init__(self, services: Services, running: Running | None) -> None:
        super().__init__()
        self._services, self._runs = services, running

    def compose(self) -> ComposeResult:
        yield Static(Content("Hardware"), classes="heading")
        with VerticalScroll(classes="page"):
            with Vertical(classes="column"):
                yield from _section("Memory", "memory")
                yield from _section("The model", "plan")
            with Vertical(classes="column"):
                yield from _section("This machine", "machine")
                yield from _section("Doctor", "findings")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(".page").focus()
        self.action_look()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While it looks, there is nothing to look for again."""
        return not self.waits_for if action == "look" else True

    def action_close(self) -> None:
        """Back to the chat."""
        self.dismiss()

    def action_look(self) -> None:
        """Look at everything again."""
        self.waits_for = frozenset({"machine", "findings"})
        self._look_at_machine()
        self._look_for_findings()

    @work(thread=True, exclusive=True, group="machine", exit_on_error=False)
    def _look_at_machine(self) -> None:
        worker, rate = get_current_worker(), None
        found: Hardware | LocalchatError
        try:
            found = self._services.machine()
        except LocalchatError as error:
            found = error
        if self._runs is not None and isinstance(self._runs.model, Installed):
            with suppress(LocalchatError):
                rate = library.find(self._runs.model.name).tokens_per_second
        if not worker.is_cancelled:
            self.post_message(self.Machine(found, rate))

    @work(thread=True, exclusive=True, group="findings", exit_on_error=False)
    def _look_for_findings(self) -> None:
        worker, found = get_current_worker(), self._services.examine()
        if not worker.is_cancelled:
            self.post_message(self.Findings(found))

    @on(Machine)
    async def _show_machine(self, message: Machine) -> None:
        self.waits_for -= {"machine"}
        taken = _taken(self._runs)
        if isinstance(message.hardware, LocalchatError):
            error = message.hardware
            text = Content.styled(f"{one_line(str(error), 500)}: {one_line(error.hint, 500)}", "$text-error")
            await self._fill("memory", [Static(text)])
            await self._fill("machine", [])
        else:
            is_mapped = bool(self._runs and self._runs.plan and self._runs.plan.is_mapped)
            await self._fill("memory", list(_bars(message.hardware, taken, is_mapped=is_mapped)))
            await self._fill("machine", [_pair(*row, "fact") for row in machine_rows(message.hardware)])
        await self._fill("plan", list(_plan(self._runs, taken, message.rate)))

    @on(Findings)
    async def _show_findings(self, message: Findings) -> None:
        self.waits_for -= {"findings"}
        lines = [FindingLine(finding) for finding in message.found]
        hint = [Static(Content(HOW_TO_COPY), classes="quiet")] if any(line.can_focus for line in lines) else []
        await self._fill("findings", [*hint, *lines])

    @on(Worker.StateChanged)
    async def _show_failure(self, message: Worker.StateChanged) -> None:
        """A look that failed in a way that nobody foresaw must not leave the screen waiting."""
        if message.state is WorkerState.ERROR:
            self.waits_for -= {message.worker.group}
            text = f"This could not be looked at: {one_line(str(message.worker.error), 300)}"
            await self._fill(message.worker.group, [Static(Content.styled(text, "$text-error"))])

    async def _fill(self, section: str, widgets: list[Widget]) -> None:
        place = self.query_one(f"#{section}")
        async with place.batch():
            await place.remove_children()
            await place.mount_all(widgets)


def _section(title: str, name: str) -> ComposeResult:
    yield Static(Content(title), classes="title")
    with Vertical(id=name, classes="section"):
        yield Static(Content("Looking …"), classes="quiet")


def _taken(running: Running | None) -> TakenBy:
    """What the model takes while it is in memory."""
    if running is None or (isinstance(running.engine, Kept) and not running.engine.is_loaded):
        return {}
    return {taken.name: taken for taken in running.engine.loaded.taken}


def _bars(hardware: Hardware, taken: TakenBy, *, is_mapped: bool) -> Iterator[Widget]:
    for bar in bars(hardware, taken, is_mapped=is_mapped):
        about = f"  {bar.about}" if bar.about else ""
        yield Static(
            Content.assemble((bar.name, "bold"), f"  {bar.words}", (about, "$foreground-muted")), classes="name"
        )
        yield MeterBar(bar.parts)


def _pair(label: str, text: str, kind: str) -> Horizontal:
    """A text that goes on beneath itself, beside its label."""
    return Horizontal(Static(Content(label), classes="label"), Static(Content(text), classes="text"), classes=kind)


def _plan(running: Running | None, taken: TakenBy, rate: float | None) -> Iterator[Widget]:
    if running is None:
        yield Static(Content("No model is loaded."), classes="quiet")
    elif running.plan is None:
        text = f"{running.model.name} runs on {running.place}: what it takes there is not known here."
        yield Static(Content(one_line(text, 300)), classes="quiet")
    else:
        plan = running.plan
        if isinstance(running.engine, Kept) and not running.engine.is_loaded:
            yield Static(Content(AWAY), classes="quiet")
        yield Static(Content(choice(running.model.name, plan)))
        for sentence in sentences(plan.reasons):
            yield _pair("-", sentence, "reason")
        head = ("", "Predicted", "Measured")
        yield Static(Content("\n".join(table([head, *comparison(plan, taken, rate)]))), classes="rows")
