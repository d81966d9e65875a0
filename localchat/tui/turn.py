"""What the engine is doing for the conversation: writing a reply, or being loaded again. Not visible."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from textual import work
from textual.message import Message
from textual.widget import Widget
from textual.worker import get_current_worker

from localchat.chat import TurnEvent, recommended, reply
from localchat.conversation import Conversation
from localchat.engine.events import Done
from localchat.errors import LocalchatError
from localchat.history.store import SavedDraft
from localchat.tui.chosen import manners, remember
from localchat.tui.pace import paced
from localchat.tui.services import Running

Begin = Callable[[], Generator[TurnEvent]]


class Turn(Widget):
    """Does one thing at a time, and says by messages how it goes."""

    @dataclass
    class Said(Message):
        """An event of it."""

        number: int
        event: TurnEvent

    @dataclass
    class Ended(Message):
        """It is over; `error` says why, if it did not end well."""

        number: int
        error: LocalchatError | None

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self.is_busy = False
        self._number = 0

    def reply(self, running: Running, conversation: Conversation, draft: SavedDraft) -> None:
        """Answer the last question."""
        self._begin(lambda: _reply(running, conversation, draft))

    def wake(self, running: Running) -> None:
        """Wait until the engine is loaded again."""
        self._begin(running.wake)

    def stop(self) -> None:
        """Stop; the end is still told."""
        self.workers.cancel_group(self, "turn")

    def abandon(self) -> None:
        """Stop, and let nothing more be heard."""
        self.stop()
        self._number += 1
        self.is_busy = False

    def hears(self, message: Said | Ended) -> bool:
        """Does this tell of what is going on, rather than of what was abandoned? After its end nothing is going on."""
        if message.number != self._number:
            return False
        self.is_busy = not isinstance(message, self.Ended)
        return True

    def _begin(self, begin: Begin) -> None:
        self._number += 1
        self.is_busy = True
        self._work(self._number, begin)

    @work(thread=True, exclusive=True, group="turn", exit_on_error=False)
    def _work(self, number: int, begin: Begin) -> None:
        worker, failure = get_current_worker(), None
        try:
            with closing(begin()) as events:
                for event in events:
                    if worker.is_cancelled:
                        break
                    self.post_message(self.Said(number, event))
        except LocalchatError as error:
            failure = error
        self.post_message(self.Ended(number, failure))


def _reply(running: Running, conversation: Conversation, draft: SavedDraft) -> Generator[TurnEvent]:
    known = manners(running.model)
    sampling = recommended(running.engine, known.sampling, {})
    with closing(reply(running.engine, conversation, sampling, known.stops, draft)) as events:
        for event in paced(events):
            yield event
            if isinstance(event, Done):
                remember(running.model, event.usage.tokens_per_second)
