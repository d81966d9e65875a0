"""The library over fakes: what its tests and those of the picker share."""

from __future__ import annotations

from typing import ClassVar

from desk import FakeServices, wait_until
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.types import CSSPathType
from textual.widgets import Static, TabbedContent

from localchat.library import Installed
from localchat.tui.app import STYLES
from localchat.tui.downloads import Downloads
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.rows import Rows
from localchat.tui.theme import DARK, LIGHT


class Shelf(App[None]):
    """An app with nothing but the screen that is tested, and what that returned."""

    CSS_PATH: ClassVar[CSSPathType | None] = list(STYLES)

    def __init__(self, fake: FakeServices, *, theme: str = "localchat") -> None:
        super().__init__()
        for one in (DARK, LIGHT):
            self.register_theme(one)
        self.theme = theme
        self.services = fake.services
        self.downloads = Downloads(self, fake.services.pull)
        self.chosen: list[Installed | None] = []

    async def open_library(self, pilot: Pilot[None], current: Installed | None = None) -> None:
        """Open it, and wait until it takes keys."""
        self._open(LibraryScreen(self.services, self.downloads, current))
        await wait_until(lambda: any(tabs.active for tabs in self.screen.query(TabbedContent)))
        await pilot.pause()

    def open_picker(self) -> None:
        self._open(PickerScreen(self.services, None, self.downloads))

    def _open(self, screen: Screen[Installed | None]) -> None:
        self.push_screen(screen, self.chosen.append)


def rows(pilot: Pilot[None]) -> str:
    """What the list that has the focus shows; empty while it is being mounted."""
    shown = pilot.app.screen.focused
    return "\n".join(str(option.prompt) for option in shown.options) if isinstance(shown, Rows) else ""


def text(pilot: Pilot[None]) -> str:
    """Everything on the screen in front that is not in a list."""
    statics = (static for static in pilot.app.screen.query(Static) if static.display)
    return "\n".join(str(static.render()) for static in statics)


def page(pilot: Pilot[None]) -> str:
    """The page beside the list."""
    return "".join(str(card.render()) for card in pilot.app.screen.query(".card").results(Static))
