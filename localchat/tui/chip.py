"""One attachment above the input: its name and its size, in a line."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from localchat.tui.attachment import Attachment


class Chip(Static):
    """A click removes it."""

    @dataclass
    class Removed(Message):
        """The user does not want it any more."""

        place: int

    def __init__(self, attachment: Attachment, place: int, hint: str) -> None:
        parts = ("[", "$foreground-muted"), (attachment.label, "$secondary"), ("]", "$foreground-muted")
        super().__init__(Content.assemble(*parts, (f"  ✕ {hint}", "$foreground-muted")))
        self._place = place

    def on_click(self) -> None:
        self.post_message(self.Removed(self._place))
