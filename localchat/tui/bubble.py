"""One message in the transcript: a question as it was typed, or a reply as Markdown that may still be growing."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Static

from localchat.conversation import Role
from localchat.history.store import Saved, State
from localchat.text import clean
from localchat.tui.head import Head
from localchat.tui.markdown.document import Document
from localchat.tui.prose import Prose

CAPTIONS: dict[State, str] = {
    "stopped": "■ stopped",
    "length": "■ cut: the limit of its length or of the context is reached",
    "failed": "■ interrupted",
    "writing": "■ interrupted",
}
DROPPED = "not in the model's window"


@dataclass(frozen=True, slots=True)
class Shown:
    """All that a bubble shows: one that scrolled far away is made again from it."""

    role: Role
    speaker: str
    text: str
    state: State = "said"
    saved: Saved | None = None
    is_growing: bool = False


def shown(saved: Saved) -> Shown:
    """What is shown of a kept message."""
    speaker = {"user": "You", "system": "System"}.get(saved.role, saved.model)
    return Shown(saved.role, speaker, saved.text, saved.state, saved)


class Bubble(Vertical):
    """A message with the name of who said it."""

    @dataclass
    class Switched(Message):
        """The user wants to see the sibling of a message that is `step` further."""

        message_id: int
        step: int

    def __init__(
        self, role: Role, name: str, text: str = "", state: State = "said", saved: Saved | None = None,
        *, is_growing: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(classes=f"-{role}")
        self.role, self.state, self.saved = role, state, saved
        self._speaker = name
        self._document = Document(clean(text), is_typed=role != "assistant", is_growing=is_growing)
        self._is_marked = self._is_dropped = False
        self._heir: Bubble | None = None

    def compose(self) -> ComposeResult:
        yield Head(self._speaker)
        yield Prose(self._document)
        if not self._document.is_growing and self.state in CAPTIONS:
            yield self._caption()

    def on_mount(self) -> None:
        self._show_head()

    def render_lines(self, crop: Region) -> list[Strip]:
        """All that is not covered by what is in it: the same in each line."""
        return super().render_lines(crop.crop_size((crop.width, 1))) * crop.height

    @property
    def source(self) -> str:
        """The text as it is kept, harmless."""
        return self._document.source if self._heir is None else self._heir.source

    @property
    def shown(self) -> Shown:
        """What it shows, to make it again."""
        return Shown(self.role, self._speaker, self.source, self.state, self.saved, self._document.is_growing)

    def again(self) -> Bubble:
        """Another one that shows the same. What is still written to this one goes to that one from now on."""
        self._heir = bubble_of(self.shown)
        return self._heir

    async def write(self, text: str) -> None:
        """Add to the reply."""
        if self._heir is not None:
            await self._heir.write(text)
            return
        self._document.extend(clean(text))
        if self.is_mounted:
            self.query_one(Prose).changed()

    async def finish(self, text: str, state: State, saved: Saved | None = None) -> None:
        """The reply is complete; `saved` is how it was kept."""
        if self._heir is not None:
            await self._heir.finish(text, state, saved)
            return
        self._document.settle(clean(text))
        self.state, self.saved = state, saved or self.saved
        if self.is_mounted:
            self.query_one(Prose).changed()
            self._show_head()
            await self.query(".caption").remove()
            if state in CAPTIONS:
                await self.mount(self._caption())

    def learn(self, saved: Saved) -> None:
        """The message is kept as this now: it may have been pinned, or have got siblings."""
        self.saved = saved
        self._show_head()

    def mark(self, is_marked: bool) -> None:
        """Mark it as the one that keys are about."""
        if self._is_marked != is_marked:
            self._is_marked = is_marked
            self.set_class(is_marked, "-marked")
            self._show_head()

    def drop(self, is_dropped: bool) -> None:
        """Say whether the model sees it no more."""
        if self._is_dropped != is_dropped:
            self._is_dropped = is_dropped
            self.set_class(is_dropped, "-dropped")
            self._show_head()

    @on(Head.Stepped)
    def _switch(self, event: Head.Stepped) -> None:
        event.stop()
        if self.saved is not None:
            self.post_message(self.Switched(self.saved.id, event.step))

    def _show_head(self) -> None:
        saved = self.saved
        place, places, is_pinned = (saved.place, saved.places, saved.pinned) if saved else (1, 1, False)
        remarks = (*(["pinned"] if is_pinned else []), *([DROPPED] if self._is_dropped else []))
        for head in self.query(Head):
            head.show(is_marked=self._is_marked, place=place, places=places, remarks=remarks)

    def _caption(self) -> Static:
        return Static(Content(CAPTIONS[self.state]), classes="caption")


def bubble_of(value: Shown) -> Bubble:
    """A bubble that shows this."""
    return Bubble(value.role, value.speaker, value.text, value.state, value.saved, is_growing=value.is_growing)


def message_id(item: object) -> int | None:
    """The number of the kept message that this shows."""
    saved = item.saved if isinstance(item, Shown | Bubble) else None
    return saved.id if saved else None
