"""A bar that is as wide as there is room, and beneath it what its signs mean."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from localchat.tui.meter import Part, legend, meter


class MeterBar(Widget):
    """The parts of one thing."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._parts = parts

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line for the bar, and those of the legend."""
        return 1 + len(legend(self._parts, width))

    def render(self) -> Content:
        width = self.content_size.width
        return Content("\n").join([meter(self._parts, width), *legend(self._parts, width)])
