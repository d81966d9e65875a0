"""The system prompt of one conversation: what the model is told before anything else."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from localchat.text import clean
from localchat.tui.key_line import KeyLine
from localchat.tui.pasting import typeable
from localchat.tui.plain_area import PlainArea

NEW = "The model reads this before your first question. Where it is empty, the default holds."
OPEN = "The model reads this before all that was said. Where it is empty, there is none."
NO_DEFAULT = "No system prompt is set."


class SystemScreen(ModalScreen[str | None]):
    """Returns the text; None where it stays as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", priority=True, tooltip="Use this system prompt from the next reply on"),
        Binding("escape", "close", "Cancel", tooltip="Leave it as it is"),
    ]

    def __init__(self, text: str, default: str, *, is_new: bool) -> None:
        """`default` is what a new conversation begins with where nothing is said."""
        super().__init__()
        self._text, self._default, self._is_new = text, default, is_new

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("System prompt of this conversation"), classes="heading")
            yield Static(Content(NEW if self._is_new else OPEN), classes="about")
            yield PlainArea(placeholder=clean(self._default) if self._is_new and self._default else NO_DEFAULT)
            yield KeyLine()

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.text = typeable(self._text)
        area.move_cursor(area.document.end)
        area.focus()

    def action_save(self) -> None:
        """Take the text."""
        self.dismiss(self.query_one(TextArea).text.strip())

    def action_close(self) -> None:
        """Leave it as it is."""
        self.dismiss(None)
