"""The Textual app: themes, keys, the chat screen, the screens that belong to none, and its end."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.screen import Screen
from textual.types import CSSPathType

from localchat.engine.store import forget
from localchat.errors import LocalchatError
from localchat.history.store import History
from localchat.launching import Launch
from localchat.library import installed
from localchat.paths import sessions_folder
from localchat.settings import Settings
from localchat.text import one_line
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.chosen import Chosen
from localchat.tui.downloads import Downloads
from localchat.tui.garbage import settle
from localchat.tui.keymap import keymap
from localchat.tui.keys_screen import KeysScreen, groups_of
from localchat.tui.palette import Commands
from localchat.tui.preferences import Preferences
from localchat.tui.press_screen import PressScreen
from localchat.tui.services import Services, real_services
from localchat.tui.settings_screen import SettingsScreen
from localchat.tui.stylesheet import KeptStylesheet
from localchat.tui.terminal import is_gone
from localchat.tui.theme import OWN, theme_for, theme_names

STYLES = sorted(Path(__file__).parent.rglob("*.tcss"))
NOTE_SECONDS = 15
LOOK_SECONDS = CLOSE_SECONDS = 2.0


class LocalchatApp(App[None]):
    """The whole app, given everything that it uses."""

    TITLE = "localchat"
    CSS_PATH: ClassVar[CSSPathType | None] = list(STYLES)
    COMMANDS = {Commands}  # noqa: RUF012 - as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "command_palette", "Commands", id="palette", priority=True,
                tooltip="Search everything that can be done here"),
        Binding("f2", "settings", "Settings", id="settings", tooltip="Change the settings"),
        Binding("f1,question_mark", "keys", "Keys", id="keys", priority=True, tooltip="Show the keys of this screen"),
        Binding("ctrl+q", "quit", "Quit", id="quit", priority=True, tooltip="Quit localchat"),
    ]  # fmt: skip

    def __init__(self, services: Services, model: Chosen | None, preferences: Preferences) -> None:
        super().__init__()
        self._services, self._model = services, model
        self.preferences = preferences
        self.downloads = Downloads(self, services.pull)
        for theme in OWN:
            self.register_theme(theme)
        self._apply(("theme",))
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())

    def on_mount(self) -> None:
        self._apply(("theme", "keys"))  # whether there is a terminal is known only now
        self.preferences.hear(self._apply)
        if not self.is_headless:
            self.set_interval(LOOK_SECONDS, self._leave_with_terminal)
        self.push_screen(self.first_screen())

    def on_ready(self) -> None:
        """The first screen is there. Tests run many apps in one process."""
        if not self.is_headless:
            settle()

    def first_screen(self) -> Screen[None]:
        """What the app opens on."""
        return ChatScreen(self._services, self._model, self.preferences)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a key is asked for, it does nothing; a page about keys needs none about itself."""
        if isinstance(self.screen, PressScreen):
            return False
        if action == "keys":
            return not isinstance(self.screen, KeysScreen | CommandPalette)
        return True

    def action_keys(self) -> None:
        """Show the keys of the screen that is on top."""
        self.push_screen(KeysScreen(groups_of(self.screen)))

    def action_settings(self) -> None:
        """Change the settings."""
        try:
            self.push_screen(SettingsScreen(self.preferences, theme_names(self.available_themes)))
        except LocalchatError as error:
            self._warn(f"{error}; {error.hint}")

    def action_wear(self, theme: str) -> None:
        """Change the theme for good."""
        try:
            self.preferences.change(theme=theme)
        except LocalchatError as error:
            self._warn(f"{error}; {error.hint}")

    def _apply(self, changed: Collection[str]) -> None:
        """Let those settings hold that the app itself is made of."""
        settings = self.preferences.current
        if "theme" in changed:
            colors = None if self.is_headless else self.console.color_system
            self.theme = theme_for(settings.theme, self.available_themes, colors)
        if "keys" in changed:
            keys, faults = keymap(settings.keys)
            self.set_keymap(keys)
            for fault in faults:
                self._warn(f"{fault}; the usual key stays")

    def _leave_with_terminal(self) -> None:
        """Most terminals end their programs with themselves, but not all."""
        if is_gone():
            self.exit()

    def _warn(self, text: str) -> None:
        self.notify(one_line(text, 500), severity="warning", timeout=NOTE_SECONDS, markup=False)


def make_app(services: Services, model: Chosen | None, preferences: Preferences | None = None) -> LocalchatApp:
    """The app over these services; the command line, tests and screenshots all make it here."""
    return LocalchatApp(services, model, preferences or Preferences(services.settings))


def run_app(settings: Settings, model: Chosen | None, how: Launch) -> None:
    """Open the app with a model, or with the one that was used last, or else on the picker."""
    preferences = Preferences(settings)
    services = real_services(settings, how, lambda: preferences.current)
    if model is None:
        model = next(iter(installed()), None)
    try:
        app = make_app(services, model, preferences)
        app.run()
        app.downloads.close(CLOSE_SECONDS)
        erase_deleted(services.history)  # the engine is closed by now, and has kept what it had read
    finally:
        services.history.close()


def erase_deleted(history: History) -> None:
    """Take from the disk what was deleted and can be undone no more. Raises LocalchatError."""
    if history.purge():
        forget(sessions_folder())
