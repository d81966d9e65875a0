"""The last line: the keys that make sense now, as many as have room whole, the most important ones first."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

PADDING = 3  # around a key and behind its description
LAST = ("palette", "keys")
"""Ids of the bindings that always have room, at the end."""


class KeyLine(Footer):
    """Textual's footer would cut the last key in the middle. The keys of what has the focus come first."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        if not self._bindings_ready:
            return
        for binding, is_enabled in self._fitting():
            display = self.app.get_key_display(binding)
            yield FooterKey(
                binding.key, display, binding.description, binding.action, disabled=not is_enabled,
                tooltip=binding.tooltip,
            ).data_bind(compact=Footer.compact)  # fmt: skip

    def on_resize(self, event: events.Resize) -> None:
        """Another width has room for other keys."""
        self.call_after_refresh(self.recompose)

    def _fitting(self) -> list[tuple[Binding, bool]]:
        shown: dict[str, tuple[Binding, bool]] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show:
                shown.setdefault(active.binding.action, (active.binding, active.enabled))
        for binding in self._of_app():
            shown.setdefault(binding.action, (binding, True))
        first = [entry for entry in shown.values() if entry[0].id not in LAST]
        last = [entry for entry in shown.values() if entry[0].id in LAST]
        widths = [self._width(binding) for binding, _ in first]
        room = self.size.width - sum(self._width(binding) for binding, _ in last)
        return [*first[: whole(widths, room)], *last]

    def _of_app(self) -> list[Binding]:
        """The keys of the app that hold over modal screens too, which Textual's list of them leaves out."""
        return [
            active.binding
            for active in self.app.screen_stack[0].active_bindings.values()
            if active.binding.id in LAST and active.node is self.app and active.binding.show
        ]

    def _width(self, binding: Binding) -> int:
        return len(self.app.get_key_display(binding)) + len(binding.description) + PADDING


def whole(widths: Sequence[int], room: int) -> int:
    """How many from the first on have room."""
    for count, width in enumerate(widths):
        room -= width
        if room < 0:
            return count
    return len(widths)
