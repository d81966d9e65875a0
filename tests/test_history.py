"""Conversations on the disk: what comes back, and what a file must be to be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.conversation import Conversation, Ending, Message
from localchat.errors import LocalchatError
from localchat.history.store import History, conversation_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def texts(history: History, conversation: int) -> list[tuple[str, str, str]]:
    return [(message.role, message.text, message.state) for message in history.messages(conversation)]


# What comes back


def test_a_conversation_comes_back_as_it_was_said(history: History) -> None:
    number = history.begin("Hello", "tiny", system="Be kind.")
    history.ask(number, "Hello")
    draft = history.draft(number, "tiny")
    draft.save("Hi th")
    assert texts(history, number)[-1] == ("assistant", "Hi th", "writing")
    draft.finish("Hi there!", "stop")
    history.ask(number, "Bye")
    found = history.messages(number)
    assert [(message.role, message.text, message.state, message.model) for message in found] == [
        ("system", "Be kind.", "said", ""),
        ("user", "Hello", "said", ""),
        ("assistant", "Hi there!", "stop", "tiny"),
        ("user", "Bye", "said", ""),
    ]
    assert [message.id for message in found] == sorted(message.id for message in found)


def test_another_program_sees_it_at_once(history: History, path: Path) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    other = History(path)
    assert texts(other, number) == [("user", "Hello", "said")]
    other.close()


@pytest.mark.parametrize("ending", ["stop", "length", "stopped", "failed"])
def test_a_reply_is_kept_with_how_it_ended(history: History, ending: Ending) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    history.draft(number, "tiny").finish("Hi", ending)
    assert texts(history, number)[-1] == ("assistant", "Hi", ending)


@pytest.mark.parametrize(("ending", "kept"), [("stop", True), ("length", True), ("stopped", False), ("failed", False)])
def test_an_empty_reply_is_kept_only_if_the_model_gave_it(history: History, ending: Ending, kept: bool) -> None:
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    history.draft(number, "tiny").finish("", ending)
    assert (len(history.messages(number)) == 2) is kept


def test_a_question_that_came_meanwhile_outlives_a_reply_that_is_forgotten(history: History) -> None:
    """Stopped before its first word, and the next question is asked before the reply has noticed."""
    number = history.begin("Hello", "tiny")
    history.ask(number, "Hello")
    draft = history.draft(number, "tiny")
    history.ask(number, "Are you there?")
    draft.finish("", "stopped")
    assert texts(history, number) == [("user", "Hello", "said"), ("user", "Are you there?", "said")]


def test_a_reply_to_a_conversation_that_was_deleted_is_written_nowhere(history: History) -> None:
    """Another window deleted it and began the next one while the reply was being written."""
    gone = history.begin("Hello", "tiny")
    history.ask(gone, "Hello")
    draft = history.draft(gone, "tiny")
    history.delete(gone)
    number = history.begin("Next", "tiny")
    history.ask(number, "Next")
    history.ask(number, "And next")
    draft.save("Hi th")
    draft.finish("Hi there!", "stop")
    assert texts(history, number) == [("user", "Next", "said"), ("user", "And next", "said")]


def test_the_model_reads_what_was_kept(history: History) -> None:
    number = history.begin("Hello", "tiny", system="Be kind.")
    history.ask(number, "Hello")
    history.draft(number, "tiny").finish("Hi", "stopped")
    assert conversation_of(history.messages(number)) == Conversation(
        (Message("system", "Be kind."), Message("user", "Hello"), Message("assistant", "Hi"))
    )


# The list


def test_conversations_are_listed_the_latest_first(history: History) -> None:
    first, second = history.begin("First", "tiny"), history.begin("Second", "other")
    history.ask(first, "First")
    history.ask(second, "Second")
    assert [heading.title for heading in history.conversations()] == ["Second", "First"]
    history.ask(first, "And again")
    found = history.conversations()
    assert [(heading.id, heading.model, heading.messages) for heading in found] == [
        (first, "tiny", 2),
        (second, "other", 1),
    ]
    assert found[0].updated_at > found[1].updated_at


def test_a_conversation_without_a_message_is_not_listed(history: History) -> None:
    history.begin("Never asked", "tiny")
    assert history.conversations() == []


TITLES = [
    ("What is\n\n  this?", "What is this?"),
    ("", "(empty)"),
    (" \n\t", "(empty)"),
    ("word " * 100, ("word " * 12)[:59] + "…"),
    ("\x1b[31mred\x07", "␛[31mred"),
    ("half \ud800 a pair", "half \ufffd a pair"),
]


@pytest.mark.parametrize(("question", "title"), TITLES)
def test_the_title_is_the_first_question_on_one_line(history: History, question: str, title: str) -> None:
    history.ask(history.begin(question, "tiny"), question)
    assert history.conversations()[0].title == title


def test_a_deleted_conversation_is_gone_and_no_other(history: History) -> None:
    kept, gone = history.begin("Keep", "tiny"), history.begin("Go", "tiny")
    for number in (kept, gone):
        history.ask(number, "Hello")
        history.draft(number, "tiny").finish("Hi", "stop")
    history.delete(gone)
    assert [heading.id for heading in history.conversations()] == [kept]
    assert len(history.messages(kept)) == 2
    with pytest.raises(LocalchatError, match="no conversation"):
        history.messages(gone)


def test_another_window_cannot_take_a_new_conversation_for_one_that_was_deleted(history: History) -> None:
    gone = history.begin("Hello", "tiny")
    history.delete(gone)
    history.begin("Next", "tiny")
    with pytest.raises(LocalchatError):
        history.ask(gone, "Still there?")


@pytest.mark.parametrize("number", [999, -1, 2**70])
def test_what_is_not_there_is_said_and_the_history_goes_on(history: History, number: int) -> None:
    with pytest.raises(LocalchatError) as error:
        history.messages(number)
    assert error.value.hint
    with pytest.raises(LocalchatError):
        history.ask(number, "Hello")
    history.ask(history.begin("Hello", "tiny"), "Hello")
    assert len(history.conversations()) == 1


STRANGE = [
    "",
    "a\x00b",
    "\x00",
    "lone \udcff",
    "👩‍👩‍👧",
    "\u202eabc",
    "x" * 1_000_000,
    "'; DROP TABLE message; --",
    "line\r\nline",
]


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: ascii(text[:20]))
def test_any_text_is_kept(history: History, text: str) -> None:
    number = history.begin(text, "tiny", system=text)
    history.ask(number, text)
    history.draft(number, "tiny").finish(text, "stop")
    readable = text.encode("utf-8", "replace").decode("utf-8")
    assert [message.text for message in history.messages(number)] == [readable] * (3 if text else 2)
