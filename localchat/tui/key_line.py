"""The last line: the keys that make sense now, as many as have room whole, the most important ones first.

One widget paints them all: Textual's own footer mounts one for each key, anew whenever another key makes sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

PADDING = 3  # around a key and behind its description
LAST = ("palette", "keys")
"""Ids of the bindings that always have room, at the end."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A key as it is shown."""

    key: str
    display: str
    description: str
    tooltip: str
    is_last: bool

    @property
    def cells(self) -> int:
        """Its width with what is around it."""
        return len(self.display) + len(self.description) + PADDING


class KeyLine(Widget):
    """The keys of what has the focus come first. A click presses a key."""

    hints: reactive[tuple[Hint, ...]] = reactive(())
    pointed: reactive[Hint | None] = reactive(None)
    """What the mouse is over."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self._look())
        self.call_after_refresh(self._look)

    def on_resize(self) -> None:
        """Another width has room for other keys."""
        self._look()

    def render(self) -> Content:
        return Content.assemble(*(part for hint in self.hints for part in self._parts(hint)))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """What a key does is told in full."""
        self.pointed = self._at(event.x)
        self.tooltip = self.pointed.tooltip if self.pointed is not None else None

    def on_leave(self) -> None:
        self.pointed = None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Press the key."""
        if (hint := self._at(event.x)) is not None:
            self.app.simulate_key(hint.key)

    def _parts(self, hint: Hint) -> tuple[tuple[str, str], tuple[str, str]]:
        under = " on $foreground 10%" if hint == self.pointed else ""
        return (
            (f" {hint.display} ", f"bold $footer-key-foreground{under}"),
            (f"{hint.description} ", f"$footer-description-foreground{under}"),
        )

    def _at(self, x: int) -> Hint | None:
        start = self.gutter.left
        for hint in self.hints:
            if start <= x < start + hint.cells:
                return hint
            start += hint.cells
        return None

    def _look(self) -> None:
        """See which keys there are, and which have room."""
        if self.is_attached and self.screen.is_attached:
            self.hints = fitting(self._shown(), self.content_size.width)

    def _shown(self) -> list[Hint]:
        shown: dict[str, Binding] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show and active.enabled:
                shown.setdefault(active.binding.action, active.binding)
        for active in self.app.screen_stack[0].active_bindings.values():
            # Textual's list leaves out the keys of the app that hold over modal screens too.
            if active.node is self.app and active.binding.id in LAST and active.binding.show:
                shown.setdefault(active.binding.action, active.binding)
        return [self._hint(binding) for binding in shown.values()]

    def _hint(self, binding: Binding) -> Hint:
        display = self.app.get_key_display(binding)
        tooltip = binding.tooltip or binding.description
        return Hint(binding.key, display, binding.description, tooltip, binding.id in LAST)


def fitting(hints: Sequence[Hint], room: int) -> tuple[Hint, ...]:
    """Those that have room whole, from the first on, and at the end the last ones, which always have."""
    last = [hint for hint in hints if hint.is_last]
    left = room + 1 - sum(hint.cells for hint in last)  # the last space of all is nothing to see
    found: list[Hint] = []
    for hint in hints:
        left -= 0 if hint.is_last else hint.cells
        if left < 0:
            break
        found += [] if hint.is_last else [hint]
    return (*found, *last)
