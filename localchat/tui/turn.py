"""What the engine is doing: writing replies, several at once, or being loaded again. Not visible."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from textual.message import Message
from textual.widget import Widget
from textual.worker import get_current_worker

from localchat.chat import TurnEvent
from localchat.errors import LocalchatError
from localchat.tui.pace import paced

Begin = Callable[[], Generator[TurnEvent]]


class Turn(Widget):
    """Does things, each with a number, and says by messages how they go."""

    @dataclass
    class Said(Message):
        """An event of one of them."""

        number: int
        event: TurnEvent

    @dataclass
    class Ended(Message):
        """One is over; `error` says why, if it did not end well."""

        number: int
        error: LocalchatError | None

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._numbers = itertools.count(1)
        self._ongoing: dict[int, threading.Event] = {}  # set to stop; a worker that is cancelled early tells no end

    def begin(self, begin: Begin) -> int:
        """Do what these events are of; its number."""
        number, stop = next(self._numbers), threading.Event()
        self._ongoing[number] = stop
        self.run_worker(partial(self._work, number, begin, stop), thread=True, exit_on_error=False)
        return number

    def stop(self, number: int) -> None:
        """Stop; the end is still told."""
        if number in self._ongoing:
            self._ongoing[number].set()

    def abandon(self, number: int) -> None:
        """Stop, and let nothing more be heard."""
        self.stop(number)
        self._ongoing.pop(number, None)

    def hears(self, message: Said | Ended) -> bool:
        """Does this tell of what is going on, rather than of what was abandoned? After its end nothing is going on."""
        is_heard = message.number in self._ongoing
        if isinstance(message, self.Ended):
            self._ongoing.pop(message.number, None)
        return is_heard

    def _work(self, number: int, begin: Begin, stop: threading.Event) -> None:
        worker, failure = get_current_worker(), None
        try:
            with closing(begin()) as events:
                for event in paced(events):
                    if stop.is_set() or worker.is_cancelled:
                        break
                    self.post_message(self.Said(number, event))
        except LocalchatError as error:
            failure = error
        self.post_message(self.Ended(number, failure))
