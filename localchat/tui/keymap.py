"""The user's own keys for the app's actions: which actions there are, and which keys can be theirs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, key_to_character
from textual.widgets import TextArea

import localchat.tui
from localchat.text import one_line

MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "meta", "hyper"})
ALIKE = {
    "ctrl+i": "tab", "ctrl+m": "enter", "ctrl+h": "backspace", "ctrl+[": "escape",
    "ctrl+left_square_bracket": "escape",
}  # fmt: skip
"""Terminals send the same for these pairs."""
NEEDED = frozenset({
    "enter", "tab", "shift+tab", "escape", "space", "backspace", "delete", "up", "down", "left", "right", "home", "end",
    "pageup", "pagedown", "return", "ctrl+c", "ctrl+j",
})  # fmt: skip
"""Keys without which nobody can move, write, copy or leave."""
NAMES = frozenset(key.value for key in Keys if not key.value.startswith("<"))
SPELLED = {
    "escape": "Esc", "pageup": "PgUp", "pagedown": "PgDn", "delete": "Del", "up": "↑", "down": "↓", "left": "←",
    "right": "→",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a key does, and that the user may give another key."""

    id: str
    what: str
    keys: tuple[str, ...]
    place: str
    """The class whose key it is; the same key may do different things in different places."""
    usual: tuple[str, ...]
    """The keys that it comes with."""
    is_priority: bool = False

    def shares(self, other: Action) -> bool:
        """Do these come with the same key, because only one of them makes sense at a time?"""
        return self.place == other.place and bool({*self.usual} & {*other.usual})


def actions() -> dict[str, Action]:
    """Every action with an id, of all screens and widgets of the app."""
    for module in pkgutil.walk_packages(localchat.tui.__path__, "localchat.tui."):
        importlib.import_module(module.name)
    found: dict[str, Action] = {}
    for owner in _classes(DOMNode):
        for binding in owner.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.id and owner.__module__.startswith("localchat."):
                found.setdefault(binding.id, _action(binding, owner.__name__))
    return found


def _classes(top: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for below in top.__subclasses__():
        yield below
        yield from _classes(below)


def _action(binding: Binding, place: str) -> Action:
    keys = tuple(plain(key) for key in binding.key.split(","))
    assert binding.id is not None, "only bindings with an id are actions"
    return Action(binding.id, words(binding), keys, place, keys, binding.priority)


def words(binding: Binding) -> str:
    """What a key does, in as many words as there are."""
    return binding.tooltip or binding.description


def plain(key: str) -> str:
    """A key by the name that Textual has for it: `question_mark` for `?`, `upper_a` for `A`."""
    key = key.strip()
    return next(iter(Binding.make_bindings([Binding(key, "")]))).key if len(key) == 1 else key.lower()


def key_fault(key: str, action: Action, known: Mapping[str, Action]) -> str:
    """What stands against this key for the action, or nothing. `known` are all actions with the keys in force."""
    if key not in action.usual and (fault := _unusable(key, action)):
        return fault
    for other in known.values():
        is_near = action.place == other.place or action.is_priority or other.is_priority
        if key in other.keys and is_near and not action.shares(other):
            return f"{spelled(key)} is the key of another action: {one_line(other.what, 60)}"
    return ""


def _unusable(key: str, action: Action) -> str:
    *modifiers, last = key.split("+")
    if not (set(modifiers) <= MODIFIERS and last and (len(last) == 1 or last in NAMES or key_to_character(last))):
        return f"there is no key {one_line(key, 40)!r}; keys are written like ctrl+g, f8 or alt+x"
    if key in ALIKE:
        return f"terminals send {spelled(key)} as {spelled(ALIKE[key])}"
    if key in NEEDED:
        return f"{spelled(key)} is needed for moving, writing and leaving"
    if modifiers == ["shift"] and len(last) == 1:
        return f"terminals send {spelled(key)} as a capital letter: write that"
    is_typed = not modifiers and key_to_character(key) is not None
    if is_typed and not any(key_to_character(usual) and "+" not in usual for usual in action.keys):
        return f"{spelled(key)} would be written into the input instead"
    if not action.is_priority and key in _editing():
        return f"{spelled(key)} edits text in the input"
    return ""


def _editing() -> frozenset[str]:
    bindings = (binding for binding in TextArea.BINDINGS if isinstance(binding, Binding))
    return frozenset(plain(key) for binding in bindings for key in binding.key.split(","))


def keymap(keys: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Of the user's keys those that can be, as Textual takes them, and a sentence on each of the others."""
    if not keys:
        return {}, []
    known = actions()
    now, good = in_force(known, keys), {}
    faults = [f"keys: there is no action {one_line(name, 40)!r}" for name in keys if name not in known]
    for name in keys.keys() & known.keys():
        found = [fault for key in now[name].keys if (fault := key_fault(key, known[name], now))]
        faults.extend(f"keys.{name}: {fault}" for fault in found)
        if not found:
            good[name] = ",".join(now[name].keys)
    # Textual takes a key away from all actions that share it as soon as one of them gets another.
    sharers = [action for action in known.values() for name in good if action.shares(known[name])]
    return {**{action.id: ",".join(action.usual) for action in sharers}, **good}, faults


def in_force(known: Mapping[str, Action], keys: Mapping[str, str]) -> dict[str, Action]:
    """The actions with the keys that the user gave them."""
    own = {name: tuple(map(plain, text.split(","))) for name, text in keys.items()}
    return {name: replace(action, keys=own.get(name, action.keys)) for name, action in known.items()}


def spelled(key: str) -> str:
    """A key as people read it: `Ctrl+G`, `?`, `F2`, `↑`."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    character = key_to_character(last) if len(last) > 1 and last != "space" else None
    if len(last) == 1:
        name = last.upper() if modifiers else last
    else:
        name = SPELLED.get(last) or (character if character and character.isprintable() else last.capitalize())
    return "+".join([*(modifier.capitalize() for modifier in modifiers), name])
