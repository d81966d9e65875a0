"""The chat: transcript, status line and input. Workers post messages; the handlers here alone change the screen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import ClassVar

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
from localchat.library import Installed, remember_use
from localchat.prompt.ledger import Ledger
from localchat.tui.bubble import Bubble
from localchat.tui.desk import Desk
from localchat.tui.history_screen import HistoryScreen
from localchat.tui.note import Note
from localchat.tui.pace import paced
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.prompt import Prompt
from localchat.tui.services import Running, Services
from localchat.tui.status import Situation, Status
from localchat.tui.title import Title
from localchat.tui.transcript import Transcript

PLACES = {"gpu": "GPU", "memory": "CPU", "partial": "GPU and CPU"}


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
    """Did the engine end on its own?"""

    @dataclass
    class LoadProgress(Message):
        """The model is being loaded."""

        fraction: float

    @dataclass
    class Loaded(Message):
        """The model is ready."""

        running: Running

    @dataclass
    class NotLoaded(Message):
        """The model did not load."""

        error: LocalchatError

    @dataclass
    class Said(Message):
        """An event of the reply."""

        event: TurnEvent

    @dataclass
    class Ended(Message):
        """The reply is over; `error` says why, if it did not end well."""

        error: LocalchatError | None

    def __init__(self, services: Services, model: Installed | None) -> None:
        super().__init__()
        self._services, self._model = services, model
        self._desk = Desk(services.history)
        self._active: Running | None = None
        self._bubble: Bubble | None = None

    def compose(self) -> ComposeResult:
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
            self._begin_loading(self._model)

    def close_engine(self) -> None:
        """Give the model's memory back."""
        if self._active is not None:
            self._active.engine.close()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make no sense now are not shown."""
        return {"stop": self.is_writing, "reload": self.is_dead}.get(action, True)

    # The model

    def action_models(self) -> None:
        """Choose another model, or get one."""
        self.app.push_screen(PickerScreen(self._services, self._model), self._chosen)

    def action_reload(self) -> None:
        """Start the engine again after it ended."""
        if self._model is not None:
            self._begin_loading(self._model)

    def _chosen(self, model: Installed | None) -> None:
        if model is not None:
            self._begin_loading(model)

    def _begin_loading(self, model: Installed) -> None:
        self.is_dead = False
        self.action_stop()
        self._model = model
        self.query_one(Title).model = f"{model.name} · {model.receipt.quant}"
        self.query_one(Status).situation = Situation("loading", "busy")
        self._load(model, self._active)
        self._active = None

    @work(thread=True, exclusive=True, group="load", exit_on_error=False)
    def _load(self, model: Installed, previous: Running | None) -> None:
        try:
            if previous is not None:
                previous.engine.close()
            running = self._services.launch(model, self._report)
        except LocalchatError as error:
            self.post_message(self.NotLoaded(error))
        else:
            self.post_message(self.Loaded(running))

    def _report(self, fraction: float) -> None:
        self.post_message(self.LoadProgress(fraction))

    @on(LoadProgress)
    def _show_loading(self, message: LoadProgress) -> None:
        self._change(state=f"loading {message.fraction:.0%}")

    @on(Loaded)
    def _take_engine(self, message: Loaded) -> None:
        self._active = message.running
        model, plan = message.running.model, message.running.plan
        self.query_one(Title).model = f"{model.name} · {plan.quant} · {PLACES[plan.fits]}"
        self._change(state="ready", mood="ready", window_tokens=message.running.engine.loaded.context, used_tokens=0)
        if self._desk.has_open_question:
            self._begin_reply(message.running)

    @on(NotLoaded)
    async def _show_not_loaded(self, message: NotLoaded) -> None:
        self._change(state="not loaded", mood="broken")
        self.is_dead = True
        await self._show_error(message.error)

    # The conversation

    async def action_new(self) -> None:
        """Begin a new conversation."""
        await self._open(None)

    def action_conversations(self) -> None:
        """Go back to an earlier conversation."""
        self.app.push_screen(HistoryScreen(self._services.history, self._desk.number), self._open_chosen)

    async def _open_chosen(self, number: int | None) -> None:
        if number is not None:
            await self._open(number)

    async def _open(self, number: int | None) -> None:
        self.action_stop()
        self._bubble = None
        self._desk.open(number)
        await self._show_conversation()
        self.query_one(Prompt).focus()

    async def _show_conversation(self) -> None:
        self.query_one(Title).text = self._desk.title
        self._change(used_tokens=0, dropped_turns=0)
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
        system = self._services.settings.system or self._model.receipt.system
        self._desk.ask(message.text, self._model, system)
        self.query_one(Title).text = self._desk.title
        await self.query_one(Transcript).add(Bubble("user", "You", message.text))
        self.query_one(Transcript).anchor()
        if self._active is not None:
            self._begin_reply(self._active)

    def _begin_reply(self, running: Running) -> None:
        self.is_writing = True
        conversation, draft = self._desk.begin_reply(running.model)
        self._change(state="thinking", mood="busy")
        self._reply(running, conversation, draft)

    @work(thread=True, exclusive=True, group="reply", exit_on_error=False)
    def _reply(self, running: Running, conversation: Conversation, draft: SavedDraft) -> None:
        worker, failure = get_current_worker(), None
        stops: Sequence[str] = running.model.receipt.stops
        try:
            sampling = recommended(running.engine, {})
            with closing(reply(running.engine, conversation, sampling, stops, draft)) as events:
                for event in paced(events):
                    if worker.is_cancelled:
                        break
                    self.post_message(self.Said(event))
        except LocalchatError as error:
            failure = error
        self.post_message(self.Ended(failure))

    def action_stop(self) -> None:
        """Stop the reply; what was written stays."""
        if self.is_writing:
            self._change(state="stopping")
            self.workers.cancel_group(self, "reply")

    @on(Said)
    async def _show_event(self, message: Said) -> None:
        match message.event:
            case Ledger(window_tokens=window, used_tokens=used, dropped_turns=dropped):
                self._change(window_tokens=window, used_tokens=used, dropped_turns=dropped)
            case Waiting():
                self._change(state="waiting for its turn")
            case Reading(done, total) if done < total:
                self._change(state=f"reading {done:,}/{total:,}")
            case Piece(text):
                await self._write(text)
            case Done(usage=usage):
                used = usage.prompt_tokens + usage.completion_tokens
                self._change(
                    used_tokens=used, tokens_per_second=usage.tokens_per_second,
                    first_token_seconds=usage.first_token_seconds,
                )  # fmt: skip
                if self._active is not None:
                    remember_use(self._active.model, usage.tokens_per_second)

    async def _write(self, text: str) -> None:
        if self._bubble is None and self._active is not None:
            self._change(state="writing")
            self._bubble = Bubble("assistant", self._active.model.name)
            await self.query_one(Transcript).add(self._bubble)
        if self._bubble is not None:
            await self._bubble.write(text)

    @on(Ended)
    async def _end_reply(self, message: Ended) -> None:
        self.is_writing = False
        bubble, self._bubble = self._bubble, None
        if bubble is not None and (last := self._desk.messages[-1]).role == "assistant":
            await bubble.finish(last.text, last.state)
        self._change(state="ready", mood="ready")
        if self._desk.has_open_question and not isinstance(message.error, EngineDied):
            await self._give_back()
        if message.error is not None:
            self.is_dead = isinstance(message.error, EngineDied)
            if self.is_dead:
                self._change(state="engine stopped", mood="broken")
            await self._show_error(message.error)

    async def _give_back(self) -> None:
        """A question that got no answer goes back into the input."""
        self.query_one(Prompt).put(self._desk.take_back())
        await self._show_conversation()

    async def _show_error(self, error: LocalchatError) -> None:
        offer = ("Load the model again (Ctrl+R)", "screen.reload") if self.is_dead else None
        await self.query_one(Transcript).add(Note(error, offer))

    def _change(self, **changes: object) -> None:
        status = self.query_one(Status)
        status.situation = replace(status.situation, **changes)  # type: ignore[arg-type]
