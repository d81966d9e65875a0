"""Where the user writes: Enter sends, Shift+Enter or Ctrl+J begins a new line, the box grows with the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.message import Message

from localchat.tui.pasting import is_large, typeable
from localchat.tui.plain_area import PlainArea

NEW_LINE_KEYS = ("shift+enter", "ctrl+j", "alt+enter")


class Prompt(PlainArea):
    """The input box of the chat. What is pasted into it is what can be seen of it."""

    BORDER_TITLE: ClassVar[str] = ""

    @dataclass
    class Submitted(Message):
        """The user wants this text sent. The box keeps it until the receiver clears it."""

        text: str

    @dataclass
    class Pasted(Message):
        """This was pasted; where `is_kept_out`, it is too much to stand in the box, and is not in it."""

        text: str
        is_kept_out: bool

    @dataclass
    class Walked(Message):
        """The cursor was moved up from the first line (-1), or down from the last (+1)."""

        step: int

    class Backed(Message):
        """Backspace was pressed where there is nothing before the cursor."""

    def __init__(self) -> None:
        super().__init__("Ask anything. Enter sends, Ctrl+J begins a new line.")

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Submitted(self.text))
        elif event.key in NEW_LINE_KEYS:
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)

    def paste(self, text: str) -> None:
        """Take a text from the clipboard; where it is long it does not get into the box."""
        text, too_much = typeable(text), is_large(text)
        if not too_much:
            self.insert_pasted(text)
        self.post_message(self.Pasted(text, too_much))

    def action_cursor_up(self, select: bool = False) -> None:
        """Up a line, and from the first one to what was sent before."""
        if not select and self._row == 0:
            self.post_message(self.Walked(-1))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down a line, and from the last one to what was sent after."""
        if not select and self._row >= self.wrapped_document.height - 1:
            self.post_message(self.Walked(1))
        else:
            super().action_cursor_down(select)

    def action_delete_left(self) -> None:
        """Delete a character, or what stands before the box."""
        if self.selection.is_empty and self.cursor_at_start_of_text:
            self.post_message(self.Backed())
        else:
            super().action_delete_left()

    def put(self, text: str, *, is_at_top: bool = False) -> None:
        """Show this text with the cursor behind it, or at the end of its first line."""
        self.text = text
        self.move_cursor((0, len(self.document[0])) if is_at_top else self.document.end)

    @property
    def _row(self) -> int:
        """The line of the cursor as they are on the screen, where long ones are wrapped."""
        return self.wrapped_document.location_to_offset(self.cursor_location).y
