"""The parts of the chat. `Conversing` tells what happens, and this passes it on to the one that shows it."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.screen import Screen

from localchat.text import clean, one_line
from localchat.tui import told
from localchat.tui.chosen import Chosen
from localchat.tui.composer import Composer
from localchat.tui.conversing import Conversing
from localchat.tui.key_line import KeyLine
from localchat.tui.preferences import Preferences
from localchat.tui.services import Services
from localchat.tui.status import Status
from localchat.tui.talk import Talk
from localchat.tui.title import Title

NOTE_SECONDS = 15  # to read two sentences
RELOAD = ("Load the model again (Ctrl+R)", "screen.reload")


class ToldScreen(Screen[None]):
    """Shows the open conversation, what is going on, and what is about to be said."""

    def __init__(self, services: Services, model: Chosen | None, preferences: Preferences) -> None:
        super().__init__()
        self._services, self._preferences = services, preferences
        self.conversing = Conversing(services, preferences, model)
        self._composer = Composer(services.history.inputs)

    def compose(self) -> ComposeResult:
        yield self.conversing
        yield Title()
        yield Talk(self.conversing)
        yield Status(self._services.machine)
        yield self._composer
        yield KeyLine()

    @property
    def is_writing(self) -> bool:
        """Is a reply written in the open conversation?"""
        return self.conversing.is_writing

    @property
    def is_dead(self) -> bool:
        """Does it take the user to start the engine?"""
        return self.conversing.is_dead

    @on(told.Opened)
    async def _show_opened(self, message: told.Opened) -> None:
        self.query_one(Status).leave()
        self.show_title()
        await self.query_one(Talk).show(message)

    @on(told.Asked)
    async def _show_asked(self, message: told.Asked) -> None:
        await self.query_one(Talk).ask(message.question)

    @on(told.Wrote)
    async def _show_wrote(self, message: told.Wrote) -> None:
        await self.query_one(Talk).write(message.reply, message.text)

    @on(told.Finished)
    async def _show_finished(self, message: told.Finished) -> None:
        await self.query_one(Talk).finish(message.reply)

    @on(told.Dropped)
    def _show_dropped(self, message: told.Dropped) -> None:
        self.query_one(Talk).transcript.set_dropped(message.ids)

    @on(told.Failed)
    async def _show_failed(self, message: told.Failed) -> None:
        await self.query_one(Talk).fail(message.error, RELOAD if self.is_dead else None)

    @on(told.GaveBack)
    def _take_back(self, message: told.GaveBack) -> None:
        self._composer.give_back(message.text, message.instead_of)

    @on(told.Situated)
    def _show_situation(self, message: told.Situated) -> None:
        status = self.query_one(Status)
        if message.event is not None:
            status.hear(message.event)
        status.situation = message.situation

    @on(told.Runs)
    def _show_running(self, message: told.Runs) -> None:
        running, title = message.running, self.query_one(Title)
        title.model, title.detail = running.title, running.detail
        self.query_one(Status).take(running)
        for note in running.notes:
            self.notify(clean(note), severity="warning", timeout=NOTE_SECONDS, markup=False)

    @on(told.Elsewhere)
    def _show_elsewhere(self, message: told.Elsewhere) -> None:
        title = one_line(message.title, 60)
        if message.error is None:
            self.notify("The reply is there.", title=title, markup=False)
        else:
            self.notify(clean(f"{message.error}"), title=title, severity="warning", markup=False)

    @on(told.Retitled)
    def show_title(self) -> None:
        """The title of the conversation, and that others are being answered."""
        others = self.query_one(Status).beside = self.conversing.busy_elsewhere
        with self.conversing.telling():
            title = self.conversing.desk.title
            self.query_one(Title).text = f"{title}  ·  {others} more being written" if others else title
