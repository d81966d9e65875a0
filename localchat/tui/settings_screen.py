"""The settings that people change. Each is in force and in `config.toml` as soon as it is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localchat.errors import LocalchatError
from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.preferences import Preferences
from localchat.tui.rebind_screen import RebindScreen
from localchat.tui.setting_row import Fact, SettingRow

TITLES = {
    "theme": "Theme",
    "system": "System message",
    "titles": "Titles by the model",
    "context": "Context, tokens",
    "idle_minutes": "Free memory after, minutes",
    "sessions_gib": "Kept reading, GiB",
    "threads": "Threads",
}
AT_NEXT_LOAD = frozenset({"context", "threads", "sessions_gib", "idle_minutes"})


class SettingsScreen(ModalScreen[None]):
    """Change settings; Escape closes it, and keeps what was typed if it can be."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", tooltip="Back to the chat"),
        Binding("tab", "app.focus_next", "Next"),
        Binding("shift+tab", "app.focus_previous", "Previous", show=False),
    ]

    def __init__(self, preferences: Preferences, themes: Sequence[str]) -> None:
        """Raises LocalchatError where the file of the settings cannot be read."""
        super().__init__()
        self._preferences, self._themes = preferences, tuple(themes)
        self._known = self._facts()
        self._is_told = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Settings"), classes="heading")
            with VerticalScroll(can_focus=False):
                yield from (SettingRow(fact) for fact in self._known.values())
                yield Button(Content("Change the keys …"), classes="rebind", compact=True, action="screen.rebind")
            yield Static(Content(f"kept in {one_line(str(self._preferences.path), 300)}"), classes="where")
            yield KeyLine()

    def action_close(self) -> None:
        """Leave; what is still being typed counts."""
        for row in self.query(SettingRow):
            if (change := row.typed_change) is not None:
                self._change(change)
        self.dismiss(None)

    def action_rebind(self) -> None:
        """Give actions other keys."""
        self.app.push_screen(RebindScreen(self._preferences))

    @on(SettingRow.Changed)
    def _change(self, message: SettingRow.Changed) -> None:
        try:
            self._preferences.change(**{message.name: message.value})
        except LocalchatError as error:
            self.notify(one_line(f"{error}; {error.hint}", 500), severity="error", markup=False)
        else:
            self._known = self._facts()
            self._tell(message.name)
        self.query_one(f"#setting-{message.name}", SettingRow).show(self._known[message.name])

    def _tell(self, name: str) -> None:
        """Say once where it is kept, and always when it counts later than now."""
        later = " It holds from the next load of a model on." if name in AT_NEXT_LOAD else ""
        if not self._is_told or later:
            where = one_line(str(self._preferences.path), 300)
            self.notify(f"Kept in {where}.{later}", markup=False)
        self._is_told = True

    def _facts(self) -> dict[str, Fact]:
        sources, current = self._preferences.sources(), self._preferences.current
        return {
            name: Fact(name, title, getattr(current, name), sources[name], self._themes if name == "theme" else ())
            for name, title in TITLES.items()
        }
