"""Looks for files and reads them, in threads: a disk may be slow. Not visible."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textual import work
from textual.message import Message
from textual.widget import Widget

from localchat.errors import LocalchatError
from localchat.text import clean
from localchat.tui.attach_screen import AttachScreen
from localchat.tui.attachment import Attachment, attached


class Attaching(Widget):
    """Says by messages what it found; what cannot be attached it says to the user itself."""

    @dataclass
    class Found(Message):
        """What was pasted is the path of a file."""

        path: Path
        pasted: str

    @dataclass
    class Read(Message):
        """A file was read."""

        path: Path
        attachment: Attachment

    def __init__(self) -> None:
        super().__init__()
        self.display = False

    def ask(self) -> None:
        """Let the user name a file, and read it."""
        self.app.push_screen(AttachScreen(), self._take)

    def _take(self, path: Path | None) -> None:
        if path is not None:
            self.read(path)

    @work(thread=True, group="look", exclusive=True, exit_on_error=False)
    def look(self, path: Path, pasted: str) -> None:
        """Is there such a file?"""
        try:
            is_file = path.expanduser().is_file()
        except (OSError, ValueError, RuntimeError):
            return
        if is_file:
            self.post_message(self.Found(path, pasted))

    @work(thread=True, group="read", exit_on_error=False)
    def read(self, path: Path) -> None:
        """Read a file to attach it."""
        try:
            attachment = attached(path)
        except LocalchatError as error:
            self._refuse(error)
        else:
            self.post_message(self.Read(path, attachment))

    def _refuse(self, error: LocalchatError) -> None:
        words = clean(f"{error}: {error.hint}.")
        self.app.call_from_thread(self.notify, words, severity="warning", markup=False)
