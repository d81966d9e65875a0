"""Facts on one thing, as a page to read: a title, a column of facts, and paragraphs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from textual.content import Content

from localchat.text import clean, one_line

LABEL_CELLS = 12


def card(title: str, *parts: Content) -> Content:
    """A page: its title and its parts, with an empty line between them; empty parts are left out."""
    return Content("\n\n").join(
        [Content.styled(one_line(title, 120), "bold $primary"), *(part for part in parts if part)]
    )


def facts(*pairs: tuple[str, str]) -> Content:
    """A column of labels and what they are; those without anything are left out."""
    return Content("\n").join(
        Content.assemble((f"{label:{LABEL_CELLS}}  ", "$foreground-muted"), one_line(value, 300))
        for label, value in pairs
        if value
    )


def moment(text: str) -> str:
    """A time of a receipt as people here read it; what is none stays as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return one_line(text, 40)


def said(heading: str, lines: Iterable[str]) -> Content:
    """Sentences below a heading, or nothing where there are none."""
    found = [Content(one_line(line, 2000)) for line in lines if line]
    if not found:
        return Content("")
    return Content("\n").join([Content.styled(heading, "$accent"), *(Content("· ") + line for line in found)])


def plain(text: str, style: str = "") -> Content:
    """A paragraph."""
    return Content.styled(clean(text), style) if style else Content(clean(text))
