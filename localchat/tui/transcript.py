"""The conversation on the screen. It follows its end for as long as the reader is at the end."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button

from localchat.history.store import Saved
from localchat.tui.bubble import Bubble
from localchat.tui.welcome import Welcome

SHOWN_AT_ONCE = 20  # each message of Markdown costs some 50 ms to mount


class Transcript(VerticalScroll):
    """Messages from top to bottom; of a long conversation the last ones, the others on request."""

    can_focus = True

    def __init__(self) -> None:
        super().__init__()
        self._earlier: list[Saved] = []

    def compose(self) -> ComposeResult:
        # At least as high as the screen: Textual scrolls an anchored container with less in it above its top.
        with Vertical(classes="column"):
            yield Welcome()

    def on_mount(self) -> None:
        self.anchor()

    async def show(self, messages: Sequence[Saved]) -> None:
        """Show a conversation in the place of whatever was shown."""
        await self._column.remove_children()
        self._earlier = list(messages[:-SHOWN_AT_ONCE])
        shown = list(messages[-SHOWN_AT_ONCE:])
        await self._column.mount_all([*self._button(), *map(_bubble, shown)] if messages else [Welcome()])
        self.anchor()

    async def add(self, widget: Widget) -> None:
        """Put a widget at the end."""
        await self.query(Welcome).remove()
        await self._column.mount(widget)

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """Show more of what was said earlier."""
        if not event.button.has_class("earlier"):
            return
        event.stop()
        below = self.max_scroll_y - self.scroll_y
        more, self._earlier = self._earlier[-SHOWN_AT_ONCE:], self._earlier[:-SHOWN_AT_ONCE]
        await self._column.mount_all([*self._button(), *map(_bubble, more)], before=event.button)
        await event.button.remove()
        # What was on the screen stays there; the older messages are above it.
        self.call_after_refresh(lambda: self.scroll_to(y=self.max_scroll_y - below, animate=False))

    @property
    def _column(self) -> Vertical:
        return self.query_one(".column", Vertical)

    def _button(self) -> list[Button]:
        label = Content(f"↑ {len(self._earlier)} earlier messages")
        return [Button(label, classes="earlier", compact=True)] if self._earlier else []


def _bubble(message: Saved) -> Bubble:
    speaker = {"user": "You", "system": "System"}.get(message.role, message.model)
    return Bubble(message.role, speaker, message.text, message.state)
