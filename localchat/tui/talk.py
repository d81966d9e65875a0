"""The conversation on the screen, with the keys of its messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message

from localchat.errors import LocalchatError
from localchat.history.store import Saved
from localchat.tui import told
from localchat.tui.bubble import Bubble
from localchat.tui.conversing import Conversing
from localchat.tui.copy_screen import CopyScreen, conversation_text
from localchat.tui.copying import copy_code, copy_message
from localchat.tui.note import Note
from localchat.tui.transcript import Transcript

QUIET = frozenset({"edit", "regenerate", "delete", "undo"})
"""What can be done only while no reply is written."""
CODE_SIGNS = ("```", "~~~", "    ", "\t")
"""A text without any of these has no block of code. To find the blocks takes too long to be done for each key."""


class Talk(Vertical):
    """Shows what `Conversing` tells, and does with the marked message what its keys say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "Edit", id="edit", tooltip="Edit this question and send it again"),
        Binding("r", "regenerate", "Regenerate", id="regenerate", tooltip="Write another reply beside this one"),
        Binding("p", "pin", "Pin", id="pin", tooltip="Keep this message in the context, or no longer"),
        Binding("d,delete", "delete", "Delete", id="delete", tooltip="Delete this message and all that follows it"),
        Binding("u", "undo", "Undo", id="undo", tooltip="Bring back what was deleted"),
        Binding("y", "copy", "Copy", id="copy", tooltip="Copy this message"),
        Binding("c", "copy_code", "Code", id="copy_code", tooltip="Copy a code block of this message"),
        Binding("v", "select", "Select", id="select", tooltip="Show the conversation bare, to select in it"),
    ]

    @dataclass
    class Edit(Message):
        """The user wants to write this question anew."""

        question: Saved

    def __init__(self, conversing: Conversing) -> None:
        super().__init__()
        self._conversing = conversing
        self._growing: Bubble | None = None

    def compose(self) -> ComposeResult:
        yield Transcript()

    @property
    def transcript(self) -> Transcript:
        """The messages."""
        return self.query_one(Transcript)

    # What is told

    async def show(self, opened: told.Opened) -> None:
        """Show a conversation anew."""
        self._growing = None
        await self.transcript.show(opened.messages)
        if opened.reply is not None and opened.reply.text:
            await self.write(opened.reply, opened.reply.text)
        if opened.marked is not None:
            self.transcript.mark_message(opened.marked)

    async def ask(self, question: Saved) -> None:
        """Show one more question."""
        await self.transcript.add_saved(question)
        self.transcript.follow()

    async def write(self, reply: Saved, text: str) -> None:
        """The reply has grown by `text`."""
        if self._growing is None:
            self._growing = Bubble("assistant", reply.model, saved=reply, is_growing=True)
            await self.transcript.add(self._growing)
        await self._growing.write(text)

    async def finish(self, reply: Saved) -> None:
        """The reply is complete."""
        bubble, self._growing = self._growing, None
        if bubble is not None:
            await bubble.finish(reply.text, reply.state, reply)
        else:
            await self.transcript.add_saved(reply)
        self.refresh_bindings()

    async def fail(self, error: LocalchatError, offer: tuple[str, str] | None) -> None:
        """Say what went wrong."""
        await self.transcript.add(Note(error, offer))

    # What the keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make no sense for the marked message are not shown."""
        if action in QUIET and (self._conversing.must_wait or self._conversing.model is None):
            return False
        role = marked.role if (marked := self.transcript.marked) is not None else None
        return {
            "edit": role == "user",
            "regenerate": role == "assistant",
            "pin": role in ("user", "assistant"),
            "delete": role in ("user", "assistant"),
            "undo": self._conversing.desk.can_restore,
            "copy": role is not None,
            "copy_code": role is not None and any(sign in self._marked_text for sign in CODE_SIGNS),
        }.get(action, True)

    def action_edit(self) -> None:
        """Write the marked question anew."""
        if (marked := self.transcript.marked) is not None:
            self.post_message(self.Edit(marked))

    def action_regenerate(self) -> None:
        """Write another reply beside the marked one."""
        if (marked := self.transcript.marked) is not None:
            self._conversing.regenerate(marked.id)

    def action_pin(self) -> None:
        """Keep the marked message in the context, or no longer."""
        if (marked := self.transcript.marked) is not None:
            saved = self._conversing.pin(marked.id)
            if saved is not None:
                self.transcript.learn(saved)
                self.refresh_bindings()

    def action_delete(self) -> None:
        """Delete the marked message and all that follows it."""
        if (marked := self.transcript.marked) is not None:
            is_deleted = self._conversing.delete(marked.id)
            if is_deleted:
                self.notify("Deleted, with all that follows. U brings it back.", markup=False)

    def action_undo(self) -> None:
        """Bring back what was deleted last."""
        self._conversing.restore()

    def action_copy(self) -> None:
        """Copy the marked message."""
        copy_message(self, self._marked_text)

    def action_copy_code(self) -> None:
        """Copy a code block of the marked message."""
        copy_code(self, self._marked_text)

    def action_select(self) -> None:
        """Show the conversation bare, for the terminal's own selection."""
        with self._conversing.telling():
            self.app.push_screen(CopyScreen(conversation_text(self._conversing.desk.messages)))

    def copy_last(self) -> None:
        """Copy the last reply."""
        with self._conversing.telling():
            replies = [saved.text for saved in self._conversing.desk.messages if saved.role == "assistant"]
            if replies:
                copy_message(self, replies[-1], "Copied the last reply")
            else:
                self.notify("There is no reply yet.", markup=False)

    @property
    def _marked_text(self) -> str:
        """Of a reply that is being written, what there is by now."""
        marked, growing = self.transcript.marked, self._growing
        if growing is not None and growing.saved is not None and marked is not None and marked.id == growing.saved.id:
            return growing.source
        return marked.text if marked is not None else ""

    @on(Bubble.Switched)
    def _switch(self, event: Bubble.Switched) -> None:
        event.stop()
        if reason := self._conversing.must_wait:
            self.notify(reason, markup=False)
        else:
            self._conversing.switch(event.message_id, event.step)
