"""What an empty conversation shows."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

LINES = Content.from_markup(
    "[b $primary]localchat[/]\n\n"
    "Everything you write stays on this machine.\n\n"
    "[$foreground 60%]"
    "[b]Ctrl+L[/]  choose or get a model\n"
    "[b]Ctrl+O[/]  go back to a conversation\n"
    "[b]Ctrl+N[/]  begin a new one"
    "[/]"
)


class Welcome(Static):
    """A greeting, and the three keys to begin with."""

    def __init__(self) -> None:
        super().__init__(LINES)
