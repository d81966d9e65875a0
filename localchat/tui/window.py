"""A window onto a long conversation: only the messages near the view are widgets, the others are values."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Region, Size
from textual.layout import DockArrangeResult
from textual.widget import Widget
from textual.widgets import Button

from localchat.tui.bubble import Bubble, Shown, bubble_of
from localchat.tui.held_scroll import HeldScroll
from localchat.tui.note import Note
from localchat.tui.welcome import Welcome

SHOWN_AT_ONCE = 20
MOUNTED = 30
"""So many messages stay mounted; more only where more are in view or within a page of it."""

Item = Shown | Widget
"""A message, or a widget: one that is mounted, or one that comes when the reader comes near."""


class Window(HeldScroll):
    """Mounts messages where the reader comes near them, and takes away those that are far."""

    def __init__(self) -> None:
        super().__init__()
        self._past: list[Item] = []
        self._future: list[Item] = []
        self._changes = asyncio.Lock()  # the screen and the reader change what is mounted
        self._is_filling = False
        self._has_news = False
        self._last: tuple[Widget, Region] | None = None

    def compose(self) -> ComposeResult:
        yield _edge("earlier")
        yield Welcome()
        yield _edge("later")

    def on_mount(self) -> None:
        self.settled()

    @property
    def bubbles(self) -> list[Bubble]:
        """The messages that are mounted."""
        return [child for child in self.children if isinstance(child, Bubble)]

    @property
    def items(self) -> list[Item]:
        """Everything from the first to the last, to be mounted anew: what is still written goes on in these."""
        return [*self._past, *map(_aside, self._mounted), *self._future]

    async def rebuild(self, items: Sequence[Item] | None = None, start: int | None = None) -> None:
        """Show these in the place of what was shown, or the same anew: from this one on, or else their end."""
        async with self._changes:
            items = self.items if items is None else items
            first = max(0, len(items) - SHOWN_AT_ONCE) if start is None else start
            last = first + SHOWN_AT_ONCE
            with self.app.batch_update():
                self._past, self._future = list(items[:first]), list(items[last:])
                await self.remove_children([*self._mounted, *self.query(Welcome)])
                self._held, self._has_news, self.follows = None, False, start is None
                await self._put(items[first:last] or [Welcome()], before=self._edges[1])
        self._settle_soon()

    async def append(self, widget: Widget) -> None:
        """Put a widget at the end; where the end is far from the view, it is mounted later."""
        async with self._changes:
            self._has_news = not self.follows
            if self._future:
                self._future.append(widget)
            else:
                await self.query(Welcome).remove()
                await self._put([widget], before=self._edges[1])
                await self._trim(at_start=True)
        self._settle_soon()

    def made(self, bubble: Bubble) -> None:
        """Called with each bubble that is about to be mounted."""

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._has_news = False
        if self._future:
            self.call_later(self.rebuild)
        super().follow()
        self.settled()

    def settled(self) -> None:
        """Say what is above and below, and get more of it where the reader is near."""
        self._tell_edges()
        if not self._is_filling and (self._is_near_start or self._is_near_end):
            self._is_filling = True
            self.call_later(self._fill)

    def _tell_edges(self) -> None:
        earlier, later = self._edges
        _tell(earlier, f"↑ {len(self._past):,} earlier messages" if self._past else "")
        news = "↓ new text below · End" if self._has_news else "↓ to the end · End"
        _tell(later, "" if self.follows and not self._future else news)
        self._has_news = self._has_news and not self.follows

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Arrange the messages, and notice when the last one grows out of the reader's sight."""
        arrangement = super().arrange(size, optimal)
        place = next(((last, self._places[last]) for last in self._mounted[-1:] if last in self._places), None)
        was, self._last = self._last, place
        if was and place and was[0] is place[0] and was[1].width == place[1].width and was[1].height < place[1].height:
            self._notice_news()
        return arrangement

    def _notice_news(self) -> None:
        if not self.follows and not self._has_news:
            self._has_news = True
            self.call_later(self._tell_edges)

    @on(Button.Pressed, ".earlier")
    async def _show_earlier(self, event: Button.Pressed) -> None:
        event.stop()
        self.follows = False
        self.hold()
        await self._mount_earlier()
        self._settle_soon()

    @on(Button.Pressed, ".later")
    def _show_end(self, event: Button.Pressed) -> None:
        event.stop()
        self.follow()

    # What is mounted

    @property
    def _edges(self) -> tuple[Button, Button]:
        return self.query_one(".earlier", Button), self.query_one(".later", Button)

    @property
    def _mounted(self) -> list[Widget]:
        return [child for child in self.children if not isinstance(child, Button | Welcome)]

    @property
    def _is_near_start(self) -> bool:
        return bool(self._past) and bool(self._places) and self.scroll_y < self.size.height

    @property
    def _is_near_end(self) -> bool:
        return bool(self._future) and self.max_scroll_y - self.scroll_y < self.size.height

    async def _fill(self) -> None:
        try:
            if self._is_near_start:
                await self._mount_earlier()
            elif self._is_near_end:
                await self._mount_later()
        finally:
            self._is_filling = False
        self._settle_soon()

    def _settle_soon(self) -> None:
        """Say what is above and below, and look again when everything has its place."""
        self._tell_edges()
        self.call_after_refresh(self.settled)

    async def _mount_earlier(self) -> None:
        async with self._changes:
            with self.app.batch_update():
                more, self._past = self._past[-SHOWN_AT_ONCE:], self._past[:-SHOWN_AT_ONCE]
                await self._put(more, after=self._edges[0])
                await self._trim(at_start=False)

    async def _mount_later(self) -> None:
        async with self._changes:
            with self.app.batch_update():
                more, self._future = self._future[:SHOWN_AT_ONCE], self._future[SHOWN_AT_ONCE:]
                await self._put(more, before=self._edges[1])
                await self._trim(at_start=True)

    async def _put(self, items: Iterable[Item], **where: Widget) -> None:
        widgets = [item if isinstance(item, Widget) else bubble_of(item) for item in items]
        for widget in widgets:
            if isinstance(widget, Bubble):
                self.made(widget)
        await self.mount_all(widgets, **where)

    async def _trim(self, *, at_start: bool) -> None:
        """Take away what is far from the view at one end."""
        mounted = self._mounted
        spare = mounted[: len(mounted) - MOUNTED] if at_start else mounted[MOUNTED:][::-1]
        far: list[Widget] = []
        for widget in spare:
            if self.is_near(widget) or widget not in self._places:
                break
            far.append(widget)
        if at_start:
            self._past += map(_aside, far)
        else:
            self._future[:0] = map(_aside, far[::-1])
        await self.remove_children(far)


def _aside(widget: Widget) -> Item:
    """What is kept of a widget that is taken away. A reply that is still being written goes on in another bubble."""
    if not isinstance(widget, Bubble):
        return widget.again() if isinstance(widget, Note) else widget
    return widget.again() if widget.shown.is_growing else widget.shown


def _edge(name: str) -> Button:
    """A line at one end of the window. The keyboard has Home and End for it."""
    button = Button(Content(""), classes=name, compact=True)
    button.can_focus = button.display = False
    return button


def _tell(edge: Button, text: str) -> None:
    """Show the text there, or nothing."""
    edge.display = bool(text)
    if text and str(edge.label) != text:
        edge.label = Content(text)
