"""Bars whose parts differ by their signs, so that they can be read without color. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from localchat.text import size

GAP = "   "


@dataclass(frozen=True, slots=True)
class Kind:
    """What a part of a bar is: its name, the sign that fills it, and its style."""

    name: str
    sign: str
    style: str


@dataclass(frozen=True, slots=True)
class Part:
    """So much of a kind."""

    kind: Kind
    amount: int


def meter(parts: Sequence[Part], cells: int) -> Content:
    """A bar of so many cells; each part has its share, and what is there at all is seen."""
    widths = lengths([part.amount for part in parts], cells)
    return Content.assemble(
        *((part.kind.sign * width, part.kind.style) for part, width in zip(parts, widths, strict=True) if width)
    )


def lengths(amounts: Sequence[int], cells: int) -> list[int]:
    """Whole cells for each amount, together `cells`: at least one for each that is not 0, taken from the longest."""
    total = sum(amounts)
    if total <= 0 or cells <= 0:
        return [0 for _ in amounts]
    exact = [cells * amount / total for amount in amounts]
    found = [max(int(part), 1 if part > 0 else 0) for part in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: int(exact[index]) - exact[index])
    for index in by_rest[: max(0, cells - sum(found))]:
        found[index] += 1
    while sum(found) > cells:
        found[found.index(max(found))] -= 1
    return found


def legend(parts: Sequence[Part], width: int) -> list[Content]:
    """Each part with its sign, its name and its bytes, in lines of so many cells; no part is broken."""
    lines: list[Content] = []
    for part in parts:
        if not part.amount:
            continue
        words = Content.assemble((part.kind.sign, part.kind.style), f" {part.kind.name} {size(part.amount)}")
        longer = Content(GAP).join((lines[-1], words)) if lines else words
        if lines and longer.cell_length <= width:
            lines[-1] = longer
        else:
            lines.append(words)
    return lines
