"""Waits for one key, whatever it is."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from localchat.text import one_line


class PressScreen(ModalScreen[str | None]):
    """Returns the key that was pressed; Escape is none. The app keeps its own keys still meanwhile."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        with Vertical(classes="question"):
            yield Static(Content.assemble("Press the key for: ", (one_line(self._what, 60), "bold")))
            yield Static(Content("Escape leaves it as it is."), classes="hint")

    def on_key(self, event: events.Key) -> None:
        """This is the one."""
        event.stop()
        event.prevent_default()
        self.dismiss(None if event.key == "escape" else event.key)

    def on_click(self) -> None:
        """A click is no key: nothing is changed."""
        self.dismiss(None)
