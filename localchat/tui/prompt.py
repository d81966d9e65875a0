"""Where the user writes: Enter sends, Shift+Enter or Ctrl+J begins a new line, the box grows with the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.message import Message
from textual.widgets import TextArea

NEW_LINE_KEYS = ("shift+enter", "ctrl+j", "alt+enter")


class Prompt(TextArea):
    """The input box of the chat."""

    BORDER_TITLE: ClassVar[str] = ""

    @dataclass
    class Submitted(Message):
        """The user wants this text sent. The box keeps it until the receiver clears it."""

        text: str

    def __init__(self) -> None:
        super().__init__(
            placeholder="Ask anything. Enter sends, Ctrl+J begins a new line.",
            compact=True, highlight_cursor_line=False, soft_wrap=True, show_line_numbers=False,
        )  # fmt: skip

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.text.strip():
                self.post_message(self.Submitted(self.text))
        elif event.key in NEW_LINE_KEYS:
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)

    def put(self, text: str) -> None:
        """Show this text with the cursor behind it."""
        self.text = text
        self.move_cursor(self.document.end)
