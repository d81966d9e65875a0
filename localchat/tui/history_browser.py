"""The conversations by day or those that were found, and where there is room a page on the marked one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localchat.errors import LocalchatError
from localchat.history.marking import Pattern
from localchat.history.store import Heading, History, Hit, Saved
from localchat.tui.history_lines import NOWHERE, day_rows, hit_rows, page, pattern_for
from localchat.tui.rows import Rows

SEARCH_SECONDS, PAGE_SECONDS = 0.15, 0.05  # so long nothing more is typed or marked
NOTHING_SAID = "Nothing has been said yet."
NOTHING_FOUND = "Nothing was found."


class Conversations(Rows):
    """The list, in which a click opens."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Open")]

    def on_click(self, event: Click) -> None:
        """Opening a conversation changes nothing, so that one click is enough."""
        event.prevent_default()
        row = event.style.meta.get("option")
        if isinstance(row, int) and not self.options[row].disabled:
            self.highlighted = row
            self.action_select()


class Search(Input):
    """What to look for, from which Enter opens what is marked in the list."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Open")]


class HistoryBrowser(Vertical):
    """Tells which conversation is chosen, and that another one is marked."""

    @dataclass
    class Chosen(Message):
        """A conversation is to be opened."""

        heading: Heading

    @dataclass
    class Moved(Message):
        """Another conversation is marked, or none."""

    @dataclass
    class Found(Message):
        """What has the words that were typed, or why that is not known."""

        typed: str
        hits: list[Hit]
        error: LocalchatError | None = None

    @dataclass
    class Read(Message):
        """The messages of a conversation; none where they cannot be had."""

        heading: Heading
        messages: list[Saved]

    def __init__(self, history: History, current: int | None) -> None:
        super().__init__()
        self._history, self._current = history, current
        self._headings: dict[int, Heading] = {}
        self._hits: dict[int, Hit] = {}
        self._pattern: Pattern = NOWHERE
        self._waiting: dict[str, Timer] = {}

    def compose(self) -> ComposeResult:
        yield Search(placeholder="Search titles and messages")
        with Horizontal():
            with Vertical(classes="list"):
                yield Static(classes="empty")
                yield Conversations()
            with VerticalScroll(can_focus=False):
                yield Static(classes="page")

    @property
    def marked(self) -> Heading | None:
        """The marked conversation."""
        number = self._list.marked
        return self._headings.get(int(number)) if number.isdecimal() else None

    @property
    def is_typing(self) -> bool:
        """Do the keys go to the search?"""
        return self._input.has_focus

    @property
    def is_searching(self) -> bool:
        """Is something typed into the search, or about to be?"""
        return bool(self._input.value) or self.is_typing

    def hit(self, conversation: int) -> int:
        """The message in which this one was found; 0 where it was not searched for."""
        hit = self._hits.get(conversation)
        return hit.message if hit else 0

    def mark(self, conversation: int | None) -> None:
        """Mark this one, if it is in the list."""
        ids = [option.id for option in self._list.options]
        if str(conversation) in ids:
            self._list.highlighted = ids.index(str(conversation))

    def move(self, step: int) -> None:
        """Mark the next one, or the one before."""
        if step > 0:
            self._list.action_cursor_down()
        else:
            self._list.action_cursor_up()

    def to_list(self) -> None:
        """The keys go to the list."""
        self._list.focus()

    def search(self) -> None:
        """The keys go to the search."""
        self._input.focus()

    def clear(self) -> None:
        """Back to all conversations."""
        with self.prevent(Input.Changed):
            self._input.value = ""
        self.renew()
        self.to_list()

    def renew(self) -> None:
        """Show what is there now. Raises LocalchatError."""
        if self._input.value.strip():
            self._find(self._input.value)
            return
        self._hits, self._pattern = {}, NOWHERE
        self._headings = {heading.id: heading for heading in self._history.conversations()}
        self._show_rows(day_rows(self._headings.values(), _today(), self._current), NOTHING_SAID)

    def _renew_typed(self) -> None:
        """As `renew`; what went wrong stands in the place of the list."""
        try:
            self.renew()
        except LocalchatError as error:
            self._headings = {}
            self._show_rows((), str(error))

    def _show_rows(self, rows: Iterable[Option], nothing: str) -> None:
        before, place = self._list.marked, self._list.highlighted
        self._list.show(rows)
        if before != self._list.marked and place is not None:
            self._mark_near(place)
        self.query_one(".empty").display = not self._headings
        self.query_one(".empty", Static).update(Content("" if self._headings else nothing))
        self.post_message(self.Moved())
        self._soon("page", PAGE_SECONDS, self._read_marked)

    def _mark_near(self, place: int) -> None:
        """What was marked is gone: mark what is in its place now, or the last one."""
        enabled = [index for index, option in enumerate(self._list.options) if not option.disabled]
        self._list.highlighted = next((index for index in enabled if index >= place), enabled[-1] if enabled else None)

    # The search

    @on(Input.Changed)
    def _type(self, event: Input.Changed) -> None:
        event.stop()
        self._soon("search", SEARCH_SECONDS, self._renew_typed)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _choose(self, event: Message) -> None:
        event.stop()
        if (heading := self.marked) is not None:
            self.post_message(self.Chosen(heading))

    @work(thread=True, exclusive=True, group="search", exit_on_error=False)
    def _find(self, typed: str) -> None:
        try:
            found = self.Found(typed, self._history.search(typed))
        except LocalchatError as error:
            found = self.Found(typed, [], error)
        self.post_message(found)

    @on(Found)
    def _show_found(self, message: Found) -> None:
        if message.typed != self._input.value:
            return
        self._hits = {hit.heading.id: hit for hit in message.hits}
        self._headings = {hit.heading.id: hit.heading for hit in message.hits}
        self._pattern = pattern_for(message.typed, message.hits)
        nothing = str(message.error) if message.error else NOTHING_FOUND
        self._show_rows(hit_rows(message.hits, self._pattern, _today(), self._current), nothing)

    # The page

    @on(OptionList.OptionHighlighted)
    def _follow(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self.post_message(self.Moved())
        self._soon("page", PAGE_SECONDS, self._read_marked)

    def _read_marked(self) -> None:
        if (heading := self.marked) is not None:
            self._read(heading)
        else:
            self._page.update("")

    @work(thread=True, exclusive=True, group="page", exit_on_error=False)
    def _read(self, heading: Heading) -> None:
        try:
            messages = self._history.messages(heading.id)
        except LocalchatError:  # another window deleted it
            messages = []
        self.post_message(self.Read(heading, messages))

    @on(Read)
    def _show_page(self, message: Read) -> None:
        if message.heading == self.marked:
            hit = self.hit(message.heading.id)
            self._page.update(page(message.heading, message.messages, hit, self._pattern))
            self.query_one(VerticalScroll).scroll_home(animate=False)

    def _soon(self, what: str, seconds: float, begin: Callable[[], None]) -> None:
        """Do it when nothing of the kind has been asked for so long."""
        if (waiting := self._waiting.pop(what, None)) is not None:
            waiting.stop()
        self._waiting[what] = self.set_timer(seconds, begin)

    @property
    def _list(self) -> Conversations:
        return self.query_one(Conversations)

    @property
    def _input(self) -> Search:
        return self.query_one(Search)

    @property
    def _page(self) -> Static:
        return self.query_one(".page", Static)


def _today() -> date:
    return datetime.now().astimezone().date()
