"""Earlier conversations: open one, rename, pin, export, import, and delete with undo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import DescendantFocus, Resize
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen
from textual.widgets import Input

from localchat.errors import LocalchatError
from localchat.history.export import Format
from localchat.history.store import TITLE_CHARACTERS, Heading, History
from localchat.text import clean, counted, one_line
from localchat.tui.history_browser import HistoryBrowser
from localchat.tui.history_files import export_to_folder, import_typed
from localchat.tui.key_line import KeyLine

WIDE_CELLS = 110
NOTE_SECONDS = 10  # to read a path, or to think better of a deletion
OF_MARKED = ("rename", "pin", "delete", "export")


class Line(Input):
    """A title or a path that is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Done")]


class HistoryScreen(ModalScreen[int | None]):
    """Choose a conversation; returns its number, or None if none was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", tooltip="Leave it as it was"),
        Binding("escape", "clear", "All", tooltip="End the search"),
        Binding("escape", "close", "Close"),
        Binding("slash,ctrl+f", "search", "Search", key_display="/", id="history.search",
                tooltip="Search titles and messages"),
        Binding("u", "undo", "Undo", id="history.undo", tooltip="Bring back what was deleted"),
        Binding("r", "rename", "Rename", id="history.rename", tooltip="Give the conversation another title"),
        Binding("p", "pin", "Pin", id="history.pin", tooltip="Keep it at the top of the list, or no longer"),
        Binding("d,delete", "delete", "Delete", id="history.delete", tooltip="Delete the conversation"),
        Binding("e", "export('markdown')", "Export", id="history.export", tooltip="Export it as Markdown, to read"),
        Binding("E", "export('json')", "JSON", id="history.json", tooltip="Export it as JSON, to import"),
        Binding("i", "import", "Import", id="history.import", tooltip="Import conversations from a JSON file"),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
    ]  # fmt: skip

    @dataclass
    class Written(Message):
        """A conversation is in a file."""

        path: str

    @dataclass
    class Imported(Message):
        """Conversations came from a file."""

        numbers: list[int]

    @dataclass
    class Failed(Message):
        """A file could not be written or read."""

        error: LocalchatError

    def __init__(self, history: History, current: int | None) -> None:
        super().__init__()
        self._history, self._current = history, current
        self._deleted: list[Heading] = []
        self._renamed: int | None = None
        """Which conversation gets the title that is being typed; None where a path is typed."""
        self._situation: object = None
        """What the keys depend on, as it was when they were shown."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as panel:
            panel.border_title = "History"
            yield HistoryBrowser(self._history, self._current)
            yield Line(id="line")
            yield KeyLine()

    def on_mount(self) -> None:
        self._renew()
        self._browser.mark(self._current)
        self._browser.to_list()

    def on_resize(self, event: Resize) -> None:
        """Where there is room, what is marked can be read beside the list."""
        self.set_class(event.size.width >= WIDE_CELLS, "-wide")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make no sense now are not shown."""
        if not self.is_mounted:
            return True
        is_asking, is_searching = self._line.display, self._browser.is_searching
        holds = {
            "cancel": is_asking, "clear": is_searching and not is_asking, "close": not (is_searching or is_asking),
            "undo": bool(self._deleted), "search": not (is_asking or self._browser.is_typing),
        }  # fmt: skip
        return holds.get(action, action not in OF_MARKED or self._browser.marked is not None)

    @on(HistoryBrowser.Moved)
    @on(DescendantFocus)
    def _show_keys(self) -> None:
        """Show the keys anew, which takes a while, only where others make sense than before."""
        browser = self._browser
        marked, is_asking = browser.marked is not None, bool(self._line.display)
        situation = (marked, is_asking, browser.is_typing, browser.is_searching, bool(self._deleted))
        if situation != self._situation:
            self._situation = situation
            self.refresh_bindings()

    @property
    def _browser(self) -> HistoryBrowser:
        return self.query_one(HistoryBrowser)

    @property
    def _line(self) -> Line:
        return self.query_one(Line)

    @on(HistoryBrowser.Chosen)
    def _open(self, message: HistoryBrowser.Chosen) -> None:
        """What was found may be on another branch than the one that is open."""
        number, hit = message.heading.id, self._browser.hit(message.heading.id)
        with self._telling():
            shown = [one.id for one in self._history.messages(number)]  # another window may have erased it
            if hit and hit not in shown:
                self._history.reveal(hit)
            self.dismiss(number)

    def _renew(self) -> None:
        with self._telling():
            self._browser.renew()
        self._show_keys()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Another window may have deleted what is shown here, or the disk may be full."""
        try:
            yield
        except LocalchatError as error:
            self._tell(f"{error}: {error.hint}", "error")

    # Moving about

    def action_close(self) -> None:
        """Leave without a choice."""
        self.dismiss(None)

    def action_search(self) -> None:
        """Type what to look for."""
        self._browser.search()

    def action_clear(self) -> None:
        """Back to all conversations."""
        with self._telling():
            self._browser.clear()

    def action_move(self, step: int) -> None:
        """Mark another one while something is typed."""
        self._browser.move(step)

    # The marked conversation

    def action_pin(self) -> None:
        """Keep it at the top of the list, or no longer."""
        if (heading := self._browser.marked) is not None:
            with self._telling():
                self._history.pin(heading.id, not heading.pinned)
            self._renew()

    def action_delete(self) -> None:
        """Delete it; that can be undone."""
        if (heading := self._browser.marked) is not None:
            with self._telling():
                self._history.delete(heading.id)
                self._deleted.append(heading)
                self._tell(f"“{one_line(heading.title, 40)}” is deleted. U brings it back.")
            self._renew()

    def action_undo(self) -> None:
        """Bring back what was deleted last."""
        heading = self._deleted.pop()
        with self._telling():
            self._history.restore(heading.id)
        self._renew()
        self._browser.mark(heading.id)
        self._browser.to_list()

    def action_rename(self) -> None:
        """Type another title for it."""
        if (heading := self._browser.marked) is not None:
            self._ask("Another title", one_line(heading.title, TITLE_CHARACTERS), heading.id)

    def action_export(self, form: Format) -> None:
        """Write it into a file."""
        if (heading := self._browser.marked) is not None:
            self._export(heading, form)

    def action_import(self) -> None:
        """Type which file to take conversations from."""
        self._ask("Path of a JSON file that was exported", "", None)

    # A line that is typed

    def _ask(self, what: str, value: str, renamed: int | None) -> None:
        self._renamed = renamed
        self._line.border_title, self._line.value, self._line.display = what, value, True
        self._line.focus()
        self._show_keys()

    def action_cancel(self) -> None:
        """Leave it as it was."""
        self._line.display = False
        self._browser.to_list()
        self._show_keys()

    @on(Input.Submitted, "#line")
    def _take_line(self, event: Input.Submitted) -> None:
        self.action_cancel()
        if self._renamed is None:
            if event.value.strip():
                self._import(event.value.strip())
        else:
            with self._telling():
                self._history.rename(self._renamed, event.value)
            self._renew()

    # Files

    @work(thread=True, group="files", exit_on_error=False)
    def _export(self, heading: Heading, form: Format) -> None:
        try:
            self.post_message(self.Written(str(export_to_folder(self._history, heading, form))))
        except LocalchatError as error:
            self.post_message(self.Failed(error))

    @work(thread=True, group="files", exit_on_error=False)
    def _import(self, typed: str) -> None:
        try:
            self.post_message(self.Imported(import_typed(self._history, typed)))
        except LocalchatError as error:
            self.post_message(self.Failed(error))

    @on(Written)
    def _tell_path(self, message: Written) -> None:
        self._tell(f"Written to {message.path}")

    @on(Imported)
    def _show_imported(self, message: Imported) -> None:
        self._renew()
        self._browser.mark(next(iter(message.numbers), None))
        self._tell(f"{counted(len(message.numbers), 'conversation')} added. Nothing that was there has changed.")

    @on(Failed)
    def _tell_failure(self, message: Failed) -> None:
        self._tell(f"{message.error}: {message.error.hint}", "error")

    def _tell(self, words: str, severity: SeverityLevel = "information") -> None:
        self.notify(clean(words), severity=severity, timeout=NOTE_SECONDS, markup=False)
