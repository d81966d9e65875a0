"""The keys of the screen below, as they are at this moment: made from its bindings, never from a list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, OptionList, Static, TextArea

from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.keymap import spelled, words

PLACES: tuple[tuple[type[DOMNode], str], ...] = (
    (App, "Everywhere"),
    (Screen, "On this screen"),
    (TextArea, "While writing"),
    (Input, "While writing a line"),
    (OptionList, "In the list"),
)
KEYS_CELLS = 16
SELECTING = "(True)"  # the same as the binding without it, with text being selected


@dataclass(frozen=True, slots=True)
class Group:
    """Where some keys hold, and what each does."""

    title: str
    rows: tuple[tuple[str, str], ...]


class KeysScreen(ModalScreen[None]):
    """Shows what each key does; Escape closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", tooltip="Close this page"),
    ]

    def __init__(self, groups: Iterable[Group]) -> None:
        super().__init__()
        self._groups = tuple(groups)

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Keys of this screen"), classes="heading")
            with VerticalScroll():
                for group in self._groups:
                    yield Static(Content(group.title), classes="group")
                    yield Static(_table(group), classes="rows")
            yield KeyLine()

    def action_close(self) -> None:
        """Back to the screen below."""
        self.dismiss(None)


def _table(group: Group) -> Content:
    lines = (
        Content.assemble((f"  {keys:{KEYS_CELLS}}", "bold $primary"), "  ", one_line(what, 120))
        for keys, what in group.rows
    )
    return Content("\n").join(lines)


def groups_of(screen: Screen[Any]) -> list[Group]:
    """The keys of a screen: its own first, the app's, those of what has the focus, those of what else can have it."""
    chain = sorted(screen.focus_chain, key=lambda node: node is not screen.focused)
    nodes: list[DOMNode] = [screen, screen.app, *chain]
    found: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        group = found.setdefault(_title(node), {})
        for binding in _described(screen.app, node):
            keys = group.setdefault(words(binding), [])
            keys.extend(key for key in [spelled(binding.key)] if key not in keys)
    made = [
        Group(title, tuple((", ".join(keys), what) for what, keys in rows.items())) for title, rows in found.items()
    ]
    return [group for group in made if group.rows]


def _title(node: DOMNode) -> str:
    if node.BINDING_GROUP_TITLE and type(node).__module__.startswith("localchat."):
        return node.BINDING_GROUP_TITLE
    known = [title for kind, title in PLACES if isinstance(node, kind)]
    return known[0] if known else f"In the {type(node).__name__.lower()}"


def _described(app: App[Any], node: DOMNode) -> list[Binding]:
    """The bindings that make sense now and say what they do, with the keys that the user gave them."""
    bindings = node._bindings.copy()
    bindings.apply_keymap(app._keymap)
    found = [
        binding
        for _, binding in bindings
        if binding.description
        and not binding.system
        and not binding.action.endswith(SELECTING)
        and app._check_action_state(binding.action, node) is not False
    ]
    return sorted(found, key=lambda binding: not binding.id and not binding.show)  # what Textual binds comes last
