"""What an empty conversation shows."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

KEYS = {"Ctrl+L": "choose a model, or get one", "Ctrl+O": "go back to a conversation", "Ctrl+N": "begin a new one"}
WIDTH = max(map(len, KEYS.values()))
LINES = Content("\n").join(
    [
        Content.styled("localchat", "bold $primary"),
        Content(""),
        Content("Everything you write stays on this machine."),
        Content(""),
        *(Content.assemble((key, "bold $primary 80%"), f"  {text:{WIDTH}}") for key, text in KEYS.items()),
    ]
)


class Welcome(Static):
    """A greeting, and the three keys to begin with."""

    def __init__(self) -> None:
        super().__init__(LINES)
