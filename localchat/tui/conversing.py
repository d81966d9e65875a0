"""The open conversation: what is asked and shown of it, while replies of others go on.

Not visible: it says what to show, in the words of `told`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.reactive import reactive
from textual.widget import Widget

from localchat.engine.events import Piece
from localchat.errors import LocalchatError
from localchat.history.store import Saved
from localchat.prompt.ledger import Ledger
from localchat.tui import told
from localchat.tui.answering import Answering
from localchat.tui.chosen import Chosen, manners
from localchat.tui.desk import Desk
from localchat.tui.preferences import Preferences
from localchat.tui.replies import Replies
from localchat.tui.seat import Seat
from localchat.tui.services import Running, Services
from localchat.tui.situation import Situation, after
from localchat.tui.writing import Owed, Writing


class Conversing(Widget):
    """One conversation is open. Replies are written in it and in others."""

    is_writing: reactive[bool] = reactive(False, bindings=True)
    """Is a reply written in the open conversation?"""

    def __init__(self, services: Services, preferences: Preferences, model: Chosen | None) -> None:
        super().__init__()
        self.display = False
        self.desk = Desk(services.history)
        self._services, self._preferences = services, preferences
        self._answering = Answering(services, preferences, model)
        self._rest = Situation()  # while nothing is written in the open conversation
        self._dropped: dict[int | None, frozenset[int]] = {}
        self._can_regenerate = False

    def compose(self) -> ComposeResult:
        yield self._answering

    @property
    def model(self) -> Chosen | None:
        """The model that answers."""
        return self._answering.model

    @property
    def is_dead(self) -> bool:
        """Does it take the user to start the engine?"""
        return self._answering.is_dead

    @property
    def must_wait(self) -> str:
        """Why nothing can be asked now; empty where it can."""
        if self._writing is not None:
            return "Wait for the reply, or stop it with Escape."
        return "Wait until the model is loaded." if self._answering.owes(self.desk.number) else ""

    @property
    def default_system(self) -> str:
        """The system message of new conversations."""
        return self._preferences.current.system or (manners(self.model).system if self.model is not None else "")

    @property
    def running(self) -> Running | None:
        """The model that is loaded."""
        return self._answering.query_one(Seat).taken

    @property
    def is_there(self) -> bool:
        """Is the conversation there, and not deleted by now?"""
        try:
            return self.desk.messages is not None
        except LocalchatError:
            return False

    @property
    def busy_elsewhere(self) -> int:
        """How many replies are written in other conversations."""
        return sum(not self._is_open(writing) for writing in self._answering.replies.all)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What goes wrong within this is told."""
        try:
            yield
        except LocalchatError as error:
            self.post_message(told.Failed(error))

    # What the user does

    def load(self, model: Chosen) -> None:
        """Load a model in the place of the one that is loaded, whose replies end."""
        for writing in self._answering.load(model):
            if writing.text and self._is_open(writing):
                self.post_message(told.Finished(replace(writing.reply, state="stopped")))
        self.is_writing = False
        self._rest = replace(self._rest, used_tokens=0, reply_tokens=0)

    def open(self, number: int | None) -> None:
        """Open a conversation; None begins a new one. A reply that is written in the one that is left goes on."""
        self._answering.wake_no_more()
        if number is None or number != self.desk.number:
            self.desk = Desk(self._services.history, number)
        self._rest = replace(self._rest, used_tokens=0, reply_tokens=0, dropped_turns=0)
        self.show()

    def show(self, marked: int | None = None) -> None:
        """Have the conversation shown anew, with the reply that is being written."""
        with self.telling():
            writing = self._writing
            self.is_writing = writing is not None
            reply = writing.reply if writing is not None else None
            said = [message for message in self.desk.messages if reply is None or message.id != reply.id]
            self.post_message(told.Opened(said, reply, marked))
            self.post_message(told.Dropped(self._dropped.get(self.desk.number, frozenset())))
            self._look()

    def ask(self, text: str, instead_of: int | None = None) -> bool:
        """Keep a question and answer it, at once or when the model is loaded. Is it kept?"""
        assert self.model is not None, "there is a model to ask"
        is_kept = False
        with self.telling():
            self._answering.check(self.desk)
            self.desk.ask(text, self.model, self.default_system, instead_of)
            is_kept = True
            *before, question = self.desk.messages
            if instead_of is not None or all(message.role == "system" for message in before):
                self.show()
            else:
                self.post_message(told.Asked(question))
                self._look()
            self._answering.answer(self.desk, Owed(question_instead_of=instead_of))
        return is_kept

    def regenerate(self, reply: int | None) -> None:
        """Write another reply in the place of this one; of None, answer the last question."""
        with self.telling():
            self._answering.check(self.desk)
            self._answering.answer(self.desk, Owed(reply_instead_of=reply))
            self.show()

    @property
    def can_regenerate(self) -> bool:
        """Is there a reply, or a question without one, at the end?"""
        return self.model is not None and self._can_regenerate

    def regenerate_last(self) -> None:
        """Write another reply in the place of the last one, or the reply that is missing."""
        with self.telling():
            if last := self.desk.messages[-1:]:
                self.regenerate(last[0].id if last[0].role == "assistant" else None)

    def switch(self, message: int, step: int) -> None:
        """Go on with a sibling of a message."""
        with self.telling():
            self.show(self.desk.switch(message, step))

    def delete(self, message: int) -> bool:
        """Remove a message and what follows it; the one before it is marked. Was it removed?"""
        with self.telling():
            before = [saved.id for saved in self.desk.messages]
            self.desk.remove(message)
            place = before.index(message)
            self.show(before[place - 1] if place else None)
            return True
        return False

    def restore(self) -> None:
        """Bring back what was removed last."""
        with self.telling():
            self.show(self.desk.restore())

    def pin(self, message: int) -> Saved | None:
        """Pin a message, or unpin it; how it is kept now."""
        with self.telling():
            self.desk.pin(message)
            self._look()
            return self.desk.find(message)
        return None

    def stop(self) -> None:
        """Stop the reply in the open conversation; what was written stays."""
        if (writing := self._writing) is not None:
            writing.situation = replace(writing.situation, state="stopping")
            self._situate()
            self._answering.replies.stop(writing)

    # How it goes

    @on(Answering.Rests)
    def _hear_rests(self, message: Answering.Rests) -> None:
        message.stop()
        window = message.window_tokens or self._rest.window_tokens
        self._rest = replace(self._rest, state=message.state, mood=message.mood, window_tokens=window)
        self._situate()

    @on(Seat.Waking)
    def _hear_waking(self, message: Seat.Waking) -> None:
        message.stop()
        self._rest = after(self._rest, message.event)
        self._situate()

    @on(Answering.Began)
    def _hear_began(self, message: Answering.Began) -> None:
        message.stop()
        message.writing.situation = replace(self._rest, state="thinking", mood="busy")
        self.is_writing = self._writing is not None
        self._situate()
        self.post_message(told.Retitled())

    @on(Replies.Said)
    def _hear_said(self, message: Replies.Said) -> None:
        message.stop()
        writing, event = message.writing, message.event
        if writing.is_abandoned:
            return
        writing.hear(event)
        if isinstance(event, Ledger):
            self._note_dropped(writing, event)
        if self._is_open(writing):
            self.post_message(told.Situated(writing.situation, event))
            if isinstance(event, Piece):
                self.post_message(told.Wrote(writing.reply, event.text))

    def _note_dropped(self, writing: Writing, ledger: Ledger) -> None:
        dropped = frozenset(writing.question.ids[place] for place in ledger.dropped_messages)
        self._dropped[writing.desk.number] = dropped
        if self._is_open(writing):
            self.post_message(told.Dropped(dropped))

    @on(Answering.Ended)
    def _hear_end(self, message: Answering.Ended) -> None:
        message.stop()
        with self.telling():
            if self._is_open(message.writing):
                self._end_here(message.writing, message.is_given_back)
                if message.error is not None:
                    self.post_message(told.Failed(message.error))
            else:
                self.post_message(told.Elsewhere(message.writing.desk.title, message.error))
        self.post_message(told.Retitled())

    def _end_here(self, writing: Writing, is_given_back: bool) -> None:
        self.is_writing = self._writing is not None
        self._rest = replace(writing.situation, state="ready", mood="ready")
        self._situate()
        if (reply := self.desk.find(writing.question.draft.id)) is not None:
            self.post_message(told.Finished(reply))
        elif is_given_back:
            text = self.desk.take_back()
            self.show()
            self.post_message(told.GaveBack(text, writing.owed.question_instead_of))
        elif writing.owed.reply_instead_of is not None:
            self.show()  # the reply that was there is there again

    @property
    def _writing(self) -> Writing | None:
        """The reply that is written in the open conversation."""
        return self._answering.replies.of(self.desk.number) if self.desk.number is not None else None

    def _look(self) -> None:
        """Take note of what there is in the open conversation."""
        messages = self.desk.messages
        self._can_regenerate = any(message.role != "system" for message in messages)
        pinned = sum(message.pinned for message in messages)
        self._rest = replace(self._rest, pinned=pinned)
        if (writing := self._writing) is not None:
            writing.situation = replace(writing.situation, pinned=pinned)
        self._situate()

    def _is_open(self, writing: Writing) -> bool:
        return writing.desk.number == self.desk.number

    def _situate(self) -> None:
        writing = self._writing
        self.post_message(told.Situated(self._rest if writing is None else writing.situation))
