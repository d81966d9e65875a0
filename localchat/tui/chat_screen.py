"""The chat: transcript, status line and input. Workers post messages; the handlers here alone change the screen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Footer

from localchat.engine.events import Piece
from localchat.errors import EngineDied, LocalchatError
from localchat.library import Installed
from localchat.lifetime import GivenUp
from localchat.prompt.ledger import Ledger
from localchat.text import clean
from localchat.tui.bubble import Bubble
from localchat.tui.chosen import Chosen, label, manners
from localchat.tui.desk import Desk
from localchat.tui.history_screen import HistoryScreen
from localchat.tui.note import Note
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.prompt import Prompt
from localchat.tui.seat import Seat
from localchat.tui.services import Running, Services
from localchat.tui.status import Situation, Status, after
from localchat.tui.title import Title
from localchat.tui.transcript import Transcript
from localchat.tui.turn import Turn

NOTE_SECONDS = 15  # to read two sentences
FIRST_MESSAGES = 2  # a system message and a question


class ChatScreen(Screen[None]):
    """Talk with the loaded model."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop"),
        Binding("ctrl+r", "reload", "Load the model again"),
        Binding("ctrl+n", "new", "New"),
        Binding("ctrl+o", "conversations", "Conversations"),
        Binding("ctrl+l", "models", "Models"),
    ]
    is_writing: reactive[bool] = reactive(False, bindings=True)
    is_dead: reactive[bool] = reactive(False, bindings=True)
    """Did the engine not start, or die too often to be started again by itself?"""

    def __init__(self, services: Services, model: Chosen | None) -> None:
        super().__init__()
        self._services, self._model = services, model
        self._desk = Desk(services.history)
        self._bubble: Bubble | None = None
        self._owes_reply = False  # a question waits for the model to be loaded
        self._is_second_try = False  # the engine died over this question before

    def compose(self) -> ComposeResult:
        yield Seat(self._services)
        yield Turn()
        yield Title()
        yield Transcript()
        yield Status()
        yield Prompt()
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        self.query_one(Prompt).focus()
        self._desk.open_latest()
        await self._show_conversation()
        if self._model is None:
            self.action_models()
        else:
            self._load(self._model)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make no sense now are not shown."""
        return {"stop": self.is_writing, "reload": self.is_dead}.get(action, True)

    # The model

    def action_models(self) -> None:
        """Choose another model, or get one."""
        here = self._model if isinstance(self._model, Installed) else None
        self.app.push_screen(PickerScreen(self._services, here), self._load)

    def action_reload(self) -> None:
        """Start the engine again after it ended."""
        self._load(self._model)

    def _load(self, model: Chosen | None) -> None:
        if model is None:
            return
        self._abandon_turn()
        self._model, self.is_dead = model, False
        self.query_one(Title).model = label(model)
        self.query_one(Status).situation = Situation("loading", "busy")
        self.query_one(Seat).load(model)

    @on(Seat.Loading)
    def _show_loading(self, message: Seat.Loading) -> None:
        self._change(state=f"loading {message.fraction:.0%}")

    @on(Seat.Loaded)
    async def _show_loaded(self, message: Seat.Loaded) -> None:
        self._model = message.running.model  # a server's may get its name only now
        self._change(
            state="ready",
            mood="ready",
            window_tokens=message.running.engine.loaded.context,
            used_tokens=0,
            reply_tokens=0,
        )
        self._show_running(message.running)
        if self._owes_reply and self._desk.has_open_question:
            self._begin_reply(message.running)

    def _show_running(self, running: Running) -> None:
        self.query_one(Title).model = running.title
        for note in running.notes:
            self.notify(clean(note), severity="warning", timeout=NOTE_SECONDS, markup=False)

    @on(Seat.NotLoaded)
    async def _show_not_loaded(self, message: Seat.NotLoaded) -> None:
        self._change(state="not loaded", mood="broken")
        self.is_dead = True
        await self._show_error(message.error)

    # The conversation

    async def action_new(self) -> None:
        """Begin a new conversation."""
        self._desk.number = None
        await self._open()

    def action_conversations(self) -> None:
        """Go back to an earlier conversation."""
        self.app.push_screen(HistoryScreen(self._services.history, self._desk.number), self._open_chosen)

    async def _open_chosen(self, number: int | None) -> None:
        if number is not None:
            self._desk.number = number
            await self._open()

    async def _open(self) -> None:
        self._abandon_turn()
        self._owes_reply = False
        await self._show_conversation()
        self.query_one(Prompt).focus()

    async def _show_conversation(self) -> None:
        self.query_one(Title).text = self._desk.title
        self._change(used_tokens=0, reply_tokens=0, dropped_turns=0)
        await self.query_one(Transcript).show(self._desk.messages)

    # A turn

    @on(Prompt.Submitted)
    async def _ask(self, message: Prompt.Submitted) -> None:
        if self._model is None:
            self.action_models()
            return
        if self.is_writing:
            self.notify("Wait for the reply, or stop it with Escape.", markup=False)
            return
        self.query_one(Prompt).put("")
        self._desk.ask(message.text, self._model, self._services.settings.system or manners(self._model).system)
        await self._show_question(message.text)
        self._owes_reply = True
        if (running := self.query_one(Seat).taken) is not None:
            self._begin_reply(running)

    async def _show_question(self, text: str) -> None:
        """The first one comes with the system message that it is asked under."""
        if len(self._desk.messages) <= FIRST_MESSAGES:
            await self._show_conversation()
        else:
            await self.query_one(Transcript).add(Bubble("user", "You", text))
            self.query_one(Transcript).anchor()

    def _begin_reply(self, running: Running, *, is_second_try: bool = False) -> None:
        self.is_writing, self._owes_reply, self._is_second_try = True, False, is_second_try
        conversation, draft = self._desk.begin_reply(running.model)
        self._change(state="thinking", mood="busy")
        self.query_one(Turn).reply(running, conversation, draft)

    def action_stop(self) -> None:
        """Stop the reply; what was written stays."""
        self._change(state="stopping")
        self.query_one(Turn).stop()

    def _abandon_turn(self) -> None:
        """Stop the reply because something else begins; it is kept, but its end is not shown any more."""
        turn = self.query_one(Turn)
        if turn.is_busy:
            turn.abandon()
            self.is_writing, self._bubble = False, None
            self._change(state="ready", mood="ready")

    @on(Turn.Said)
    async def _show_event(self, message: Turn.Said) -> None:
        if not self.query_one(Turn).hears(message):
            return
        status = self.query_one(Status)
        status.situation = after(status.situation, message.event)
        if isinstance(message.event, Ledger):
            self._show_news()
        elif isinstance(message.event, Piece):
            await self._write(message.event.text)

    def _show_news(self) -> None:
        """The engine may have been started again, or loaded after it was put away: show how it runs now."""
        if (running := self.query_one(Seat).renew()) is not None:
            self._show_running(running)

    async def _write(self, text: str) -> None:
        if self._bubble is None:
            self._change(state="writing")
            self._bubble = Bubble("assistant", self._model.name if self._model else "")
            await self.query_one(Transcript).add(self._bubble)
        await self._bubble.write(text)

    @on(Turn.Ended)
    async def _end_turn(self, message: Turn.Ended) -> None:
        if not self.query_one(Turn).hears(message):
            return
        was_reply, self.is_writing = self.is_writing, False
        bubble, self._bubble = self._bubble, None
        if bubble is not None and (last := self._desk.messages[-1]).role == "assistant":
            await bubble.finish(last.text, last.state)
        self._change(state="ready", mood="ready")
        self._show_news()
        is_death = was_reply and isinstance(message.error, EngineDied)
        if isinstance(message.error, GivenUp):
            self.is_dead, self._owes_reply = True, was_reply
            self._change(state="engine stopped", mood="broken")
        elif was_reply and self._desk.has_open_question and (not is_death or self._is_second_try):
            await self._give_back()
        if message.error is not None:
            await self._show_error(message.error)
        if is_death and not self.is_dead:
            self._recover()

    def _recover(self) -> None:
        """The engine is being started again. A question that got no word is asked once more: it may be the cause."""
        running = self.query_one(Seat).taken
        if running is not None and self._desk.has_open_question:
            self._begin_reply(running, is_second_try=True)
        elif running is not None:
            self._change(state="starting again", mood="busy")
            self.query_one(Turn).wake(running)

    async def _give_back(self) -> None:
        """A question that got no answer goes back into the input."""
        self.query_one(Prompt).put(self._desk.take_back())
        await self._show_conversation()

    async def _show_error(self, error: LocalchatError) -> None:
        offer = ("Load the model again (Ctrl+R)", "screen.reload") if self.is_dead else None
        await self.query_one(Transcript).add(Note(error, offer))

    def _change(self, **changes: Any) -> None:
        """Change some facts of the status line."""
        status = self.query_one(Status)
        status.situation = replace(status.situation, **changes)
