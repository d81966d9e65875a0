"""A conversation on the desk: what is kept of it, without a screen."""

from __future__ import annotations

import pytest
from desk import install_fake

from localchat.errors import LocalchatError
from localchat.history.store import History
from localchat.paths import history_file
from localchat.tui.attachment import Attachment, joined
from localchat.tui.desk import Desk


@pytest.fixture
def history() -> History:
    return History(history_file())


def texts(desk: Desk) -> list[str]:
    return [message.text for message in desk.messages]


def answer(desk: Desk, text: str, instead_of: int | None = None) -> int:
    question = desk.begin_reply(install_fake(), instead_of)
    question.draft.finish(text, "stop")
    return question.draft.id


def asked(history: History, question: str = "Hi") -> Desk:
    desk = Desk(history)
    desk.ask(question, install_fake(), "")
    return desk


def test_a_new_conversation_is_nowhere_before_its_first_question(history: History) -> None:
    desk = Desk(history)
    assert (desk.number, desk.messages, desk.title, desk.system, desk.preset) == (None, [], "New conversation", "", "")
    assert not desk.has_open_question
    assert history.conversations() == []


def test_what_was_set_before_the_first_question_is_kept_with_it(history: History) -> None:
    desk = Desk(history)
    desk.system, desk.preset, desk.unsent = "Rhyme.", "precise", "draft"
    desk.ask("Hi", install_fake(), "the default")
    assert (desk.system, desk.preset) == ("Rhyme.", "precise")
    assert texts(Desk(history, desk.number)) == ["Rhyme.", "Hi"]
    assert history.unsent(None) == ""


def test_the_default_holds_where_nothing_was_said(history: History) -> None:
    desk = Desk(history)
    desk.ask("Hi", install_fake(), "the default")
    assert desk.system == "the default"
    desk.system = ""
    assert texts(desk) == ["Hi"]


def test_the_title_is_what_was_typed_and_not_what_is_attached(history: History) -> None:
    assert asked(history, joined((Attachment("x" * 500, "a.py"),), "Why?")).title == "Why?"


def test_a_question_that_is_taken_back_leaves_nothing_but_what_was_set(history: History) -> None:
    desk = Desk(history)
    desk.system = "Rhyme."
    desk.ask("Hi", install_fake(), "")
    assert desk.take_back() == "Hi"
    assert (desk.number, desk.system) == (None, "Rhyme.")
    assert history.conversations() == []


def test_a_second_version_of_a_question_that_is_taken_back_leaves_the_first(history: History) -> None:
    desk = asked(history)
    answer(desk, "Hello")
    first = desk.messages[0].id
    desk.ask("Hey", install_fake(), "", first)
    assert texts(desk) == ["Hey"]
    assert desk.take_back() == "Hey"
    assert texts(desk) == ["Hi", "Hello"]


def test_the_model_reads_what_stands_before_its_reply_and_the_ids_say_what_that_is(history: History) -> None:
    desk = asked(history)
    first = answer(desk, "Hello")
    desk.ask("More", install_fake(), "")
    question = desk.begin_reply(install_fake())
    assert [message.text for message in question.conversation.messages] == ["Hi", "Hello", "More"]
    assert question.ids == tuple(message.id for message in desk.messages[:3])
    question.draft.finish("So", "stop")
    again = desk.begin_reply(install_fake(), first)
    assert [message.text for message in again.conversation.messages] == ["Hi"]


def test_a_pin_reaches_the_model(history: History) -> None:
    desk = asked(history)
    desk.pin(desk.messages[0].id)
    assert [message.pinned for message in desk.begin_reply(install_fake()).conversation.messages] == [True]


def test_siblings_are_switched_and_what_was_removed_comes_back(history: History) -> None:
    desk = asked(history)
    first = answer(desk, "Hello")
    second = answer(desk, "Hey", first)
    assert desk.switch(second, -1) == first
    assert desk.switch(first, -1) == first
    assert not desk.can_restore
    desk.remove(first)
    assert texts(desk) == ["Hi", "Hey"]
    assert desk.can_restore
    assert desk.restore() == first
    assert texts(desk) == ["Hi", "Hello"]
    assert not desk.can_restore


def test_a_conversation_that_another_program_deleted_is_an_error_in_words(history: History) -> None:
    desk = asked(history)
    assert desk.number is not None
    history.delete(desk.number)
    with pytest.raises(LocalchatError, match="no conversation"):
        _ = desk.messages
