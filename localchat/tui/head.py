"""The line above a message: who said it, and which of its siblings it is."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widgets import Static

from localchat.text import one_line

MARK = "▶ "
BACK, ON = "\u2039", "\u203a"  # arrowheads of one cell
NAME_CHARACTERS = 60


class Head(Static):
    """The name of who said it, `2/3` between arrows where there are others in its place, and remarks."""

    ALLOW_SELECT = False

    @dataclass
    class Stepped(Message):
        """The user wants the sibling that is `step` further."""

        step: int

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._speaker = one_line(speaker, NAME_CHARACTERS)

    def show(self, *, is_marked: bool, place: int, places: int, remarks: tuple[str, ...]) -> None:
        """Show these facts beside the name."""
        parts = [Content(MARK if is_marked else ""), Content.styled(self._speaker, "bold")]
        if places > 1:
            parts += [Content("  "), _arrow(BACK, -1, place > 1), Content(f" {place}/{places} ")]
            parts.append(_arrow(ON, 1, place < places))
        parts += [Content.styled(f" · {remark}", "dim") for remark in remarks]
        self.update(Content("").join(parts))

    def action_step(self, step: int) -> None:
        """One of the arrows was clicked."""
        self.post_message(self.Stepped(step))


def _arrow(sign: str, step: int, leads_somewhere: bool) -> Content:
    return Content.styled(sign, Style.from_meta({"@click": f"step({step})"})) if leads_somewhere else Content(" ")
