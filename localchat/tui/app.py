"""The Textual app: themes, the chat screen, and its end."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.types import CSSPathType

from localchat.launch import Launch
from localchat.library import installed
from localchat.settings import Settings
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.chosen import Chosen
from localchat.tui.services import Services, real_services
from localchat.tui.theme import DARK, LIGHT

STYLES = sorted(Path(__file__).parent.glob("*.tcss"))


class LocalchatApp(App[None]):
    """The whole app, given everything that it uses."""

    TITLE = "localchat"
    CSS_PATH: ClassVar[CSSPathType | None] = list(STYLES)
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True)]

    def __init__(self, services: Services, model: Chosen | None) -> None:
        super().__init__()
        self._services, self._model = services, model

    def on_mount(self) -> None:
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        if self._services.settings.theme in self.available_themes:
            self.theme = self._services.settings.theme
        self.push_screen(ChatScreen(self._services, self._model))


def make_app(services: Services, model: Chosen | None) -> LocalchatApp:
    """The app over these services; the command line, tests and screenshots all make it here."""
    return LocalchatApp(services, model)


def run_app(settings: Settings, model: Chosen | None, how: Launch) -> None:
    """Open the app with a model, or with the one that was used last, or else on the picker."""
    services = real_services(settings, how)
    if model is None:
        model = next(iter(installed()), None)
    gc.freeze()  # what is loaded by now stays: collections during streaming need not look at it
    make_app(services, model).run()
