"""A conversation that goes by a name of the user's, so that a script can go on with it."""

from __future__ import annotations

from localchat.conversation import Conversation
from localchat.errors import LocalchatError
from localchat.history.store import TITLE_CHARACTERS, History, SavedDraft, conversation_of
from localchat.text import one_line


class Named:
    """The latest conversation of this title; it comes into being with its first question."""

    def __init__(self, history: History, name: str) -> None:
        """Raises LocalchatError where the name has nothing to show."""
        self._history, self._name = history, one_line(name, TITLE_CHARACTERS).strip()
        if not self._name:
            raise LocalchatError("a session needs a name", "give --session a word")
        found = [heading for heading in history.conversations() if heading.title == self._name]
        latest = max(found, key=lambda heading: heading.updated_at, default=None)
        self._number = latest.id if latest else None

    def ask(self, question: str, model: str, system: str) -> tuple[Conversation, SavedDraft]:
        """Keep a question; all that was said, for the model, and where its reply is kept.

        The system message counts where the conversation begins. A question that was never answered is forgotten.
        """
        if self._number is None:
            self._number = self._history.begin(self._name, model, system)
        elif (last := self._history.messages(self._number)[-1]).role == "user":
            self._history.discard(last.id)
        self._history.ask(self._number, question)
        conversation = conversation_of([one for one in self._history.messages(self._number) if one.text])
        return conversation, self._history.draft(self._number, model)
