"""The conversation on the screen: its messages, and which of them is marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.widget import Widget

from localchat.history.store import Saved
from localchat.tui.bubble import Bubble, Shown, bubble_of, message_id, shown
from localchat.tui.window import Window

AROUND = 5
"""A message that is far away is shown with so many before it."""


class Transcript(Window):
    """Messages from top to bottom, one of them marked while this has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "mark(-1)", "Message above", show=False),
        Binding("down,j", "mark(1)", "Message below", show=False),
        Binding("home,g", "first", "First message", show=False),
        Binding("end,G", "last", "Last message", show=False),
        Binding("left,left_square_bracket", "switch(-1)", "Version", key_display="←"),
        Binding("right,right_square_bracket", "switch(1)", "Version", key_display="→"),
    ]
    can_focus = True

    def __init__(self) -> None:
        super().__init__()
        self._mark: Bubble | None = None
        self._dropped: frozenset[int] = frozenset()

    async def show(self, messages: Sequence[Saved]) -> None:
        """Show a conversation in the place of whatever was shown."""
        self._mark, self._dropped = None, frozenset()
        await self.rebuild([shown(message) for message in messages])
        if self.has_focus:
            self.call_after_refresh(self._mark_in_view)

    async def add(self, widget: Widget) -> None:
        """Put a widget at the end."""
        await self.append(widget)

    async def add_saved(self, saved: Saved) -> Bubble:
        """Put a message at the end."""
        bubble = bubble_of(shown(saved))
        await self.append(bubble)
        return bubble

    def learn(self, saved: Saved) -> None:
        """A message may have been pinned, or have got siblings. What it says is not taken from here: it may grow."""
        for items in (self._past, self._future):
            items[:] = [
                shown(saved) if isinstance(item, Shown) and message_id(item) == saved.id else item for item in items
            ]
        for bubble in self.bubbles:
            if message_id(bubble) == saved.id:
                bubble.learn(saved)
        self.refresh_bindings()

    async def remove_after(self, message: int, *, itself: bool = False) -> None:
        """Take away all that stands after a message, and with `itself` the message too."""
        items = self.items
        ids = [message_id(item) for item in items]
        if message in ids:
            await self.rebuild(items[: ids.index(message) + (0 if itself else 1)])

    def set_dropped(self, ids: Collection[int]) -> None:
        """Say of these messages, and of no others, that the model sees them no more."""
        self._dropped = frozenset(ids)
        for bubble in self.bubbles:
            self.made(bubble)

    def made(self, bubble: Bubble) -> None:
        """A message that is not in the model's window says so."""
        bubble.drop(message_id(bubble) in self._dropped)

    # Marking

    @property
    def marked(self) -> Saved | None:
        """The message that keys are about."""
        return self._mark.saved if self._mark in self.bubbles and self._mark is not None else None

    def mark_message(self, message: int) -> None:
        """Mark a message and bring it into view, wherever it is."""
        self.call_later(self._mark_message, message)

    async def _mark_message(self, message: int) -> None:
        if not any(message_id(bubble) == message for bubble in self.bubbles):
            everything = [*self._past, *self._mounted, *self._future]
            found = [index for index, item in enumerate(everything) if message_id(item) == message]
            if not found:
                return
            await self.rebuild(start=max(0, found[0] - AROUND))
        bubble = next((bubble for bubble in self.bubbles if message_id(bubble) == message), None)
        if bubble is None:
            return
        self._set_mark(bubble)
        if self.has_place(bubble):
            self._reveal(bubble, 1)
        else:
            self.hold_at(bubble, 1)

    def action_mark(self, step: int) -> None:
        """Mark the message above or below; one that is higher than the screen is scrolled through first."""
        bubbles = self.bubbles
        if self._mark not in bubbles or not self._is_in_view(self._mark):
            self._mark_in_view()
        elif not self._scroll_within(self._mark, step):
            index = bubbles.index(self._mark) + step
            if 0 <= index < len(bubbles):
                self._set_mark(bubbles[index])
                self._reveal(bubbles[index], step)

    async def action_first(self) -> None:
        """Go to the first message of all and mark it."""
        if self._past:
            await self.rebuild(start=0)
        self.follows = False
        self.scroll_home(animate=False)
        self._set_mark(next(iter(self.bubbles), None))

    async def action_last(self) -> None:
        """Go to the last message, mark it, and follow the end."""
        if self._future:
            await self.rebuild()
        self.follow()
        self._set_mark(next(reversed(self.bubbles), None))

    def action_switch(self, step: int) -> None:
        """Ask for the sibling of the marked message that is `step` further."""
        if (saved := self.marked) is not None:
            self.post_message(Bubble.Switched(saved.id, step))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Versions can be switched where there is one in that direction."""
        if action != "switch":
            return True
        saved, (step,) = self.marked, parameters
        return saved is not None and isinstance(step, int) and 1 <= saved.place + step <= saved.places

    def on_focus(self) -> None:
        if self._mark in self.bubbles and self._mark is not None and self._is_in_view(self._mark):
            self._set_mark(self._mark)
        else:
            self._mark_in_view()

    def on_blur(self) -> None:
        if self._mark is not None:
            self._mark.mark(False)

    def on_click(self, event: events.Click) -> None:
        """Mark what was clicked."""
        ancestors = event.widget.ancestors_with_self if event.widget is not None else []
        if bubble := next((node for node in ancestors if isinstance(node, Bubble)), None):
            self._set_mark(bubble)

    def _set_mark(self, bubble: Bubble | None) -> None:
        if self._mark is not None:
            self._mark.mark(False)
        self._mark = bubble
        if bubble is not None:
            bubble.mark(self.screen.focused is self)  # `has_focus` is told only after `on_focus`
        self.refresh_bindings()

    def _is_in_view(self, bubble: Bubble) -> bool:
        return self.bottom_of(bubble) > self.scroll_y and self.top_of(bubble) < self.scroll_y + self.size.height

    def _mark_in_view(self) -> None:
        """Mark the lowest message that is in view."""
        bubbles = self.bubbles
        in_view = [bubble for bubble in bubbles if self._is_in_view(bubble)]
        self._set_mark(next(reversed(in_view or bubbles), None))

    def _scroll_within(self, bubble: Bubble, step: int) -> bool:
        """Scroll on in a message of which there is more in that direction."""
        page = self.size.height
        hidden = self.bottom_of(bubble) - self.scroll_y - page if step > 0 else self.scroll_y - self.top_of(bubble)
        if hidden > 0:
            self.scroll_to(y=self.scroll_y + step * min(hidden, page // 2), animate=False)
        return hidden > 0

    def _reveal(self, bubble: Bubble, step: int) -> None:
        """Bring a message into view; of a long one the end that comes first in that direction."""
        top, bottom, page = self.top_of(bubble), self.bottom_of(bubble), self.size.height
        if bottom - top > page:
            self.scroll_to(y=top - 1 if step > 0 else bottom - page, animate=False)
        elif top < self.scroll_y + 1:
            self.scroll_to(y=top - 1, animate=False)
        elif bottom > self.scroll_y + page:
            self.scroll_to(y=bottom - page, animate=False)
