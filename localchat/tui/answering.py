"""The engine's side of the chat: loads models, answers questions of any conversation, and goes on after a death.

Not visible. Which conversation is open is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from localchat.errors import EngineDied, LocalchatError
from localchat.lifetime import GivenUp
from localchat.llama.placement import SLOTS
from localchat.presets import preset
from localchat.prompt.ledger import Ledger
from localchat.tui import told
from localchat.tui.chosen import Chosen
from localchat.tui.desk import Desk
from localchat.tui.preferences import Preferences
from localchat.tui.replies import Replies
from localchat.tui.seat import Seat
from localchat.tui.services import Running, Services
from localchat.tui.situation import Mood
from localchat.tui.titling import Titling
from localchat.tui.writing import Owed, Writing


class Answering(Widget):
    """Answers, and says by messages how that goes; those of `Replies`, `Seat.Waking` and `told` come through here."""

    @dataclass
    class Rests(Message):
        """This is what the engine does beside writing; a new load has its `window_tokens`."""

        state: str
        mood: Mood
        window_tokens: int = 0

    @dataclass
    class Began(Message):
        """A reply is being written."""

        writing: Writing

    @dataclass
    class Ended(Message):
        """A reply is over; where `is_given_back`, its question was not answered, and will not be."""

        writing: Writing
        error: LocalchatError | None
        is_given_back: bool

    is_dead: reactive[bool] = reactive(False, bindings=True)
    """Did the engine not start, or die too often to be started again by itself?"""

    def __init__(self, services: Services, preferences: Preferences, model: Chosen | None) -> None:
        super().__init__()
        self.display = False
        self.model = model
        self._services, self._preferences = services, preferences
        self._owed: dict[int | None, tuple[Desk, Owed]] = {}  # by conversation: what waits for the model to be loaded

    def compose(self) -> ComposeResult:
        yield Seat(self._services)
        yield Replies()
        yield Titling(self._services.history)

    @property
    def replies(self) -> Replies:
        """What is being written."""
        return self.query_one(Replies)

    def owes(self, conversation: int | None) -> bool:
        """Does a question there wait for the model to be loaded?"""
        return conversation in self._owed

    # Asking

    def load(self, model: Chosen) -> list[Writing]:
        """Load a model in the place of the one that is loaded; the replies that end by that."""
        self._stop_minor_work()
        ended = self.replies.abandon()
        self.model, self.is_dead = model, False
        self.post_message(self.Rests("loading", "busy"))
        self.query_one(Seat).load(model)
        return ended

    def check(self, desk: Desk) -> None:
        """Raises LocalchatError where nothing can be answered there."""
        if self.replies.is_full:
            raise LocalchatError(f"{SLOTS} replies are being written already", "wait for one, or stop it")
        self._changes(desk)

    def answer(self, desk: Desk, owed: Owed) -> None:
        """Answer, at once or when the model is loaded. Raises LocalchatError."""
        if (running := self.query_one(Seat).taken) is not None:
            self._begin(desk, running, owed)
        else:
            self._owed[desk.number] = (desk, owed)

    def wake_no_more(self) -> None:
        """Nobody is interested any more in how the engine is started again."""
        seat = self.query_one(Seat)
        if seat.is_waking:
            seat.wake_no_more()
            self.post_message(self.Rests("ready", "ready"))

    def _begin(self, desk: Desk, running: Running, owed: Owed) -> None:
        self._stop_minor_work()
        writing = self.replies.begin(desk, running, owed, self._changes(desk))
        self.post_message(self.Began(writing))

    def _changes(self, desk: Desk) -> Mapping[str, float]:
        try:
            return preset(desk.preset, self._preferences.current)
        except LocalchatError as error:
            raise LocalchatError(str(error), "choose another one with F5") from error

    def _stop_minor_work(self) -> None:
        self.query_one(Titling).stop()
        self.wake_no_more()

    # The model

    @on(Seat.Loading)
    def _hear_loading(self, message: Seat.Loading) -> None:
        message.stop()
        self.post_message(self.Rests(f"loading {message.fraction:.0%}", "busy"))

    @on(Seat.Loaded)
    def _hear_loaded(self, message: Seat.Loaded) -> None:
        message.stop()
        running, taken = message.running, self.query_one(Seat).taken
        if taken is None or taken.engine is not running.engine:
            return  # another model was chosen meanwhile
        self.model = running.model  # a server's may get its name only now
        self.post_message(self.Rests("ready", "ready", running.engine.loaded.context))
        self.post_message(told.Runs(running))
        owed, self._owed = self._owed, {}
        for desk, reply in owed.values():
            try:
                if desk.has_open_question or reply.reply_instead_of is not None:
                    self._begin(desk, running, reply)
            except LocalchatError as error:
                self.post_message(told.Failed(error))

    @on(Seat.NotLoaded)
    def _hear_not_loaded(self, message: Seat.NotLoaded) -> None:
        message.stop()
        self.is_dead = True
        self.post_message(self.Rests("not loaded", "broken"))
        self.post_message(told.Failed(message.error))

    def _renew(self) -> Running | None:
        """The engine may have been started again, or loaded after it was put away: tell how it runs now."""
        running = self.query_one(Seat).renew()
        if running is not None:
            self.post_message(told.Runs(running))
        return running

    # A reply

    @on(Replies.Said)
    def _hear_said(self, message: Replies.Said) -> None:
        if isinstance(message.event, Ledger):
            self._renew()

    @on(Replies.Ended)
    def _hear_end(self, message: Replies.Ended) -> None:
        message.stop()
        try:
            self._end(message.writing, message.error)
        except LocalchatError as error:
            self.post_message(self.Ended(message.writing, error, is_given_back=False))

    def _end(self, writing: Writing, error: LocalchatError | None) -> None:
        running, is_unanswered = self._renew(), writing.desk.has_open_question
        is_death, is_last_try = isinstance(error, EngineDied), writing.owed.is_second_try
        if isinstance(error, GivenUp) and is_unanswered:
            self._owed[writing.desk.number] = (writing.desk, writing.owed)
        is_given_back = is_unanswered and (not is_death or (is_last_try and not isinstance(error, GivenUp)))
        self.post_message(self.Ended(writing, error, is_given_back))
        if isinstance(error, GivenUp):
            self._give_up()
        elif is_death and running is not None and is_unanswered and not is_last_try:
            # The engine is being started again. The question got no word, and may not be the cause.
            self._begin(writing.desk, running, replace(writing.owed, is_second_try=True))
        elif is_death:
            self._wake()
        elif error is None and running is not None and not is_unanswered and not self.replies.all:
            self._make_title(running, writing.desk)

    def _make_title(self, running: Running, desk: Desk) -> None:
        if self._preferences.current.titles and desk.number is not None:
            self.query_one(Titling).begin(running, desk.number)

    @on(Titling.Ended)
    def _hear_title(self, message: Titling.Ended) -> None:
        """A title is not worth a complaint, but the end of the engine is."""
        message.stop()
        self._renew()
        if isinstance(message.error, GivenUp):
            self._tell_failure(message.error)
        self.post_message(told.Retitled())

    # The engine ended

    def _wake(self) -> None:
        """It is being started again: tell how far that is."""
        if not self.query_one(Seat).is_waking and not self.replies.all:
            self.post_message(self.Rests("starting again", "busy"))
            self.query_one(Seat).wake()

    @on(Seat.Awake)
    def _hear_awake(self, message: Seat.Awake) -> None:
        message.stop()
        self.post_message(self.Rests("ready", "ready"))
        self._renew()
        self._tell_failure(message.error)

    def _tell_failure(self, error: LocalchatError | None) -> None:
        if isinstance(error, GivenUp):
            self._give_up()
        if error is not None:
            self.post_message(told.Failed(error))

    def _give_up(self) -> None:
        self.is_dead = True
        self.post_message(self.Rests("engine stopped", "broken"))
