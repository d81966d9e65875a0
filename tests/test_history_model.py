"""The history against a dictionary: any sequence of steps, and the file opened anew in between, gives the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from localchat.errors import LocalchatError
from localchat.history.store import History, SavedDraft

TEXT = st.text(max_size=12)
ENDINGS = st.sampled_from(["stop", "length", "stopped", "failed"])
Kept = dict[int, tuple[str, str, str]]
"""Role, text and state of each message by its id."""


def readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


class HistoryMachine(RuleBasedStateMachine):
    conversations = Bundle("conversations")
    drafts = Bundle("drafts")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.history = History(self.folder / "history.db")
        self.kept: dict[int, Kept] = {}

    @rule(target=conversations, question=TEXT, system=TEXT)
    def begin(self, question: str, system: str) -> int:
        number = self.history.begin(question, "tiny", system)
        assert number not in self.kept
        self.kept[number] = {}
        if system:
            (message,) = self.history.messages(number)
            self.kept[number][message.id] = ("system", readable(system), "said")
        return number

    @rule(conversation=conversations, text=TEXT)
    def ask(self, conversation: int, text: str) -> None:
        if conversation in self.kept:
            self.kept[conversation][self.history.ask(conversation, text)] = ("user", readable(text), "said")
        else:
            with pytest.raises(LocalchatError):
                self.history.ask(conversation, text)

    @rule(target=drafts, conversation=conversations)
    def draft(self, conversation: int) -> tuple[int, int]:
        if conversation not in self.kept:
            return conversation, -1
        draft = self.history.draft(conversation, "tiny")
        self.kept[conversation][draft.id] = ("assistant", "", "writing")
        return conversation, draft.id

    @rule(draft=drafts, text=TEXT)
    def save(self, draft: tuple[int, int], text: str) -> None:
        conversation, number = draft
        SavedDraft(self.history, number).save(text)
        if number in self.kept.get(conversation, {}):
            self.kept[conversation][number] = ("assistant", readable(text), "writing")

    @rule(draft=drafts, text=TEXT, ending=ENDINGS)
    def finish(self, draft: tuple[int, int], text: str, ending: str) -> None:
        conversation, number = draft
        SavedDraft(self.history, number).finish(text, ending)  # type: ignore[arg-type]
        if number in self.kept.get(conversation, {}):
            self.kept[conversation][number] = ("assistant", readable(text), ending)
            if not text and ending in ("stopped", "failed"):
                del self.kept[conversation][number]

    @rule(conversation=conversations)
    def delete(self, conversation: int) -> None:
        self.history.delete(conversation)
        self.kept.pop(conversation, None)

    @rule()
    def open_anew(self) -> None:
        self.history.close()
        self.history = History(self.folder / "history.db")

    @invariant()
    def all_is_kept(self) -> None:
        listed = {heading.id: heading.messages for heading in self.history.conversations()}
        assert listed == {
            number: sum(role != "system" for role, _, _ in messages.values())
            for number, messages in self.kept.items()
            if messages
        }
        for number in listed:
            found = self.history.messages(number)
            assert {message.id: (message.role, message.text, message.state) for message in found} == self.kept[number]
            assert [message.id for message in found] == sorted(self.kept[number])

    def teardown(self) -> None:
        self.history.close()
        shutil.rmtree(self.folder)


TestHistory = HistoryMachine.TestCase
TestHistory.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
