"""The keys of the app's actions, and others in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localchat.errors import LocalchatError
from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.keymap import Action, actions, in_force, key_fault, plain, spelled
from localchat.tui.preferences import Preferences
from localchat.tui.press_screen import PressScreen

KEYS_CELLS = 16


class ActionList(OptionList):
    """Says what Enter does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Press another key", tooltip="Give the action another key")
    ]


class RebindScreen(ModalScreen[None]):
    """Choose an action and press its new key; Delete gives it its usual one back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", tooltip="Back to the settings"),
        Binding("delete", "usual", "Usual key", tooltip="Give the action its usual key back"),
    ]

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        self._actions = actions()

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Keys"), classes="heading")
            yield ActionList(*self._options())
            yield Static(classes="fault")
            yield KeyLine()

    def action_close(self) -> None:
        """Back to the settings."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _ask(self, event: OptionList.OptionSelected) -> None:
        action = self._actions[event.option_id or ""]
        self.app.push_screen(PressScreen(action.what), lambda key: self._take(action, key))

    def action_usual(self) -> None:
        """The highlighted action has the key again that it came with."""
        choices = self.query_one(OptionList)
        if choices.highlighted is not None:
            name = choices.get_option_at_index(choices.highlighted).id or ""
            self._keep({own: keys for own, keys in self._keys.items() if own != name})

    @property
    def _keys(self) -> Mapping[str, str]:
        return self._preferences.current.keys

    def _take(self, action: Action, key: str | None) -> None:
        if key is None:
            return
        if fault := key_fault(plain(key), action, in_force(self._actions, self._keys)):
            self._say(fault)
        else:
            self._keep({**self._keys, action.id: plain(key)})

    def _keep(self, keys: Mapping[str, str]) -> None:
        try:
            self._preferences.change(keys=keys)
        except LocalchatError as error:
            self._say(f"{error}; {error.hint}")
            return
        choices = self.query_one(OptionList)
        highlighted = choices.highlighted
        choices.set_options(self._options())
        choices.highlighted = highlighted
        self._say("")

    def _say(self, fault: str) -> None:
        self.query_one(".fault", Static).update(Content(one_line(f"✗ {fault}", 300) if fault else ""))

    def _options(self) -> list[Option]:
        now = in_force(self._actions, self._keys)
        return [Option(self._line(now[name]), name) for name in sorted(now, key=lambda name: now[name].what)]

    def _line(self, action: Action) -> Content:
        keys = ", ".join(map(spelled, action.keys))
        usual = ", ".join(map(spelled, action.usual))
        changed = f"  (usually {usual})" if usual != keys else ""
        what = one_line(action.what, 60)
        return Content.assemble((f"{keys:{KEYS_CELLS}}", "bold $primary"), what, (changed, "$foreground-muted"))
