"""Which of the code blocks of a message to copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.markdown.code import CodeBlock

LINE_CHARACTERS = 60


class CodeScreen(ModalScreen[CodeBlock | None]):
    """A list of code blocks by their first lines; the one that was chosen is returned."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Back")]

    def __init__(self, blocks: Sequence[CodeBlock]) -> None:
        super().__init__()
        self._blocks = blocks

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Copy which code block?"), classes="heading")
            yield OptionList(*map(_line, self._blocks))
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._blocks[event.option_index])


def _line(block: CodeBlock) -> Content:
    """The language, the first line and the size of a block."""
    first = next((line for line in block.text.splitlines() if line.strip()), "")
    lines = block.text.count("\n") + 1
    return Content.assemble(
        (f"{block.language or 'code':10} ", "bold $primary"),
        one_line(first, LINE_CHARACTERS),
        (f"  {lines} {'line' if lines == 1 else 'lines'}", "$foreground-muted"),
    )
