"""Name a text file to attach; Tab completes names, as in a shell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.path_completion import completions, longest


class AttachScreen(ModalScreen[Path | None]):
    """Returns the path that was named, of whatever is there; None if none was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "pass", "Attach"),
        Binding("tab", "complete", "Complete", priority=True),
        Binding("up", "move(-1)", "Choose", show=False),
        Binding("down", "move(1)", "Choose", show=False),
        Binding("escape", "close", "Cancel"),
    ]

    @dataclass
    class Found(Message):
        """Names that begin as what was typed."""

        typed: str
        paths: list[str]

    def __init__(self) -> None:
        super().__init__()
        self._found: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Attach a text file"), classes="heading")
            yield Input(placeholder="its path; Tab completes it")
            yield OptionList()
            yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._look("")

    def action_close(self) -> None:
        """Leave without a file."""
        self.dismiss(None)

    def action_complete(self) -> None:
        """Write as much of the name as is certain, or else the name that is marked."""
        typed, choices = self.query_one(Input).value, self.query_one(OptionList)
        certain = longest(typed, self._found)
        if certain == typed and self._found:
            certain = self._found[choices.highlighted or 0]
        self._type(certain)

    def action_move(self, step: int) -> None:
        """Mark another name."""
        choices = self.query_one(OptionList)
        if step > 0:
            choices.action_cursor_down()
        else:
            choices.action_cursor_up()

    @on(Input.Changed)
    def _follow(self, event: Input.Changed) -> None:
        self._look(event.value)

    @on(Input.Submitted)
    def _take(self, event: Input.Submitted) -> None:
        marked = self.query_one(OptionList).highlighted
        self._choose(self._found[marked] if marked is not None else event.value.strip())

    @on(OptionList.OptionSelected)
    def _take_marked(self, event: OptionList.OptionSelected) -> None:
        self._choose(self._found[event.option_index])

    def _choose(self, path: str) -> None:
        if path.endswith("/"):
            self._type(path)
        elif path:
            self.dismiss(Path(path))

    def _type(self, path: str) -> None:
        typed = self.query_one(Input)
        typed.value = path
        typed.cursor_position = len(path)
        typed.focus()

    @work(thread=True, exclusive=True, group="look", exit_on_error=False)
    def _look(self, typed: str) -> None:
        """A folder may be large, or far away."""
        found = completions(typed)
        if not get_current_worker().is_cancelled:
            self.post_message(self.Found(typed, found))

    @on(Found)
    def _show_found(self, message: Found) -> None:
        if message.typed == self.query_one(Input).value:
            self._found = message.paths
            self.query_one(OptionList).set_options(Option(Content(one_line(path))) for path in message.paths)
