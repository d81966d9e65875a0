"""A page to read over what is open: details, a receipt."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from localchat.tui.key_line import KeyLine


class PageScreen(ModalScreen[None]):
    """Text that scrolls; Escape leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("space", "down", "Scroll", key_display="↑↓"),
    ]

    def __init__(self, page: Content) -> None:
        super().__init__()
        self._page = page

    def compose(self) -> ComposeResult:
        with Vertical(classes="page"):
            with VerticalScroll():
                yield Static(self._page)
            yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        """Back to what was open."""
        self.dismiss(None)

    def action_down(self) -> None:
        """A page further."""
        self.query_one(VerticalScroll).scroll_page_down()
