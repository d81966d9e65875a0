"""Tables: drawn with lines where they fit, else as a list of what each row says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from localchat.tui.markdown.lines import Line, Look, Run, wrapped

NARROWEST = 5
"""A column that must shrink keeps so many cells."""
FRAME = Look("frame")
Cell = Sequence[Run]


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table; the first row is its heading."""

    rows: list[list[Cell]]
    aligned_right: list[bool]


def drawn(table: Table, width: int) -> list[Line]:
    """The table in lines of at most `width` cells."""
    columns = len(table.rows[0])
    natural = [max(_cells(row[column]) for row in table.rows) for column in range(columns)]
    widths = shrunk(natural, width - 3 * columns - 1)
    return _boxes(table, widths) if widths else _sentences(table, width)


def shrunk(natural: Sequence[int], room: int) -> list[int]:
    """Widths of columns that fit into the room: the widest shrink first. Empty where they cannot."""
    if sum(min(each, NARROWEST) for each in natural) > room:
        return []
    cap = max(natural, default=0)
    while sum(min(each, cap) for each in natural) > room:
        cap -= 1
    widths = [max(1, min(each, cap)) for each in natural]
    for column, each in enumerate(natural):
        if each > widths[column] and sum(widths) < room:
            widths[column] += 1
    return widths


def _cells(cell: Cell) -> int:
    return max(1, cell_len("".join(run.text for run in cell)))


def _boxes(table: Table, widths: Sequence[int]) -> list[Line]:
    rows = [[wrapped(cell, width) for cell, width in zip(row, widths, strict=True)] for row in table.rows]
    is_tall = any(len(cell) > 1 for row in rows for cell in row)
    lines = [_rule("┌┬┐", widths), *_row(rows[0], widths, table), _rule("├┼┤", widths)]
    for number, row in enumerate(rows[1:]):
        if number and is_tall:
            lines.append(_rule("├┼┤", widths))
        lines += _row(row, widths, table)
    return [*lines, _rule("└┴┘", widths)]


def _rule(corners: str, widths: Sequence[int]) -> Line:
    inside = corners[1].join("─" * (width + 2) for width in widths)
    return Line((Run(corners[0] + inside + corners[2], FRAME),))


def _row(cells: Sequence[list[Line]], widths: Sequence[int], table: Table) -> list[Line]:
    height = max(map(len, cells))
    bar = Run("│ ", FRAME)
    lines = []
    for number in range(height):
        runs: list[Run] = []
        for cell, width, is_right in zip(cells, widths, table.aligned_right, strict=True):
            line = cell[number] if number < len(cell) else Line()
            room = Run(" " * (width - cell_len(line.text)))
            runs += [bar, *([room, *line.runs] if is_right else [*line.runs, room]), Run(" ")]
        lines.append(Line((*runs, Run("│", FRAME))))
    return lines


def _sentences(table: Table, width: int) -> list[Line]:
    """Each cell on a line of its own behind the heading of its column."""
    heading, *rows = table.rows
    lines: list[Line] = []
    nothing: list[Cell] = [()] * len(heading)
    for number, row in enumerate(rows or [nothing]):
        if number:
            lines.append(Line())
        for name, cell in zip(heading, row, strict=True):
            title = [Run(run.text, replace(run.look, bold=True)) for run in name]
            lines += wrapped([*title, Run(": "), *cell], width)
    return lines
