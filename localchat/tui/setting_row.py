"""One setting: its name, what it is now, where that comes from, and what it is for. It is kept as it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Select, Static, TextArea

from localchat.errors import LocalchatError
from localchat.settings import ABOUT, SCALARS, Source, checked, variable
from localchat.text import clean, one_line


@dataclass(frozen=True, slots=True)
class Fact:
    """What a row shows."""

    name: str
    title: str
    value: Any
    source: Source
    choices: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where the value comes from, in words."""
        default = SCALARS[self.name]
        usual = "" if isinstance(default, str) else f", default {'on' if default is True else default}"
        if self.source == "environment":
            return f"set by {variable(self.name)}"
        return "default" if self.source == "default" else f"config.toml{usual}"


def typed_value(name: str, text: str) -> Any:
    """What was typed for a setting; an empty number is the default. Raises LocalchatError for what it cannot be."""
    if isinstance(SCALARS[name], str):
        return checked(name, text)
    digits = text.strip().replace(",", "")
    if not digits:
        return None
    return checked(name, int(digits) if digits.isdecimal() and len(digits) < 10 else digits)


class SettingRow(Vertical):
    """A control that suits the setting, with its explanation below; what is wrong with the input stands there at once.

    A setting that the environment sets is shown, and cannot be changed.
    """

    @dataclass
    class Changed(Message):
        """The user wants this value; None is the default."""

        name: str
        value: Any

    def __init__(self, fact: Fact) -> None:
        super().__init__(id=f"setting-{fact.name}")
        self._fact = fact
        self._seen = ""  # what stood in the box when it was last in agreement with the setting

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(Content(self._fact.title), classes="title")
            yield self._control()
            yield Static(Content(self._fact.origin), classes="origin")
        yield Static(Content(ABOUT[self._fact.name]), classes="about")

    def _control(self) -> Widget:
        fact, is_fixed = self._fact, self._fact.source == "environment"
        if isinstance(fact.value, bool):
            return Checkbox(_state(fact.value), fact.value, compact=True, disabled=is_fixed)
        if fact.choices:
            choices = dict.fromkeys((*fact.choices, fact.value))  # what is set need not be known here
            options = [(Content(one_line(choice, 60)), choice) for choice in choices]
            return Select(options, value=fact.value, allow_blank=False, compact=True, disabled=is_fixed)
        if isinstance(fact.value, int):
            default = f"{SCALARS[fact.name]} (default)"
            return Input(str(fact.value), placeholder=default, compact=True, select_on_focus=True, disabled=is_fixed)
        return TextArea(clean(fact.value), compact=True, disabled=is_fixed, placeholder="empty: as the model has it")

    def on_mount(self) -> None:
        self._seen = self._typed

    def show(self, fact: Fact) -> None:
        """The setting is this now; what is being typed stays."""
        self._fact, self._seen = fact, self._typed
        self.query_one(".origin", Static).update(Content(fact.origin))
        for control in self.query("Checkbox, Select"):
            assert isinstance(control, Checkbox | Select), "these are what was asked for"
            control.value = fact.value

    @property
    def typed_change(self) -> Changed | None:
        """What was typed, if it can be taken and is not what the setting is."""
        if self._typed == self._seen:  # what is shown of a text need not be all of it
            return None
        try:
            value = typed_value(self._fact.name, self._typed)
        except LocalchatError:
            return None
        is_same = value == self._fact.value or (value is None and self._fact.source == "default")
        return None if is_same else self.Changed(self._fact.name, value)

    @property
    def _typed(self) -> str:
        if boxes := self.query(Input):
            return boxes.first().value
        texts = self.query(TextArea)
        return texts.first().text if texts else ""

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _judge(self, event: Input.Changed | TextArea.Changed) -> None:
        event.stop()
        about = self.query_one(".about", Static)
        try:
            typed_value(self._fact.name, self._typed)
        except LocalchatError as error:
            about.update(Content(one_line(f"✗ {str(error).partition(': ')[2]}", 200)))
            about.add_class("-wrong")
        else:
            about.update(Content(ABOUT[self._fact.name]))
            about.remove_class("-wrong")

    @on(Input.Submitted)
    def _take(self, event: Input.Submitted) -> None:
        event.stop()
        self.on_descendant_blur()

    def on_descendant_blur(self) -> None:
        """What was typed is taken when the user goes on."""
        if (change := self.typed_change) is not None:
            self.post_message(change)

    @on(Checkbox.Changed)
    def _turn(self, event: Checkbox.Changed) -> None:
        event.stop()
        event.checkbox.label = _state(event.value)
        if event.value != self._fact.value:
            self.post_message(self.Changed(self._fact.name, event.value))

    @on(Select.Changed)
    def _choose(self, event: Select.Changed) -> None:
        event.stop()
        if event.value != self._fact.value:
            self.post_message(self.Changed(self._fact.name, event.value))


def _state(is_on: bool) -> str:
    return "on" if is_on else "off"
