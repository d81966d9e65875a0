"""A box for text of several lines into which nothing gets that cannot be seen."""

from __future__ import annotations

from textual import events
from textual.widgets import TextArea

from localchat.tui.pasting import typeable


class PlainArea(TextArea):
    """Plain text, wrapped; what is pasted is cleaned."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(
            placeholder=placeholder,
            compact=True, highlight_cursor_line=False, soft_wrap=True, show_line_numbers=False,
        )  # fmt: skip

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.paste(event.text)

    def action_paste(self) -> None:
        """Paste what was copied within the app."""
        self.paste(self.app.clipboard)

    def paste(self, text: str) -> None:
        """Take a text from the clipboard."""
        self.insert_pasted(typeable(text))

    def insert_pasted(self, text: str) -> None:
        """Put harmless text in the place of what is selected."""
        if result := self._replace_via_keyboard(text, *self.selection):
            self.move_cursor(result.end_location)
        self.focus()
