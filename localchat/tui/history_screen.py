"""Earlier conversations, the latest first."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from localchat.history.store import Heading, History
from localchat.text import one_line


class HistoryScreen(ModalScreen[int | None]):
    """Choose a conversation; returns its number, or None if none was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("enter", "pass", "Open"),
    ]

    def __init__(self, history: History, current: int | None) -> None:
        super().__init__()
        self._headings = history.conversations()
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Conversations"), classes="heading")
            if self._headings:
                yield OptionList(*(Option(self._line(heading), str(heading.id)) for heading in self._headings))
            else:
                yield Static(Content("Nothing has been said yet."), classes="empty")
            yield Footer(show_command_palette=False)

    def action_close(self) -> None:
        """Leave without a choice."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(int(event.option_id or 0))

    def _line(self, heading: Heading) -> Content:
        when = datetime.fromisoformat(heading.updated_at).astimezone().strftime("%Y-%m-%d %H:%M")
        sign = ("▸ ", "bold $primary") if heading.id == self._current else ("  ", "")
        facts = f"\n  {when}  ·  {heading.messages} messages  ·  {one_line(heading.model, 60)}"
        return Content.assemble(sign, (one_line(heading.title, 100), "bold"), (facts, "$foreground 55%"))
