"""The chat: transcript, status line and input. Workers post messages; the handlers here alone change the screen."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import get_current_worker

from localchat.chat import TurnEvent, recommended, reply
from localchat.conversation import Conversation
from localchat.engine.events import Done, Piece, Reading, Waiting
from localchat.errors import EngineDied, LocalchatError
from localchat.history.store import SavedDraft
from localchat.library import Installed
from localchat.prompt.ledger import Ledger
from localchat.text import clean
from localchat.tui.bubble import Bubble
from localchat.tui.chosen import Chosen, label, manners, remember
from localchat.tui.desk import Desk
from localchat.tui.history_screen import HistoryScreen
from localchat.tui.note import Note
from localchat.tui.pace import paced
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.prompt import Prompt
from localchat.tui.seat import Seat
from localchat.tui.services import Running, Services
from localchat.tui.status import Situation, Status
from localchat.tui.title import Title
from localchat.tui.transcript import Transcript

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
    """Did the engine end on its own, or not start?"""

    @dataclass
    class Said(Message):
        """An event of the reply of this turn."""

        turn: int
        event: TurnEvent

    @dataclass
    class Ended(Message):
        """The reply of this turn is over; `error` says why, if it did not end well."""

        turn: int
        error: LocalchatError | None

    def __init__(self, services: Services, model: Chosen | None) -> None:
        super().__init__()
        self._services, self._model = services, model
        self._desk = Desk(services.history)
        self._turn = 0  # what workers of earlier turns still say is not heard
        self._bubble: Bubble | None = None
        self._owes_reply = False  # a question waits for the model to be loaded

    def compose(self) -> ComposeResult:
        yield Seat(self._services)
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
        self.query_one(Title).model = message.running.title
        self._change(
            state="ready",
            mood="ready",
            window_tokens=message.running.engine.loaded.context,
            used_tokens=0,
            reply_tokens=0,
        )
        for note in message.running.notes:
            self.notify(clean(note), severity="warning", timeout=NOTE_SECONDS, markup=False)
        if self._owes_reply and self._desk.has_open_question:
            self._begin_reply(message.running)

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

    def _begin_reply(self, running: Running) -> None:
        self.is_writing, self._owes_reply = True, False
        self._turn += 1
        conversation, draft = self._desk.begin_reply(running.model)
        self._change(state="thinking", mood="busy")
        self._reply(self._turn, running, conversation, draft)

    @work(thread=True, exclusive=True, group="reply", exit_on_error=False)
    def _reply(self, turn: int, running: Running, conversation: Conversation, draft: SavedDraft) -> None:
        worker, failure = get_current_worker(), None
        try:
            known = manners(running.model)
            sampling = recommended(running.engine, known.sampling, {})
            with closing(reply(running.engine, conversation, sampling, known.stops, draft)) as events:
                for event in paced(events):
                    if worker.is_cancelled:
                        break
                    self.post_message(self.Said(turn, event))
                    if isinstance(event, Done):
                        remember(running.model, event.usage.tokens_per_second)
        except LocalchatError as error:
            failure = error
        self.post_message(self.Ended(turn, failure))

    def action_stop(self) -> None:
        """Stop the reply; what was written stays."""
        self._change(state="stopping")
        self.workers.cancel_group(self, "reply")

    def _abandon_turn(self) -> None:
        """Stop the reply because something else begins; it is kept, but its end is not shown any more."""
        if self.is_writing:
            self.workers.cancel_group(self, "reply")
            self._turn += 1
            self.is_writing, self._bubble = False, None
            self._change(state="ready", mood="ready")

    @on(Said)
    async def _show_event(self, message: Said) -> None:
        if message.turn != self._turn:
            return
        match message.event:
            case Ledger(window_tokens=window, used_tokens=used, dropped_turns=dropped):
                self._change(window_tokens=window, used_tokens=used, reply_tokens=0, dropped_turns=dropped)
            case Waiting() if self._bubble is None:
                self._change(state="waiting")
            case Reading(done, total) if done < total:
                self._change(state=f"reading {done:,}/{total:,}")
            case Piece(text, tokens):
                self._change(reply_tokens=tokens)
                await self._write(text)
            case Done(usage=usage):
                self._change(
                    used_tokens=usage.prompt_tokens,
                    reply_tokens=usage.completion_tokens,
                    tokens_per_second=usage.tokens_per_second,
                    first_token_seconds=usage.first_token_seconds,
                )

    async def _write(self, text: str) -> None:
        if self._bubble is None:
            self._change(state="writing")
            self._bubble = Bubble("assistant", self._model.name if self._model else "")
            await self.query_one(Transcript).add(self._bubble)
        await self._bubble.write(text)

    @on(Ended)
    async def _end_reply(self, message: Ended) -> None:
        if message.turn != self._turn:
            return
        self.is_writing = False
        bubble, self._bubble = self._bubble, None
        if bubble is not None and (last := self._desk.messages[-1]).role == "assistant":
            await bubble.finish(last.text, last.state)
        self._change(state="ready", mood="ready")
        if isinstance(message.error, EngineDied):
            self.is_dead = self._owes_reply = True
            self._change(state="engine stopped", mood="broken")
        elif self._desk.has_open_question:
            await self._give_back()
        if message.error is not None:
            await self._show_error(message.error)

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
