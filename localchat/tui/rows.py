"""A list of things, several lines each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class Rows(OptionList, inherit_bindings=False):
    """Rows keep their mark when they change. A click marks a row, and chooses it only when it is marked."""

    # Without those that scroll to the side: left and right are for the tabs around a list.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "Up", show=False),
        Binding("down", "cursor_down", "Down", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("pageup", "page_up", "A page up", show=False),
        Binding("pagedown", "page_down", "A page down", show=False),
        Binding("enter", "select", "Choose"),
    ]

    def on_click(self, event: Click) -> None:
        """Marking must not begin a download of many GiB."""
        row = event.style.meta.get("option")
        if isinstance(row, int) and row != self.highlighted:
            event.prevent_default()
            if not self.options[row].disabled:
                self.highlighted = row

    @property
    def marked(self) -> str:
        """The id of the marked row, or an empty text."""
        option = self.highlighted_option
        return option.id or "" if option is not None else ""

    def show(self, options: Iterable[Option]) -> None:
        """Show these rows; the marked one stays marked if it is still there, else the first is."""
        rows = list(options)
        if [row.id for row in rows] == [row.id for row in self.options]:
            for index, row in enumerate(rows):
                if row.prompt != self.options[index].prompt:
                    self.replace_option_prompt_at_index(index, row.prompt)
            return
        marked = self.marked
        self.set_options(rows)
        ids = [row.id for row in rows]
        self.highlighted = ids.index(marked) if marked in ids else _first(rows)


def row(key: str, name: str, marks: Iterable[str], facts: Iterable[str], *, is_current: bool = False) -> Option:
    """A row of a name with marks in words, and a line of facts below it."""
    sign = "▸ " if is_current else "  "
    words = "".join(f"  {mark}" for mark in marks)
    line = " · ".join(fact for fact in facts if fact)
    text = Content.assemble(
        (sign, "bold $primary"), (name, "bold"), (words, "$accent"), (f"\n  {line}", "$foreground-muted")
    )
    return Option(text, key)


def section(title: str) -> Option:
    """A line above a group of rows."""
    return Option(Content.styled(title, "$accent"), f"section {title}", disabled=True)


def _first(rows: list[Option]) -> int | None:
    return next((index for index, row in enumerate(rows) if not row.disabled), None)
