"""Something that went wrong, in words, among the messages, with what can be done about it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Static

from localchat.errors import LocalchatError
from localchat.text import capitalized, one_line


class Note(Vertical):
    """An error's sentence and its next step; with `offer`, a button that takes that step."""

    def __init__(self, error: LocalchatError, offer: tuple[str, str] | None = None) -> None:
        super().__init__()
        self._error, self._offer = error, offer

    def compose(self) -> ComposeResult:
        yield Static(Content(_sentence(str(self._error))), classes="what")
        yield Static(Content(_sentence(self._error.hint)), classes="hint")
        if self._offer is not None:
            label, action = self._offer
            yield Button(Content(label), action=action, compact=True, variant="error")

    def again(self) -> Note:
        """Another one that says the same."""
        return Note(self._error, self._offer)


def _sentence(text: str) -> str:
    return f"{capitalized(one_line(text, 1000))}."
