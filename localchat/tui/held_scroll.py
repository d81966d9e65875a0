"""A column that scrolls without jumps: it stays at its end, or else keeps what is in view where it is."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.geometry import Region, Size
from textual.layout import DockArrangeResult
from textual.scrollbar import ScrollBar
from textual.widget import Widget


class HeldScroll(VerticalScroll):
    """Scrolls with its content when that grows, shrinks, comes or goes.

    The place is settled while the content is arranged, before anything is painted: a correction afterwards would be
    seen as a jump. (Textual's own anchor works there too; it knows the end only, and wants more content than fits.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.follows = True
        """Is the reader at the end? Then it is followed."""
        self._places: dict[Widget, Region] = {}
        self._held: tuple[Widget, int] | None = None
        """What is at the top of the view, and how far below the top it begins."""

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.follows = True
        self.scroll_y = self.scroll_target_y = self.max_scroll_y
        self.refresh(layout=True)

    def settled(self) -> None:
        """Called after a place was settled in which `follows` or the ends changed, and after each scrolling."""

    def has_place(self, widget: Widget) -> bool:
        """Has it been arranged?"""
        return widget in self._places

    def top_of(self, widget: Widget) -> int:
        """The first line of a widget, from the beginning of the content; 0 before it has its place."""
        return self._places[widget].y if widget in self._places else 0

    def bottom_of(self, widget: Widget) -> int:
        """The line after a widget."""
        return self._places[widget].bottom if widget in self._places else 0

    def is_near(self, widget: Widget) -> bool:
        """Is it in view, or within a page of that?"""
        page = self.size.height
        return self.bottom_of(widget) >= self.scroll_y - page and self.top_of(widget) <= self.scroll_y + 2 * page

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Arrange the content, and settle the place before anything is painted."""
        arrangement = super().arrange(size, optimal)
        if not optimal:
            self._places = {place.widget: place.region for place in arrangement.placements if not place.fixed}
            self._settle(max(0, arrangement.total_region.bottom - size.height))
        return arrangement

    def _settle(self, end: int) -> None:
        place = end
        if not self.follows:
            widget, below = self._held or (None, 0)
            place = self._places[widget].y - below if widget in self._places else round(self.scroll_y)
        place = min(max(0, place), end)
        if place != round(self.scroll_y):
            self.set_reactive(Widget.scroll_y, float(place))
            self.set_reactive(Widget.scroll_target_y, float(place))
            if self.show_vertical_scrollbar:
                self.vertical_scrollbar.set_reactive(ScrollBar.position, place)
                self.vertical_scrollbar.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The reader scrolls: hold what is at the top now, or follow the end again."""
        super().watch_scroll_y(old_value, new_value)
        self.follows = round(new_value) >= self.max_scroll_y
        self.hold()
        self.settled()

    def hold_at(self, widget: Widget, below: int) -> None:
        """Bring a widget, which may have no place yet, so many lines below the top of the view."""
        self.follows, self._held = False, (widget, below)
        self.refresh(layout=True)

    def hold(self) -> None:
        """Hold what is at the top of the view."""
        top = round(self.scroll_y)
        for widget, region in self._places.items():
            if region.bottom > top and region.height:
                self._held = widget, region.y - top
                return
