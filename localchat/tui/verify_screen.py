"""An installed model is checked once more: a bar while it is read, then every check in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import ProgressBar, Static
from textual.worker import get_current_worker

from localchat.errors import LocalchatError
from localchat.library import Check, Installed
from localchat.pull.events import Progress
from localchat.pull.pace import Pace
from localchat.pull.verify import Verifying
from localchat.text import one_line
from localchat.tui.key_line import KeyLine
from localchat.tui.pace import seldom
from localchat.tui.receipt_page import check_lines


class VerifyScreen(ModalScreen[None]):
    """Checks as long as it is open; Escape stops it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close")]

    @dataclass
    class Went(Message):
        """How far it is, in words and numbers."""

        progress: Progress
        words: str

    @dataclass
    class Ended(Message):
        """What was found, or why it could not be looked at."""

        checks: tuple[Check, ...]
        error: LocalchatError | None = None

    def __init__(self, model: Installed, verify: Callable[[Installed], Verifying]) -> None:
        super().__init__()
        self._model, self._verify = model, verify

    def compose(self) -> ComposeResult:
        with Vertical(classes="page"):
            with VerticalScroll():
                yield Static(
                    Content.styled(f"Checking {one_line(self._model.name, 60)}", "bold $primary"), classes="what"
                )
                yield ProgressBar(show_eta=False)
                yield Static(Content("Reading the model file …"), classes="facts")
            yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._work()

    def action_close(self) -> None:
        """Leave; what is being checked is left unchecked."""
        self.dismiss(None)

    @work(thread=True, exit_on_error=False)
    def _work(self) -> None:
        worker, pace = get_current_worker(), Pace()
        checks: list[tuple[Check, ...]] = []
        try:
            with closing(self._verify(self._model)) as checking:
                for event in seldom(_kept(checking, checks)):
                    if worker.is_cancelled:
                        return
                    if isinstance(event, Progress):
                        self.post_message(self.Went(event, pace.words(event)))
        except LocalchatError as error:
            self.post_message(self.Ended((), error))
        else:
            self.post_message(self.Ended(checks[0]))

    @on(Went)
    def _show(self, message: Went) -> None:
        progress = message.progress
        self.query_one(ProgressBar).update(total=progress.total_bytes, progress=progress.done_bytes)
        self.query_one(".facts", Static).update(Content(f"{message.words} · {one_line(progress.item, 60)}"))

    @on(Ended)
    def _end(self, message: Ended) -> None:
        self.query_one(ProgressBar).display = False
        what, found = self.query_one(".what", Static), self.query_one(".facts", Static)
        if message.error is not None:
            what.update(Content.styled(f"{one_line(self._model.name, 60)} could not be checked", "bold $text-error"))
            found.update(Content(one_line(message.error.sentences, 500)))
            return
        what.update(verdict(self._model.name, message.checks))
        found.update(check_lines("What was checked", message.checks))


def _kept(checking: Verifying, found: list[tuple[Check, ...]]) -> Iterator[Progress]:
    """The progress of the checks; what they found is put into the list."""
    found.append((yield from checking))


def verdict(name: str, checks: tuple[Check, ...]) -> Content:
    """All checks in one sentence."""
    failed = sum(check.is_failed for check in checks)
    if failed:
        words = (
            f"{one_line(name, 60)} is not sound: {failed} of {len(checks)} checks failed. Remove it and pull it again."
        )
        return Content.styled(words, "bold $text-error")
    return Content.styled(f"{one_line(name, 60)} is sound: {len(checks)} checks, none failed.", "bold $text-success")
