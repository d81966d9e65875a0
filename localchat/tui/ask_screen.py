"""A question before something that cannot be undone."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localchat.text import clean
from localchat.tui.key_line import KeyLine


class AskScreen(ModalScreen[bool]):
    """Returns whether it is to be done; Enter alone does not do it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", "Move", show=False),
    ]

    def __init__(self, question: str, yes: str, no: str = "Keep it") -> None:
        super().__init__()
        self._question, self._yes, self._no = question, yes, no

    def compose(self) -> ComposeResult:
        with Vertical(classes="page"):
            yield Static(Content(clean(self._question)))
            with Horizontal():
                yield Button(Content(self._no), id="no", compact=True)
                yield Button(Content(self._yes), id="yes", compact=True, variant="error")
            yield KeyLine()

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def action_answer(self, is_yes: bool) -> None:
        """Take the answer."""
        self.dismiss(is_yes)

    @on(Button.Pressed)
    def _press(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
