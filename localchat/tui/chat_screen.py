"""The chat: everything that can be done in it.

Other screens are imported when they are asked for: the first one should be there at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.binding import Binding, BindingType

from localchat.library import Installed
from localchat.tui.chosen import Chosen, label
from localchat.tui.composer import Composer
from localchat.tui.downloads import Downloads
from localchat.tui.preferences import Preferences
from localchat.tui.prompt import Prompt
from localchat.tui.services import Services
from localchat.tui.talk import Talk
from localchat.tui.title import Title
from localchat.tui.told_screen import ToldScreen

if TYPE_CHECKING:
    from localchat.tui.app import LocalchatApp


class ChatScreen(ToldScreen):
    """Talk with the loaded model."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="stop", tooltip="Stop the reply; what was written stays"),
        Binding("escape", "cancel_edit", "Cancel", id="cancel_edit", tooltip="Leave the message as it was"),
        Binding("ctrl+r", "reload", "Load again", id="reload", tooltip="Load the model again"),
        Binding("ctrl+r", "regenerate", "Regenerate", id="again", tooltip="Write another last reply"),
        Binding("ctrl+n", "new", "New", id="new", tooltip="Begin a new conversation"),
        Binding("ctrl+o", "conversations", "History", id="history", tooltip="Go back to an earlier conversation"),
        Binding("ctrl+l", "models", "Models", id="models", tooltip="Choose another model, or get one"),
        Binding("ctrl+t", "attach", "Attach", id="attach", tooltip="Attach a text file"),
        # Before the input, which has the key for redo; hidden, because what has priority comes first in the line.
        Binding(
            "ctrl+y", "copy", "Copy reply", id="copy_last", priority=True, show=False, tooltip="Copy the last reply"
        ),
        Binding("f3", "hardware", "Hardware", id="hardware", tooltip="What this machine has and how it is used"),
        Binding("f4", "system", "System", id="system", tooltip="The system prompt of this conversation"),
        Binding("f5", "preset", "Preset", id="preset", tooltip="How replies of this conversation are sampled"),
    ]

    def __init__(self, services: Services, model: Chosen | None, preferences: Preferences | None = None) -> None:
        super().__init__(services, model, preferences or Preferences(services.settings))
        self._model = model

    def on_mount(self) -> None:
        self._downloads.changed.subscribe(self, self._show_downloads)
        self._downloads.finished.subscribe(self, self._take_finished)
        with self.conversing.telling():
            self._open(self._services.history.latest())
        self.query_one(Prompt).focus()
        if self._model is None:
            self._welcome()
        else:
            self.call_after_refresh(self._load, self._model)  # what loads it is a lot of code to import

    def _welcome(self) -> None:
        """Nothing can be said before there is a model."""
        from localchat.tui.picker_screen import PickerScreen

        self.app.push_screen(PickerScreen(self._services, None, self._downloads), self._load)

    def on_unmount(self) -> None:
        self._keep_draft()

    @property
    def _downloads(self) -> Downloads:
        return cast("LocalchatApp", self.app).downloads

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make no sense now are not shown."""
        return {
            "stop": self.is_writing,
            "cancel_edit": self._composer.edited is not None and not self.is_writing,
            "reload": self.is_dead,
            "regenerate": not self.is_dead and not self.conversing.must_wait and self.conversing.can_regenerate,
        }.get(action, True)

    # The model

    def action_models(self) -> None:
        """Choose another model, or get one."""
        from localchat.tui.library_screen import LibraryScreen

        model = self.conversing.model
        current = model if isinstance(model, Installed) else None
        self.app.push_screen(LibraryScreen(self._services, self._downloads, current), self._load)

    def action_reload(self) -> None:
        """Start the engine again after it ended."""
        self._load(self.conversing.model)

    def action_hardware(self) -> None:
        """What this machine has and how it is used."""
        from localchat.tui.hardware_screen import HardwareScreen

        self.app.push_screen(HardwareScreen(self._services, self.conversing.running))

    def _load(self, model: Chosen | None) -> None:
        if model is not None:
            self.query_one(Title).model = label(model)
            self.conversing.load(model)

    def _show_downloads(self, downloads: Downloads) -> None:
        self.query_one(Title).download = downloads.words

    def _take_finished(self, model: Installed) -> None:
        """A download came in while there was no model; an open picker hands its model over by itself."""
        from localchat.tui.picker_screen import PickerScreen

        is_picking = any(isinstance(screen, PickerScreen) for screen in self.app.screen_stack)
        if self.conversing.model is None and not is_picking:
            self._load(model)

    # The conversation

    def action_new(self) -> None:
        """Begin a new conversation."""
        self._leave_for(None)

    def action_conversations(self) -> None:
        """Go back to an earlier conversation."""
        from localchat.tui.history_screen import HistoryScreen

        self._keep_draft()
        history, number = self._services.history, self.conversing.desk.number
        self.app.push_screen(HistoryScreen(history, number), self._open_chosen)

    def action_system(self) -> None:
        """Change the system prompt of this conversation."""
        from localchat.tui.system_screen import SystemScreen

        desk, default = self.conversing.desk, self.conversing.default_system
        with self.conversing.telling():
            self.app.push_screen(SystemScreen(desk.system, default, is_new=desk.number is None), self._set_system)

    def action_preset(self) -> None:
        """Change how replies of this conversation are sampled."""
        from localchat.tui.preset_screen import PresetScreen

        with self.conversing.telling():
            self.app.push_screen(PresetScreen(self.conversing.desk.preset, self._preferences), self._set_preset)

    def _set_system(self, text: str | None) -> None:
        if text is not None and text != self.conversing.desk.system:
            with self.conversing.telling():
                self.conversing.desk.system = text
            self.conversing.show()

    def _set_preset(self, name: str | None) -> None:
        if name is not None:
            with self.conversing.telling():
                self.conversing.desk.preset = name

    def _open_chosen(self, number: int | None) -> None:
        """What is open may have been renamed or deleted meanwhile, or another branch of it been opened."""
        if number is None and not self.conversing.is_there:
            self._leave_for(None)
        elif number is None:
            self.show_title()
        elif number == self.conversing.desk.number:
            self.conversing.show()
        else:
            self._leave_for(number)

    def _leave_for(self, number: int | None) -> None:
        self._keep_draft()
        self._open(number)
        self.query_one(Prompt).focus()

    def _open(self, number: int | None) -> None:
        self.conversing.open(number)
        with self.conversing.telling():
            self._composer.open(self.conversing.desk.unsent)

    @on(Composer.Drafted)
    def _keep_draft(self) -> None:
        with self.conversing.telling():
            self.conversing.desk.unsent = self._composer.draft

    # Asking

    @on(Composer.Sent)
    def _ask(self, message: Composer.Sent) -> None:
        if self.conversing.model is None:
            self._welcome()
        elif reason := self.conversing.must_wait:
            self.notify(reason, markup=False)
        elif self.conversing.ask(message.text, message.instead_of):
            self._composer.clear(message.text)

    @on(Talk.Edit)
    def _edit(self, message: Talk.Edit) -> None:
        self._composer.edit(message.question.id, message.question.text)

    def action_cancel_edit(self) -> None:
        """Leave the message as it was."""
        self._composer.cancel_edit()

    def action_stop(self) -> None:
        """Stop the reply; what was written stays."""
        self.conversing.stop()

    def action_regenerate(self) -> None:
        """Write another reply in the place of the last one."""
        self.conversing.regenerate_last()

    def action_copy(self) -> None:
        """Copy the last reply."""
        self.query_one(Talk).copy_last()

    def action_attach(self) -> None:
        """Attach a text file."""
        self._composer.ask_for_file()

    def on_paste(self, event: events.Paste) -> None:
        """Whatever has the focus, a paste goes into the input."""
        self.query_one(Prompt).paste(event.text)
