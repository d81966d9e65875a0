"""The text of a message, in one widget: a list of lines, of which only those in view are ever painted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from localchat.tui.markdown.document import Document
from localchat.tui.markdown.lines import Line, Look

INKS = (
    "dim", "heading", "code", "link", "bullet", "frame",
    "comment", "keyword", "string", "number", "name", "added", "removed",
)  # fmt: skip
REST = 4
"""After a repaint so many times as long passes before the next one: streaming takes a fifth of a core at most."""
REST_SECONDS = 0.08
"""And so long at least. Layout and terminal take their time too, and nobody reads faster."""


class Prose(Widget):
    """A message as it was typed, or as Markdown that may still be growing."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"prose--panel", *(f"prose--{ink}" for ink in INKS)}

    def __init__(self, document: Document) -> None:
        super().__init__()
        self._document = document
        self._strips: dict[int, tuple[Line, Strip]] = {}
        self._styles: dict[Look, Style] = {}
        self._height = 0
        self._next_paint: Timer | None = None
        self._rest_until = 0.0

    def changed(self) -> None:
        """The document has changed: show it, soon."""
        wait = self._rest_until - time.monotonic()
        if self._next_paint is None and wait > 0:
            self._next_paint = self.set_timer(wait, self._show)
        elif self._next_paint is None:
            self._show()

    def _show(self) -> None:
        self._next_paint = None
        started = time.monotonic()
        lines = self._document.lines(self._width) if self._width else ()
        ended = time.monotonic()
        self._rest_until = ended + max(REST_SECONDS, REST * (ended - started))
        if not lines or len(lines) != self._height:
            self.refresh(layout=True)
        elif old := [y for y, (line, _) in self._strips.items() if y < len(lines) and line is not lines[y]]:
            self.refresh(Region(0, min(old), self._width, len(lines) - min(old)))

    @property
    def _width(self) -> int:
        return self.content_size.width

    # What Textual asks

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """As wide as there is room."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines."""
        self._height = len(self._document.lines(width)) if width else 0
        return self._height

    def render_line(self, y: int) -> Strip:
        """A line, painted at most once for as long as it stays the same."""
        return self._lines(range(y, y + 1))[0]

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of a part. There is nothing around them, so that Textual need not put them into anything."""
        strips = self._lines(crop.line_range)
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, self.colors[2]) for strip in strips]
        is_whole = crop.column_span == (0, self._width)
        return strips if is_whole else [strip.crop(*crop.column_span) for strip in strips]

    def _lines(self, rows: range) -> list[Strip]:
        width = self._width
        selection = self.text_selection if self.is_attached else None  # one that is being taken away is painted still
        lines = self._document.lines(width)
        strips = []
        for y in rows:
            if y >= len(lines):
                strips.append(Strip.blank(width, self.rich_style))
            elif selection is not None:
                strips.append(self._painted(lines[y], y, selection.get_span(y)))
            else:
                strips.append(self._kept(lines[y], y))
        return strips

    def _kept(self, line: Line, y: int) -> Strip:
        known, strip = self._strips.get(y, (None, None))
        if strip is None or known is not line:
            strip = self._painted(line, y, None)
            self._strips[y] = (line, strip)
        return strip

    def notify_style_update(self) -> None:
        """Another theme, or another state: paint everything anew."""
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text as it reads, without what was put around it and without the breaks of lines."""
        return selected(self._document.lines(self._width), selection), "\n\n"

    # Painting

    def _painted(self, line: Line, y: int, span: tuple[int, int] | None) -> Strip:
        segments = [Segment(run.text, self._style(run.look)) for run in line.runs]
        strip = Strip(segments)
        if span is not None:
            strip = self._marked(strip, line.text, *span)
        ground = self._style(Look(is_on_panel=True)) if line.is_panel else self.rich_style
        return strip.adjust_cell_length(self._width, ground).apply_offsets(0, y)

    def _marked(self, strip: Strip, text: str, start: int, end: int) -> Strip:
        """The strip with these characters as selected ones."""
        style = self.screen.get_component_rich_style("screen--selection")
        end = len(text) if end == -1 else end
        segments, place = [], 0
        for segment in strip:
            first, last = (min(max(0, at - place), len(segment.text)) for at in (start, end))
            pieces = (segment.text[:first], segment.text[first:last], segment.text[last:])
            looks = (segment.style, (segment.style or Style()) + style, segment.style)
            segments += [Segment(piece, look) for piece, look in zip(pieces, looks, strict=True) if piece]
            place += len(segment.text)
        return Strip(segments)

    def _style(self, look: Look) -> Style:
        """The style of a look in this theme."""
        if look not in self._styles:
            _, _, ground, color = self.colors
            if look.is_on_panel:
                ground += self.get_component_styles("prose--panel").background
            if look.ink != "text":
                component = self.get_component_styles(f"prose--{look.ink}")
                ground, color = ground + component.background, component.color
            # Textual's own partial styles forget how transparent a color is: it is mixed here.
            self._styles[look] = self.rich_style + Style(
                color=(ground + color).rich_color, bgcolor=ground.rich_color,
                bold=look.bold or None, italic=look.italic or None, strike=look.strike or None,
                underline=look.underline or None, link=look.link or None,
            )  # fmt: skip
        return self._styles[look]


def selected(lines: Sequence[Line], selection: Selection) -> str:
    """The text of a selection; lines that were one before they were broken are one again."""
    found = ""
    for y, line in enumerate(lines):
        span = selection.get_span(y)
        if span is None:
            continue
        start, end = max(span[0], line.decoration), len(line.text) if span[1] == -1 else span[1]
        found += (line.joint if found else "") + line.text[start:end]
    return found
