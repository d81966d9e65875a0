"""Copy mode: text as bare lines from one edge of the screen to the other, for the terminal's own selection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen

from localchat.history.store import Saved
from localchat.text import clean
from localchat.tui.bubble import shown
from localchat.tui.copying import copy_message
from localchat.tui.key_line import KeyLine
from localchat.tui.markdown.document import Document
from localchat.tui.prose import Prose

# What begins and ends the reports of the mouse. While they are off the terminal selects, and its wheel sends arrows.
MOUSE_ON = "\x1b[?1000h\x1b[?1003h\x1b[?1015h\x1b[?1006h"
MOUSE_OFF = "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l"


class CopyScreen(Screen[None]):
    """Shows a text to select; the mouse belongs to the terminal meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy all"),
        Binding("escape,q,v", "dismiss", "Back", key_display="esc"),
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.whole = clean(text)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Prose(Document(self.whole, is_typed=True))
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def on_screen_resume(self) -> None:
        self._tell_terminal(MOUSE_OFF)

    def on_screen_suspend(self) -> None:
        self._tell_terminal(MOUSE_ON)

    def action_copy(self) -> None:
        """Copy the whole text."""
        copy_message(self, self.whole)

    def action_scroll(self, lines: int) -> None:
        """Scroll by some lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def _tell_terminal(self, sequence: str) -> None:
        """Textual has no public way to end the reports of the mouse for a while."""
        if self.app._driver is not None and not self.app.is_headless:
            self.app._driver.write(sequence)


def conversation_text(messages: Iterable[Saved]) -> str:
    """A whole conversation as text."""
    parts = [shown(message) for message in messages]
    return "\n\n".join(f"{part.speaker}:\n{part.text}" for part in parts)
