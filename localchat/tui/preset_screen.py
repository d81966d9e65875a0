"""How replies are sampled: choose a preset, or make one."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localchat.errors import LocalchatError
from localchat.presets import USUAL, Preset, presets, summary, without_preset
from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.preferences import Preferences
from localchat.tui.preset_form import PresetForm


class PresetList(OptionList):
    """Says what Enter does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Use", tooltip="Use this preset in the conversation")
    ]


class PresetScreen(ModalScreen[str | None]):
    """Returns the name of the chosen preset; None if none was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", tooltip="Keep the preset that is in force"),
        Binding("n", "make", "New", tooltip="Make a preset, from the numbers of this one"),
        Binding("e", "edit", "Edit", tooltip="Change the numbers of this preset"),
        Binding("d,delete", "delete", "Delete", tooltip="Delete this preset"),
    ]
    is_own: reactive[bool] = reactive(False, bindings=True)
    """Is the highlighted preset one that the user made?"""

    def __init__(self, current: str, preferences: Preferences) -> None:
        super().__init__()
        self._current, self._preferences = current or USUAL, preferences

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Sampling presets"), classes="heading")
            yield PresetList(*map(self._option, self._presets))
            yield KeyLine()

    def on_mount(self) -> None:
        self._highlight(self._current)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is built in stays as it is."""
        return self.is_own if action in ("edit", "delete") else True

    def action_close(self) -> None:
        """Leave without a choice."""
        self.dismiss(None)

    def action_make(self) -> None:
        """Fill in a new one, beginning with the numbers of the highlighted."""
        self.app.push_screen(PresetForm(Preset("", self._highlighted.numbers), self._preferences), self._show)

    def action_edit(self) -> None:
        """Change the highlighted one."""
        self.app.push_screen(PresetForm(self._highlighted, self._preferences), self._show)

    def action_delete(self) -> None:
        """Take the highlighted one out of the settings."""
        gone = self._highlighted
        try:
            self._preferences.change(presets=without_preset(self._preferences.current, gone.name))
        except LocalchatError as error:
            self.notify(one_line(f"{error}; {error.hint}", 500), severity="error", markup=False)
            return
        self._show(USUAL)
        self.notify(f"{gone.name} is deleted: {summary(gone.numbers)}", markup=False)

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    @on(OptionList.OptionHighlighted)
    def _look(self) -> None:
        self.is_own = not self._highlighted.is_built_in

    def _show(self, name: str | None) -> None:
        """The presets as they are by now, this one highlighted; None is as it was."""
        if name is not None:
            self.query_one(OptionList).set_options(map(self._option, self._presets))
            self._highlight(name)

    def _highlight(self, name: str) -> None:
        names = [preset.name for preset in self._presets]
        self.query_one(OptionList).highlighted = names.index(name) if name in names else 0

    @property
    def _presets(self) -> tuple[Preset, ...]:
        return presets(self._preferences.current)

    @property
    def _highlighted(self) -> Preset:
        return self._presets[self.query_one(OptionList).highlighted or 0]

    def _option(self, preset: Preset) -> Option:
        sign = ("▸ ", "bold $primary") if preset.name == self._current else ("  ", "")
        about = f"  {preset.about}" if preset.about else ""
        numbers = one_line(summary(preset.numbers), 300) or "changes nothing"
        name = (one_line(preset.name, 60), "bold")
        return Option(Content.assemble(sign, name, about, (f"\n  {numbers}", "$foreground-muted")), preset.name)
