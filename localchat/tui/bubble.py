"""One message in the transcript: a question as it was typed, or a reply as Markdown that may still be growing."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown, Static
from textual.widgets.markdown import MarkdownStream

from localchat.conversation import Role
from localchat.history.store import State
from localchat.text import clean

CAPTIONS: dict[State, str] = {
    "stopped": "■ stopped",
    "length": "■ cut: the limit of its length or of the context is reached",
    "failed": "■ interrupted",
    "writing": "■ interrupted",
}


class Bubble(Vertical):
    """A message with the name of who said it."""

    def __init__(self, role: Role, name: str, text: str = "", state: State = "said") -> None:
        super().__init__(classes=f"-{role}")
        self.role = role
        self._speaker, self._text, self._state = name, text, state
        self._stream: MarkdownStream | None = None

    def compose(self) -> ComposeResult:
        yield Static(Content(clean(self._speaker)), classes="speaker")
        if self.role == "assistant":
            yield Markdown(clean(self._text), open_links=False)
        else:
            yield Static(Content(clean(self._text)), classes="typed")
        yield Static(Content(CAPTIONS.get(self._state, "")), classes="caption")

    def on_mount(self) -> None:
        self.query_one(".caption").display = self._state in CAPTIONS

    async def write(self, text: str) -> None:
        """Add to the reply."""
        if self._stream is None:
            self._stream = Markdown.get_stream(self.query_one(Markdown))
        await self._stream.write(clean(text))

    async def finish(self, text: str, state: State) -> None:
        """The reply is complete. It is shown anew as a whole: Markdown that grew can differ from Markdown that is."""
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
        await self.query_one(Markdown).update(clean(text))
        caption = self.query_one(".caption", Static)
        caption.update(Content(CAPTIONS.get(state, "")))
        caption.display = state in CAPTIONS
