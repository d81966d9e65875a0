"""The input with all that belongs to it: attachments, what is edited, earlier inputs, and the draft that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Static, TextArea

from localchat.errors import LocalchatError
from localchat.text import one_line
from localchat.tui.attaching import Attaching
from localchat.tui.attachment import Attachment, joined, parted
from localchat.tui.chip import Chip
from localchat.tui.pasting import as_path, typeable
from localchat.tui.prompt import Prompt
from localchat.tui.recall import Recall

DRAFT_SECONDS = 1.0
ATTACHED_LIMIT = 10
HUGE_CHARACTERS = 50_000  # more than this the box for typing does not take well
EDITING, EDITING_BRIEF = "✎ editing an earlier message  ·  Escape cancels", "✎ editing  ·  Escape cancels"


class Composer(Vertical):
    """What the user is about to say."""

    @dataclass
    class Sent(Message):
        """The user wants this said, in the place of the message `instead_of` if there is one. `clear` follows."""

        text: str
        instead_of: int | None

    class Drafted(Message):
        """`draft` is worth keeping."""

    edited: reactive[int | None] = reactive(None, bindings=True, init=False)
    """The message that is written anew."""
    attachments: reactive[tuple[Attachment, ...]] = reactive((), init=False)
    offered: reactive[tuple[Path, str] | None] = reactive(None, init=False)
    """A file whose path was pasted, and the text of that paste."""

    def __init__(self, inputs: Callable[[], Sequence[str]]) -> None:
        """`inputs` reads what was said earlier, the latest last."""
        super().__init__()
        self._inputs, self._prompt = inputs, Prompt()
        self._recall: Recall | None = None
        self._shown = self._before = ""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Attaching()
        yield Static(classes="hint")
        yield VerticalScroll(classes="chips", can_focus=False)
        yield self._prompt

    @property
    def draft(self) -> str:
        """What was written and not sent; of an edit, what was there before it."""
        return self._before if self.edited is not None else self._written

    @property
    def _written(self) -> str:
        return joined(self.attachments, self._prompt.text)

    # What the screen does with it

    def open(self, draft: str) -> None:
        """Begin with what was kept of a conversation."""
        self.edited, self._recall = None, None
        self._put(draft)

    def edit(self, message: int, text: str) -> None:
        """Write a message anew. What was there comes back afterwards."""
        self._before, self.edited = self.draft, message
        self._put(text)
        self._prompt.focus()

    def cancel_edit(self) -> None:
        """Leave the message as it was."""
        self.open(self.draft)

    def clear(self, sent: str) -> None:
        """What was sent is gone; what was typed behind it in the meantime stays."""
        self.open(self._before if self.edited is not None else self._written.removeprefix(sent))

    def give_back(self, text: str, instead_of: int | None) -> None:
        """Something that was sent comes back, before whatever was written meanwhile."""
        if instead_of is not None and self.edited is None:
            self.edit(instead_of, text)
        else:
            self._put("\n\n".join(filter(str.strip, (text, self._written))))

    def ask_for_file(self) -> None:
        """Attach the file whose path was pasted, or one that is named now."""
        if self.offered is None:
            self.query_one(Attaching).ask()
        else:
            self.query_one(Attaching).read(self.offered[0])

    # The text

    def _put(self, text: str, *, is_at_top: bool = False) -> None:
        attachments, typed = parted(text)
        if len(typed) > HUGE_CHARACTERS:
            attachments, typed = (*attachments, Attachment(typed)), ""
        self.attachments, self.offered = attachments, None
        self._prompt.put(typeable(typed), is_at_top=is_at_top)
        self._shown = self._prompt.text

    @on(Prompt.Submitted)
    def _send(self, event: Prompt.Submitted) -> None:
        event.stop()
        if event.text.strip() or self.attachments:
            self.post_message(self.Sent(joined(self.attachments, event.text), self.edited))

    @on(TextArea.Changed)
    def _follow(self, event: TextArea.Changed) -> None:
        event.stop()
        if event.text_area.text != self._shown:
            self._recall = None
        if self.offered is not None and self.offered[1] not in event.text_area.text:
            self.offered = None
        self._keep_soon()

    @on(Prompt.Walked)
    def _walk(self, event: Prompt.Walked) -> None:
        event.stop()
        try:
            recall = self._recall or Recall(self._inputs(), self._written)
        except LocalchatError as error:
            self.notify(one_line(f"{error}: {error.hint}.", 500), severity="warning", markup=False)
            return
        if (text := recall.step(event.step)) is not None:
            self._put(text, is_at_top=event.step < 0)
            self._recall = recall

    def _keep_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DRAFT_SECONDS, lambda: self.post_message(self.Drafted()))

    # What is attached

    @on(Prompt.Pasted)
    def _take_paste(self, event: Prompt.Pasted) -> None:
        event.stop()
        if event.is_kept_out:
            self._add_attachment(Attachment(event.text.removesuffix("\n")))
        elif (path := as_path(event.text)) is not None:
            self.query_one(Attaching).look(path, event.text)

    @on(Attaching.Found)
    def _offer(self, event: Attaching.Found) -> None:
        event.stop()
        if event.pasted in self._prompt.text:
            self.offered = (event.path, event.pasted)

    @on(Attaching.Read)
    def _take_file(self, event: Attaching.Read) -> None:
        event.stop()
        if self.offered is not None and self.offered[0] == event.path:
            self._prompt.put(self._prompt.text.replace(self.offered[1], "", 1))
        self._add_attachment(event.attachment)

    def _add_attachment(self, attachment: Attachment) -> None:
        if len(self.attachments) >= ATTACHED_LIMIT:
            self.notify(f"No more than {ATTACHED_LIMIT} texts can be attached.", severity="warning", markup=False)
        else:
            self.attachments = (*self.attachments, attachment)

    @on(Chip.Removed)
    def _remove(self, event: Chip.Removed) -> None:
        event.stop()
        self.attachments = (*self.attachments[: event.place], *self.attachments[event.place + 1 :])

    @on(Prompt.Backed)
    def _remove_last(self, event: Prompt.Backed) -> None:
        event.stop()
        self.attachments = self.attachments[:-1]

    # What is above the box

    async def watch_attachments(self) -> None:
        attachments, chips = self.attachments, self.query_one(".chips")
        last = len(attachments) - 1
        await chips.remove_children()
        hints = ("Backspace removes" if place == last else "" for place in range(last + 1))
        await chips.mount_all(
            Chip(attachment, place, hint)
            for place, (attachment, hint) in enumerate(zip(attachments, hints, strict=True))
        )
        chips.display = bool(attachments)
        chips.scroll_end(animate=False)
        self._keep_soon()

    def watch_edited(self) -> None:
        self._show_hint()

    def watch_offered(self) -> None:
        self._show_hint()

    def _show_hint(self) -> None:
        hint = self.query_one(".hint", Static)
        offer = f"Ctrl+T attaches {one_line(self.offered[0].name, 60)}" if self.offered else ""
        editing = "" if self.edited is None else EDITING_BRIEF if offer else EDITING
        hint.update(Content("  ·  ".join(filter(None, (editing, offer)))))
        hint.display = bool(editing or offer)
