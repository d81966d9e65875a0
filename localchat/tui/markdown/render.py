"""A block of Markdown as lines of a width. Pure, and bounded in time whatever the text is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from localchat.tui.markdown.code import language_of, panel
from localchat.tui.markdown.inline import runs_of
from localchat.tui.markdown.lines import PLAIN, Line, Look, Run, harmless, prefixed, wrapped
from localchat.tui.markdown.parse import Node, block_tokens, tree
from localchat.tui.markdown.table import Table, drawn

BLOCK_CHARACTERS = 20_000
"""A longer block is shown as plain text: that takes a time that grows with its length only."""
NARROW = 10
"""Text is not indented where it would have fewer cells than this."""
BULLETS = "•◦▪"
CHECKED = {"[ ] ": "[ ]", "[x] ": "[x]", "[X] ": "[x]"}
HEADINGS = (
    Look("heading", bold=True, underline=True), Look("heading", bold=True), Look("heading", bold=True, italic=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands."""

    width: int
    depth: int = 0
    """In how many lists."""


def rendered(text: str, width: int) -> list[Line]:
    """A top-level block of Markdown, without the blank lines around it."""
    if len(text) > BLOCK_CHARACTERS:
        return _long(text, width)
    nodes = tree(text)
    return as_typed(text.strip("\n"), width) if nodes is None else _stacked(nodes, Place(width))


def _long(text: str, width: int) -> list[Line]:
    """Code is still on its panel; what else is long is shown as it is."""
    first = next(iter(block_tokens(text)), None)
    return panel(first.content, language_of(first), width) if first and first.type == "fence" else as_typed(text, width)


def as_typed(text: str, width: int) -> list[Line]:
    """Text that is no Markdown."""
    return wrapped([Run(harmless(text))], width)


def _stacked(nodes: Sequence[Node], place: Place) -> list[Line]:
    """Blocks below one another, with blank lines between them where they are not of a dense list."""
    lines: list[Line] = []
    was_dense = True
    for node in nodes:
        is_dense = node.token.hidden or (was_dense and node.kind.endswith("list"))
        if lines and not is_dense:
            lines.append(Line())
        lines += BLOCKS.get(node.kind, _others)(node, place)
        was_dense = node.token.hidden
    return lines


def _paragraph(node: Node, place: Place) -> list[Line]:
    return wrapped(_inline(node), place.width)


def _inline(node: Node, look: Look = PLAIN) -> list[Run]:
    return [run for child in node.children for run in runs_of(child.token.children or (), look)]


def _heading(node: Node, place: Place) -> list[Line]:
    level = int(node.token.tag[1:])
    return wrapped(_inline(node, HEADINGS[min(level, len(HEADINGS)) - 1]), place.width)


def _rule(_: Node, place: Place) -> list[Line]:
    return [Line((Run("─" * place.width, Look("frame")),))]


def _code(node: Node, place: Place) -> list[Line]:
    return panel(node.token.content, language_of(node.token), place.width)


def _quote(node: Node, place: Place) -> list[Line]:
    if place.width - 2 < NARROW:
        return _stacked(node.children, place)
    bar = Run("▎ ", Look("frame"))
    return prefixed(_stacked(node.children, replace(place, width=place.width - 2)), bar, bar, counts_first=False)


def _bullets(node: Node, place: Place) -> list[Line]:
    bullet = BULLETS[place.depth % len(BULLETS)]
    return _items(node, [bullet] * len(node.children), place)


def _numbers(node: Node, place: Place) -> list[Line]:
    start = int(node.token.attrs.get("start", 1))
    labels = [f"{start + index}." for index in range(len(node.children))]
    longest = max(map(len, labels), default=0)
    return _items(node, [label.rjust(longest) for label in labels], place)


def _items(node: Node, labels: Sequence[str], place: Place) -> list[Line]:
    lines: list[Line] = []
    parts = [part for item in node.children for part in item.children]
    is_dense = all(part.token.hidden for part in parts if part.kind == "paragraph")
    for item, label in zip(node.children, labels, strict=True):
        if lines and not is_dense:
            lines.append(Line())
        lines += _item(item, label, place)
    return lines


def _item(item: Node, label: str, place: Place) -> list[Line]:
    label = _take_check(item) or label
    bullet = Run(f"{label} ", Look("bullet"))
    inside = place.width - len(bullet.text)
    if inside < NARROW:
        return wrapped([bullet], place.width) + _stacked(item.children, replace(place, depth=place.depth + 1))
    lines = _stacked(item.children, Place(inside, place.depth + 1)) or [Line()]
    return prefixed(lines, bullet, Run(" " * len(bullet.text)), counts_first=True)


def _take_check(item: Node) -> str:
    """The box of a task, taken from the beginning of its text."""
    inline = item.children[0].children[0].token if item.children and item.children[0].children else None
    first = inline.children[0] if inline and inline.children else None
    found = CHECKED.get(first.content[:4], "") if first and first.type == "text" else ""
    if found and first:
        first.content = first.content[4:]
    return found


def _table(node: Node, place: Place) -> list[Line]:
    rows = [row for part in node.children for row in part.children]
    cells: list[list[Sequence[Run]]] = [
        [_inline(cell, Look(bold=cell.kind == "th")) for cell in row.children] for row in rows
    ]
    aligned = ["right" in str(cell.token.attrs.get("style", "")) for cell in rows[0].children]
    return drawn(Table(cells, aligned), place.width)


def _others(node: Node, place: Place) -> list[Line]:
    return _stacked(node.children, place) if node.children else as_typed(node.token.content, place.width)


BLOCKS: dict[str, Callable[[Node, Place], list[Line]]] = {
    "paragraph": _paragraph, "heading": _heading, "hr": _rule, "fence": _code, "code_block": _code,
    "blockquote": _quote, "bullet_list": _bullets, "ordered_list": _numbers, "table": _table,
}  # fmt: skip
