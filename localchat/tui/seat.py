"""The one engine of the app: loads a model, holds it, waits for it, gives its memory back. Not visible."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.widget import Widget
from textual.worker import Worker, get_current_worker

from localchat.chat import TurnEvent
from localchat.errors import LocalchatError
from localchat.tui.chosen import Chosen
from localchat.tui.services import Running, Services
from localchat.tui.turn import Turn


class Seat(Widget):
    """Where the engine sits. Says by messages how loading goes."""

    @dataclass
    class Loading(Message):
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
    class Waking(Message):
        """The engine is being started again; this is how far it is."""

        event: TurnEvent

    @dataclass
    class Awake(Message):
        """It is there again; or not, because of `error`."""

        error: LocalchatError | None

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.display = False
        self._services = services
        self._waking: int | None = None
        self.taken: Running | None = None
        """The model that is loaded, or None while there is none."""

    def compose(self) -> ComposeResult:
        yield Turn()

    @property
    def is_waking(self) -> bool:
        """Is the engine waited for?"""
        return self._waking is not None

    def load(self, model: Chosen) -> None:
        """Load a model in the place of the one that is loaded."""
        self.wake_no_more()
        previous, self.taken = self.taken, None
        self._load(model, previous)

    def renew(self) -> Running | None:
        """What runs here by now, with the notes that nobody has seen."""
        if self.taken is not None:
            self.taken = self.taken.renewed()
        return self.taken

    def wake(self) -> None:
        """Wait until the engine is there again."""
        if self.taken is not None and not self.is_waking:
            self._waking = self.query_one(Turn).begin(self.taken.wake)

    def wake_no_more(self) -> None:
        """Nobody waits any more; the engine starts all the same."""
        if self._waking is not None:
            self.query_one(Turn).abandon(self._waking)
            self._waking = None

    @on(Turn.Said)
    def _hear_waking(self, message: Turn.Said) -> None:
        message.stop()
        if self.query_one(Turn).hears(message):
            self.post_message(self.Waking(message.event))

    @on(Turn.Ended)
    def _hear_awake(self, message: Turn.Ended) -> None:
        message.stop()
        if self.query_one(Turn).hears(message):
            self._waking = None
            self.post_message(self.Awake(message.error))

    def on_unmount(self) -> None:
        """Give the memory back."""
        if self.taken is not None:
            self.taken.engine.close()

    @work(thread=True, exclusive=True, group="load", exit_on_error=False)
    def _load(self, model: Chosen, previous: Running | None) -> None:
        worker = get_current_worker()
        try:
            if previous is not None:
                previous.engine.close()
            running = self._services.launch(model, lambda fraction: self._report(worker, fraction))
        except LocalchatError as error:
            self._post(worker, self.NotLoaded(error))
        else:
            if worker.is_cancelled:
                running.engine.close()
            else:
                self.taken = running
                self.post_message(self.Loaded(running))

    def _report(self, worker: Worker[None], fraction: float) -> None:
        if worker.is_cancelled:
            raise LocalchatError("loading was cancelled", "choose a model")
        self.post_message(self.Loading(fraction))

    def _post(self, worker: Worker[None], message: Message) -> None:
        if not worker.is_cancelled:
            self.post_message(message)
