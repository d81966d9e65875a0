"""Search of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static
from textual.widgets.option_list import Option

from localchat.errors import LocalchatError
from localchat.pull.search import Found
from localchat.pull.source import REPO, endpoint
from localchat.text import capitalized, one_line
from localchat.tui.card import card, facts, plain, said
from localchat.tui.catalog_pane import GATED
from localchat.tui.pane import Pane
from localchat.tui.rows import Rows, row
from localchat.tui.services import Services

INVITATION = "Type a part of a name and press Enter. Only a search asks the Hub; nothing is sent before."
GGUF_ONLY = "It has only finished model files: the one that suits this machine best is taken as it is."
NOTHING = "The Hub has no model for text with that in its name. An exact owner/repo can be pulled all the same."


class Search(Input):
    """The field; at its ends the arrows are those of the tabs."""

    def action_cursor_left(self, select: bool = False) -> None:
        """Go left, while there is something."""
        if self.cursor_at_start and not select:
            raise SkipAction
        super().action_cursor_left(select)

    def action_cursor_right(self, select: bool = False) -> None:
        """Go right, while there is something."""
        if self.cursor_at_end and not select:
            raise SkipAction
        super().action_cursor_right(select)


class HubRows(Rows):
    """The list, in which Enter pulls a repository."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Pull")]


class HubPane(Pane):
    """A field to search with, and what was found."""

    @dataclass
    class Searched(Message):
        """What the Hub found, or why it did not."""

        text: str
        found: list[Found]
        error: LocalchatError | None = None

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._found: dict[str, Found] = {}
        self._asked = ""

    def compose(self) -> ComposeResult:
        yield Search(placeholder="search the Hub, or name owner/repo", compact=True, max_length=200)
        yield HubRows()
        yield Static(Content(INVITATION), classes="empty")

    def on_mount(self) -> None:
        self.rows.display = False

    @property
    def marked(self) -> Found | None:
        """The marked repository."""
        return self._found.get(self.rows.marked)

    def details(self) -> Content:
        """What the Hub says of the marked repository."""
        return found_card(self.marked) if self.marked is not None else Content("")

    @on(Input.Submitted)
    def _begin(self, event: Input.Submitted) -> None:
        event.stop()
        self._asked = event.value.strip()
        if self._asked:
            self._tell("Searching …")
            self._search(self._asked)

    @work(thread=True, exclusive=True, group="search", exit_on_error=False)
    def _search(self, text: str) -> None:
        try:
            self.post_message(self.Searched(text, self._services.search(text)))
        except LocalchatError as error:
            self.post_message(self.Searched(text, [], error))

    @on(Searched)
    def _show(self, message: Searched) -> None:
        if message.text != self._asked:
            return
        found = message.found
        if REPO.fullmatch(message.text) and message.text not in {one.id for one in found} and message.error is None:
            found = [Found(message.text), *found]
        self._found = {one.id: one for one in found}
        self.rows.show(map(found_row, self._found.values()))
        if found:
            self.rows.display, self.query_one(".empty").display = True, False
            if self.query_one(Input).value.strip() == message.text:  # who types on keeps the field
                self.rows.focus()
        else:
            error = message.error
            self._tell(one_line(error.sentences, 500) if error else NOTHING)
        self.post_message(self.Fresh())

    def _tell(self, text: str) -> None:
        self.query_one(".empty", Static).update(Content(capitalized(text)))
        self.rows.display, self.query_one(".empty").display = False, True


def found_row(found: Found) -> Option:
    """A repository on two lines."""
    marks = {"gated": found.gated, "GGUF only": found.is_gguf_only}
    about = (_count(found.downloads, "downloads"), _count(found.likes, "likes"), found.updated_at)
    words = [mark for mark, holds in marks.items() if holds]
    return row(found.id, one_line(found.id, 70), words, about if any(about) else ["named exactly"])


def found_card(found: Found) -> Content:
    """A repository on a page."""
    warnings = [text for text, holds in ((GATED, found.gated), (GGUF_ONLY, found.is_gguf_only)) if holds]
    return card(
        found.id,
        Content("\n").join(plain(text, "$warning") for text in warnings) if warnings else Content(""),
        facts(
            ("Downloads", f"{found.downloads:,} in 30 days" if found.downloads else ""),
            ("Likes", f"{found.likes:,}" if found.likes else ""),
            ("Changed", found.updated_at),
            ("Page", f"{endpoint()}/{found.id}"),
        ),
        said("Tags", [", ".join(found.tags)]),
        plain("Whether it fits this machine is found out when it is pulled, before anything large is downloaded."),
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number else ""
