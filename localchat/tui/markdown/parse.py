"""Markdown as a tree of blocks, by markdown-it.

It differs from CommonMark where that would surprise in a chat: HTML is text, a line of dashes is a rule and never makes
the text above it a heading (a list that is just beginning would), and references are text (nothing is ever hidden).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes long to load, and an empty chat needs none of it
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

NESTING = 24
"""How deep blocks may be in one another; markdown-it drops what is deeper."""
TOKENS = 30_000
"""A table of few characters can have ever so many cells."""


@dataclass(slots=True)
class Node:
    """A block with the blocks in it."""

    token: Token
    children: list[Node] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.token.type.removesuffix("_open")


@cache
def markdown() -> MarkdownIt:
    """The parser."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": NESTING})
    return parser.enable(["table", "strikethrough"]).disable(["lheading", "reference", "html_block", "html_inline"])


def pieces(text: str) -> list[tuple[int, int]]:
    """Where the top-level blocks of a text begin and end, in characters.

    Each is the same block when it is parsed alone, and all but the last stay what they are when text is added.
    """
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    return [(starts[first], min(starts[last], len(text))) for first, last in _places(text)]


def _places(text: str) -> Iterator[tuple[int, int]]:
    for token in block_tokens(text):
        if token.level == 0 and token.nesting >= 0 and token.map:
            yield token.map[0], token.map[1]


def tree(text: str) -> list[Node] | None:
    """The blocks of a text; None where they are nested deeper, or are more, than can be shown."""
    tokens = markdown().parse(text)
    is_sane = len(tokens) < TOKENS and all(token.level < NESTING - 1 for token in tokens)
    return _nested(tokens) if is_sane else None


def block_tokens(text: str) -> list[Token]:
    """The blocks as a flat list, without what is in their lines."""
    tokens: list[Token] = []
    markdown().block.parse(text, markdown(), {}, tokens)
    return tokens


def _nested(tokens: list[Token]) -> list[Node]:
    root: list[Node] = []
    open_lists = [root]
    for token in tokens:
        if token.nesting < 0:
            open_lists.pop()
            continue
        node = Node(token)
        open_lists[-1].append(node)
        if token.nesting > 0:
            open_lists.append(node.children)
    return root
