"""A conversation: what is in it, where it is kept, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from localchat.conversation import Conversation
from localchat.errors import LocalchatError
from localchat.history.store import Heading, History, Saved, SavedDraft, conversation_of
from localchat.tui.attachment import subject
from localchat.tui.chosen import Chosen


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be answered, and where the answer is kept."""

    conversation: Conversation
    ids: tuple[int, ...]
    """Of its messages, in their order."""
    draft: SavedDraft


class Desk:
    """One conversation of the history; a new one comes into being with its first question."""

    def __init__(self, history: History, number: int | None = None) -> None:
        self._history = history
        self.number = number
        """Which conversation it is; None is a new one."""
        self._system = self._preset = ""  # of a new one
        self._removed: list[int] = []

    @property
    def messages(self) -> list[Saved]:
        """What was said on the open branch, as it is kept."""
        return self._history.messages(self.number) if self.number is not None else []

    @property
    def title(self) -> str:
        """The title of the conversation."""
        return heading.title if (heading := self._heading) else "New conversation"

    @property
    def system(self) -> str:
        """The system message; of a new conversation empty where nothing was said about it."""
        if self.number is None:
            return self._system
        return next((message.text for message in self.messages if message.role == "system"), "")

    @system.setter
    def system(self, text: str) -> None:
        if self.number is None:
            self._system = text
        else:
            self._history.set_system(self.number, text)

    @property
    def preset(self) -> str:
        """The name of the sampling preset; empty is none."""
        if self.number is None:
            return self._preset
        return heading.preset if (heading := self._heading) else ""

    @preset.setter
    def preset(self, name: str) -> None:
        if self.number is None:
            self._preset = name
        else:
            self._history.set_preset(self.number, name)

    @property
    def unsent(self) -> str:
        """What was written and not sent."""
        return self._history.unsent(self.number)

    @unsent.setter
    def unsent(self, text: str) -> None:
        self._history.keep_unsent(self.number, text)

    @property
    def has_open_question(self) -> bool:
        """Is the last thing that was said a question?"""
        messages = self.messages
        return bool(messages) and messages[-1].role == "user"

    @property
    def can_restore(self) -> bool:
        """Was something removed that can come back?"""
        return bool(self._removed)

    def find(self, message: int) -> Saved | None:
        """A message of the open branch."""
        return next((saved for saved in self.messages if saved.id == message), None)

    def ask(self, question: str, model: Chosen, system: str, instead_of: int | None = None) -> None:
        """Keep a question. A new conversation begins with `system` where the user said nothing else."""
        if self.number is None:
            self.unsent, preset = "", self._preset
            self.number = self._history.begin(subject(question), model.name, self._system or system)
            self._system = self._preset = ""
            if preset:
                self.preset = preset
        self._history.ask(self.number, question, instead_of)

    def take_back(self) -> str:
        """Forget the last question, which was not answered, and return its text."""
        assert self.number is not None, "there is a question"
        *before, last = self.messages
        self._history.discard(last.id)
        if last.places == 1 and all(message.role == "system" for message in before):
            self._system, self._preset = self.system, self.preset
            self._history.delete(self.number)
            self.number = None
        return last.text

    def begin_reply(self, model: Chosen, instead_of: int | None = None) -> Question:
        """What the model is to answer: the last question, or the one that the reply `instead_of` answers."""
        assert self.number is not None, "there is a question"
        draft = self._history.draft(self.number, model.name, instead_of)
        said = [message for message in self.messages if message.text and message.id != draft.id]
        return Question(conversation_of(said), tuple(message.id for message in said), draft)

    def remove(self, message: int) -> None:
        """Remove a message and all that follows it; `restore` undoes it."""
        self._known(message)
        self._history.remove_message(message)
        self._removed.append(message)

    def restore(self) -> int:
        """Undo the last removal; the message that is there again."""
        message = self._removed.pop()
        self._history.restore_message(message)
        return message

    def pin(self, message: int) -> None:
        """Pin a message, or unpin it."""
        self._history.pin_message(message, not self._known(message).pinned)

    def switch(self, message: int, step: int) -> int:
        """Open the branch of a sibling; the message that is in the place of this one now."""
        place = self.messages.index(self._known(message))
        self._history.switch(message, step)
        return self.messages[place].id

    def _known(self, message: int) -> Saved:
        """A message of the open branch, which another program may have changed. Raises LocalchatError."""
        if (saved := self.find(message)) is None:
            raise LocalchatError("this message is not on the open branch any more", "open the conversation again")
        return saved

    @property
    def _heading(self) -> Heading | None:
        return self._history.heading(self.number) if self.number is not None else None
