"""One finding of the doctor; where a command mends it, Enter or a click copies that."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from localchat.doctor.finding import Finding
from localchat.text import one_line
from localchat.tui.hardware_page import finding_content


class FindingLine(Vertical):
    """What was found, and beneath it the command; only one that has a command takes the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "copy", "Copy the command")]

    def __init__(self, finding: Finding) -> None:
        super().__init__(classes=f"-{finding.state}")
        self._finding = finding
        self._command = one_line(finding.fix, 2000) if finding.state != "ok" else ""
        self.can_focus = bool(self._command)

    def compose(self) -> ComposeResult:
        name, sentence = finding_content(self._finding)
        with Horizontal(classes="what"):
            yield Static(name, classes="name")
            yield Static(sentence, classes="text")
        if self._command:
            yield Static(Content(f"$ {self._command}"), classes="command")

    def action_copy(self) -> None:
        """Copy the command that mends it."""
        if self._command:
            self.app.copy_to_clipboard(self._command)
            self.notify("The command was copied.", markup=False)

    def on_click(self) -> None:
        """The same by mouse."""
        self.action_copy()
