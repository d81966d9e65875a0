"""A sampling preset to fill in. What is wrong with a number stands beside it as soon as it is typed."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from localchat.errors import LocalchatError
from localchat.presets import FIELDS, Preset, name_fault, number_of, shown, with_preset
from localchat.sampling import RANGES, UNBOUNDED
from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.preferences import Preferences


class Field(Input):
    """Says what Enter does."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Keep", tooltip="Keep the preset")]


class PresetForm(ModalScreen[str | None]):
    """Returns the name of the preset, which is then in the settings; None if it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Cancel", tooltip="Leave without keeping anything"),
        Binding("tab", "app.focus_next", "Next"),
        Binding("up", "app.focus_previous", "Previous", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
    ]

    def __init__(self, preset: Preset, preferences: Preferences) -> None:
        """A preset with a name is changed, one without is new."""
        super().__init__()
        self._preset, self._preferences = preset, preferences

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            title = f"Change {one_line(self._preset.name, 40)}" if self._preset.name else "New preset"
            yield Static(Content(title), classes="heading")
            with VerticalScroll(can_focus=False):
                yield from _row("name", self._preset.name, "how it is called")
                for field in FIELDS:
                    number = self._preset.numbers.get(field)
                    yield from _row(field, "" if number is None else shown(number), _bounds(field))
            yield Static(Content("What is left empty stays as the model recommends."), classes="where")
            yield KeyLine()

    def action_close(self) -> None:
        """Leave without keeping anything."""
        self.dismiss(None)

    def action_keep(self) -> None:
        """Keep it, or go to what is wrong."""
        wrong = [box for box in self.query(Input) if self._fault(box.name or "", box.value)]
        if wrong:
            wrong[0].focus()
            self._judge_box(wrong[0])
            return
        try:
            self._preferences.change(presets=self._wanted())
        except LocalchatError as error:
            self.notify(one_line(f"{error}; {error.hint}", 500), severity="error", markup=False)
        else:
            self.dismiss(self._typed("name"))

    def _wanted(self) -> dict[str, dict[str, float]]:
        numbers = {field: number for field in FIELDS if (number := number_of(field, self._typed(field))) is not None}
        return with_preset(self._preferences.current, self._typed("name"), numbers, self._preset.name)

    def _typed(self, name: str) -> str:
        return self.query_one(f"#field-{name}", Input).value.strip()

    @on(Input.Submitted)
    def _submit(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_keep()

    @on(Input.Changed)
    def _judge(self, event: Input.Changed) -> None:
        event.stop()
        self._judge_box(event.input)

    def _judge_box(self, box: Input) -> None:
        name = box.name or ""
        fault = self._fault(name, box.value)
        note = self.query_one(f"#note-{name}", Static)
        note.update(Content(f"✗ {one_line(fault, 120)}" if fault else _bounds(name)))
        note.set_class(bool(fault), "-wrong")

    def _fault(self, name: str, text: str) -> str:
        if name == "name":
            others = {own for own in self._preferences.current.presets if own != self._preset.name}
            return name_fault(text.strip(), dict.fromkeys(others))
        try:
            number_of(name, text)
        except LocalchatError as error:
            return str(error)
        return ""


def _row(name: str, text: str, note: str) -> ComposeResult:
    with Horizontal(classes="row"):
        yield Static(Content(name.replace("_", " ")), classes="title")
        yield Field(text, name=name, id=f"field-{name}", compact=True, select_on_focus=False)
        yield Static(Content(note), id=f"note-{name}", classes="note")


def _bounds(field: str) -> str:
    if field not in RANGES:
        return "how it is called"
    low, high = RANGES[field]
    return f"{low:g} or more" if high == UNBOUNDED else f"{low:g} to {high:,}"
