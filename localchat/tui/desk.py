"""The conversation that is open: what is in it, and where it is kept."""

from __future__ import annotations

from localchat.conversation import Conversation
from localchat.history.store import History, Saved, SavedDraft, conversation_of
from localchat.tui.chosen import Chosen


class Desk:
    """One open conversation of the history; a new one comes into being with its first question."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.number: int | None = None
        """Which conversation is open; None is a new one."""

    def open_latest(self) -> None:
        """Open what was talked about last, if anything ever was."""
        headings = self._history.conversations()
        self.number = headings[0].id if headings else None

    @property
    def messages(self) -> list[Saved]:
        """What was said, as it is kept."""
        return self._history.messages(self.number) if self.number is not None else []

    @property
    def title(self) -> str:
        """The title of the conversation."""
        found = [heading.title for heading in self._history.conversations() if heading.id == self.number]
        return found[0] if found else "New conversation"

    @property
    def has_open_question(self) -> bool:
        """Is the last thing that was said a question?"""
        messages = self.messages
        return bool(messages) and messages[-1].role == "user"

    def ask(self, question: str, model: Chosen, system: str) -> None:
        """Keep a question."""
        if self.number is None:
            self.number = self._history.begin(question, model.name, system)
        self._history.ask(self.number, question)

    def take_back(self) -> str:
        """Forget the last question, which was not answered, and return its text."""
        assert self.number is not None, "there is a question"
        *before, last = self.messages
        self._history.discard(last.id)
        if all(message.role == "system" for message in before):
            self._history.delete(self.number)
            self.number = None
        return last.text

    def begin_reply(self, model: Chosen) -> tuple[Conversation, SavedDraft]:
        """What the model is to answer, and where its reply is kept."""
        assert self.number is not None, "there is a question"
        conversation = conversation_of([message for message in self.messages if message.text])
        return conversation, self._history.draft(self.number, model.name)
