"""A reply that is being written, of whichever conversation; and the events of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

from localchat.chat import TurnEvent, recommended, reply
from localchat.engine.events import Done, Piece
from localchat.history.store import Saved
from localchat.tui.chosen import manners, remember
from localchat.tui.desk import Desk, Question
from localchat.tui.services import Running
from localchat.tui.situation import Situation, after

THINKING = Situation("thinking", "busy")


@dataclass(frozen=True, slots=True)
class Owed:
    """A reply that is to be written, or is."""

    question_instead_of: int | None = None
    """The question was asked in the place of this one."""
    reply_instead_of: int | None = None
    """The reply is another one beside this one."""
    is_second_try: bool = False
    """The engine died over this question before."""


@dataclass
class Writing:
    """How far a reply is."""

    desk: Desk
    question: Question
    owed: Owed
    model: str
    situation: Situation = THINKING
    text: str = ""
    is_abandoned: bool = False
    """Is nothing more to be heard of it?"""

    def hear(self, event: TurnEvent) -> None:
        """Take note of an event."""
        self.situation = after(self.situation, event)
        if isinstance(event, Piece):
            self.situation = replace(self.situation, state="writing")
            self.text += event.text

    @property
    def reply(self) -> Saved:
        """The reply so far, as it would be kept."""
        return Saved(self.question.draft.id, "assistant", self.text, "writing", self.model)


def written(running: Running, question: Question, changes: Mapping[str, float]) -> Generator[TurnEvent]:
    """Write the reply; `changes` are those of the sampling that the model recommends."""
    known = manners(running.model)
    sampling = recommended(running.engine, known.sampling, changes)
    with closing(reply(running.engine, question.conversation, sampling, known.stops, question.draft)) as events:
        for event in events:
            yield event
            if isinstance(event, Done):
                remember(running.model, event.usage.tokens_per_second)
