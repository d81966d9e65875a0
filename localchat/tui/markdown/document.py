"""A message as lines, while it grows: what is complete is never rendered again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from localchat.tui.markdown.lines import Line
from localchat.tui.markdown.parse import pieces
from localchat.tui.markdown.render import as_typed, rendered

MARKDOWN_CHARACTERS = 100_000
"""A longer message is shown as plain text."""
# The beginning of a line that can still become anything: a dash is a bullet or a rule, a number is one of a list.
UNDECIDED = re.compile(r"[ \t>]*(?:[-*+_~`#|:=]+|\d{1,9}[.)]?)[ \t]*")


@dataclass(slots=True)
class Document:
    """A text with the lines that show it at the width that was asked for last."""

    source: str = ""
    is_typed: bool = False
    """Is it shown as it was typed, and not as Markdown?"""
    is_growing: bool = False
    _blocks: list[str] = field(default_factory=list)
    _tail_start: int = 0
    """Where the last block begins in the source: what is before it is settled."""
    _is_split: bool = False
    _width: int = 0
    _lines: list[Line] = field(default_factory=list)
    _begins: list[int] = field(default_factory=list)
    """At which line each rendered block begins."""

    def extend(self, text: str) -> None:
        """Add text at the end."""
        self.source += text
        self.is_growing, self._is_split = True, False

    def settle(self, text: str) -> None:
        """This is the whole text; nothing more comes."""
        if not text.startswith(self.source[: self._tail_start]):
            self._blocks, self._tail_start = [], 0
            self._keep(0)
        self.source, self.is_growing, self._is_split = text, False, False

    def lines(self, width: int) -> Sequence[Line]:
        """The lines at a width in cells. The list stays valid until the next call."""
        if width != self._width:
            self._width = width
            self._keep(0)
        self._split()
        for block in self._blocks[len(self._begins) :]:
            if self._begins and not self.is_typed:
                self._lines.append(Line())
            self._begins.append(len(self._lines))
            self._lines += self._show(block)
        return self._lines

    def _show(self, block: str) -> list[Line]:
        width = max(1, self._width)
        return as_typed(block, width) if self._is_plain else rendered(block, width)

    @property
    def _is_plain(self) -> bool:
        return self.is_typed or len(self.source) > MARKDOWN_CHARACTERS

    def _split(self) -> None:
        """Split what comes after the settled blocks anew."""
        if self._is_split:
            return
        self._is_split = True
        if self._is_plain:
            self._blocks, self._tail_start = [self.source], 0
            self._keep(0)
            return
        tail = self.source[self._tail_start :]
        found = pieces(tail[: self._decided(tail)])
        kept = max(0, len(self._blocks) - 1)
        fresh = [tail[first:last] for first, last in found]
        if self._blocks[kept:] != fresh:
            self._keep(kept)
            self._blocks[kept:] = fresh
        if found:
            self._tail_start += found[-1][0]

    def _decided(self, tail: str) -> int:
        """How much of the tail is shown: a last line that can become anything waits for its next character."""
        begins = tail.rfind("\n") + 1
        return begins if self.is_growing and UNDECIDED.fullmatch(tail, begins) else len(tail)

    def _keep(self, blocks: int) -> None:
        """Forget what was rendered, but for so many blocks."""
        if blocks < len(self._begins):
            end = self._begins[blocks] - (1 if blocks and not self.is_typed else 0)
            del self._lines[end:], self._begins[blocks:]
