"""Lines of styled text, and how text is wrapped into them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal
from unicodedata import category

from rich.cells import cell_len, split_graphemes

Ink = Literal[
    "text", "dim", "heading", "code", "link", "bullet", "frame",
    "comment", "keyword", "string", "number", "name", "added", "removed",
]  # fmt: skip
"""What a piece of text is; the theme says what color that has."""

TAB = "    "
MARKS_ON_A_CHARACTER = 8
# Between wide characters (Chinese, Japanese, Korean) a line may break without a space.
WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff01-\uff60\U00020000-\U0003fffd"
WORDS = re.compile(f"( *)([{WIDE}]|[^ {WIDE}]+|$)")
ENOUGH_ROOM = 3
"""A word longer than a line begins on the line before, where at least a third of that is free."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a run of text looks, whatever the theme."""

    ink: Ink = "text"
    bold: bool = False
    italic: bool = False
    strike: bool = False
    underline: bool = False
    link: str = ""
    is_on_panel: bool = False


PLAIN = Look()


@dataclass(frozen=True, slots=True)
class Run:
    """Text of one look."""

    text: str
    look: Look = PLAIN


Joint = Literal["\n", " ", ""]


@dataclass(frozen=True, slots=True)
class Line:
    """One line on the screen."""

    runs: tuple[Run, ...] = ()
    joint: Joint = "\n"
    """What stands between this line and the one before it where the text is copied."""
    decoration: int = 0
    """So many characters at its beginning are not of the text: they are not copied."""
    is_panel: bool = False
    """Is the rest of the line filled with the ground of code?"""

    @property
    def text(self) -> str:
        return "".join(run.text for run in self.runs)


def harmless(text: str) -> str:
    """The text without tabs, and without heaps of combining marks that would paint over their surroundings."""
    if text.isascii():
        return text.replace("\t", TAB)
    return _heaps().sub(lambda heap: heap.group()[:MARKS_ON_A_CHARACTER], text.replace("\t", TAB))


@cache
def _heaps() -> re.Pattern[str]:
    marks = [code for code in range(0x300, 0x3100) if category(chr(code)) in ("Mn", "Me")]
    others = "\u200d\ufe00-\ufe0f\ufe20-\ufe2f"
    return re.compile(f"[{''.join(map(chr, marks))}{others}]{{{MARKS_ON_A_CHARACTER + 1},}}")


def wrapped(runs: Sequence[Run], width: int) -> list[Line]:
    """The text in lines of at most `width` cells, broken between words where that can be. Newlines are kept."""
    return _lines(runs, width, _word_breaks)


def chopped(runs: Sequence[Run], width: int) -> list[Line]:
    """The text in lines of at most `width` cells, broken wherever a line is full, as code must be."""
    return _lines(runs, width, _hard_breaks)


def prefixed(lines: Iterable[Line], first: Run, rest: Run, *, counts_first: bool) -> list[Line]:
    """Lines behind a prefix of their own; `counts_first`: the first prefix, a bullet, is part of the text."""
    return [
        replace(
            line,
            runs=(first if number == 0 else rest, *line.runs),
            decoration=0 if number == 0 and counts_first else len(rest.text) + line.decoration,
        )
        for number, line in enumerate(lines)
    ]


Break = tuple[int, int, Joint]
"""A line: from which character to which, and how it is joined with the line before."""
Breaker = Callable[[str, int], Iterator[Break]]


def _lines(runs: Sequence[Run], width: int, breaks: Breaker) -> list[Line]:
    text = "".join(run.text for run in runs)
    pieces = _Pieces(runs)
    lines, start = [], 0
    for paragraph in text.split("\n"):
        lines += [
            Line(pieces.cut(start + first, start + last), joint) for first, last, joint in breaks(paragraph, width)
        ]
        start += len(paragraph) + 1
    return lines


class _Pieces:
    """Cuts runs into lines; the lines must be asked for in order."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs, self._index, self._start = runs, 0, 0

    def cut(self, first: int, last: int) -> tuple[Run, ...]:
        found = []
        while self._index < len(self._runs) and self._start < last:
            run = self._runs[self._index]
            part = run.text[max(0, first - self._start) : last - self._start]
            if part:
                found.append(run if part == run.text else Run(part, run.look))
            if self._start + len(run.text) > last:
                break
            self._start += len(run.text)
            self._index += 1
        return tuple(found)


def _word_breaks(text: str, width: int) -> Iterator[Break]:
    """Lines of whole words; spaces at a break are dropped."""
    if len(text) <= width and text.isascii():
        yield 0, len(text), "\n"
        return
    start = end = used = 0
    joint: Joint = "\n"
    for match in WORDS.finditer(text):
        spaces, word = match.groups()
        if not word:
            break
        cells = cell_len(word)
        if used + len(spaces) + cells <= width:
            end, used = match.end(), used + len(spaces) + cells
            continue
        begin = match.start(2)
        if cells > width and (width - used - len(spaces)) * ENOUGH_ROOM >= width:
            begin, spaces = start, ""
        elif end > start:
            yield start, end, joint
            joint = " " if spaces else ""
        *full, (start, end) = _chops(text, begin, match.end(), width)
        for first, last in full:
            yield first, last, joint
            joint = ""
        used = cell_len(text[start:end])
    yield start, end, joint


def _hard_breaks(text: str, width: int) -> Iterator[Break]:
    joint: Joint = "\n"
    for first, last in _chops(text, 0, len(text), width):
        yield first, last, joint
        joint = ""


def _chops(text: str, start: int, end: int, width: int) -> list[tuple[int, int]]:
    """The part of the text in pieces of at most `width` cells; characters that belong together stay together."""
    part = text[start:end]
    if part.isascii():
        return [(at, min(at + width, end)) for at in range(start, end, width)] or [(start, end)]
    chops, first, used = [], 0, 0
    for begin, _, cells in split_graphemes(part)[0]:
        if used + cells > width and begin > first:
            chops.append((start + first, start + begin))
            first, used = begin, 0
        used += cells
    return [*chops, (start + first, end)]
