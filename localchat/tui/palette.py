"""The command palette: everything that the app can do now, in words. Made from the bindings, and from the themes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from localchat.text import one_line
from localchat.tui.keymap import spelled, words
from localchat.tui.theme import theme_names

HIDDEN = frozenset({"command_palette", "app.command_palette", "help_quit"})


@dataclass(frozen=True, slots=True)
class Command:
    """Something to do, and the key that does it too."""

    what: str
    key: str
    run: Callable[[], Any]


class Commands(Provider):
    """The actions of the screen on which the palette was opened, those of the app, and the themes."""

    async def search(self, query: str) -> Hits:
        """Those that match what was typed, the best first."""
        matcher = self.matcher(query)
        for command in (*self._actions(), *self._themes()):
            if (score := matcher.match(command.what)) > 0:
                yield Hit(score, _line(command, matcher.highlight(command.what)), command.run, command.what)

    async def discover(self) -> Hits:
        """All but the themes, which would push the others away."""
        for command in self._actions():
            yield DiscoveryHit(_line(command, Content(command.what)), command.run, command.what)

    def _actions(self) -> Iterator[Command]:
        """What the keys do that hold now; moving about in a list or text is no command."""
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            is_told = bool(binding.description) and (binding.show or binding.id is not None)
            if not (is_told and active.enabled) or binding.action in HIDDEN | seen:
                continue
            seen.add(binding.action)
            run = partial(self.app.run_action, binding.action, active.node)
            yield Command(one_line(words(binding), 100), spelled(binding.key), run)

    def _themes(self) -> Iterator[Command]:
        for name in theme_names(self.app.available_themes):
            yield Command(f"Theme: {one_line(name, 60)}", "", partial(self.app.run_action, f"app.wear({name!r})"))


def _line(command: Command, what: Content) -> Content:
    return Content.assemble(what, (f"  {command.key}", "$foreground-muted")) if command.key else what
