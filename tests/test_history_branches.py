"""Branches of a conversation: siblings, which of them is open, deleting a part of the tree and undoing that."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.conversation import Conversation, Message
from localchat.errors import LocalchatError
from localchat.history.branches import Link, Place, open_path
from localchat.history.store import History, conversation_of


def reply(history: History, number: int, text: str, instead_of: int | None = None) -> int:
    draft = history.draft(number, "tiny", instead_of)
    draft.finish(text, "stop")
    return draft.id


def talk(history: History, *texts: str, system: str = "") -> tuple[int, list[int]]:
    """A conversation of questions and replies in turn, and the ids of its messages."""
    number = history.begin(texts[0], "tiny", system)
    said = [history.ask(number, text) if index % 2 == 0 else reply(history, number, text)
            for index, text in enumerate(texts)]  # fmt: skip
    return number, said


def seen(history: History, number: int) -> str:
    """The open branch: texts, and where there are siblings which one it is."""
    return " ".join(
        message.text if message.places == 1 else f"{message.text}[{message.place}/{message.places}]"
        for message in history.messages(number)
    )


PATHS = [
    ("nothing", [], None, []),
    ("a chain", [(1, None, None), (2, 1, None)], None, [(1, 1, 1), (2, 1, 1)]),
    ("the latest where none was chosen", [(1, None, None), (2, 1, None), (3, 1, None)], None, [(1, 1, 1), (3, 2, 2)]),
    ("the chosen one", [(1, None, 2), (2, 1, None), (3, 1, None)], None, [(1, 1, 1), (2, 1, 2)]),
    ("the one before what is gone", [(1, None, 3), (2, 1, None), (4, 1, None)], None, [(1, 1, 1), (2, 1, 2)]),
    ("the first where none is before", [(1, None, 2), (3, 1, None), (4, 1, None)], None, [(1, 1, 1), (3, 1, 2)]),
    ("a first message of several", [(1, None, None), (2, None, None)], 1, [(1, 1, 2)]),
    ("each branch as it was left", [(1, None, 2), (2, 1, 3), (3, 2, None), (4, 2, None), (5, 1, None)], 1,
     [(1, 1, 1), (2, 1, 2), (3, 1, 2)]),
    ("what hangs nowhere is not shown", [(1, None, None), (2, 7, None)], None, [(1, 1, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("links", "first", "path"), [case[1:] for case in PATHS], ids=[case[0] for case in PATHS])
def test_the_open_branch_is(
    links: list[tuple[int, int | None, int | None]], first: int | None, path: list[tuple[int, int, int]]
) -> None:
    assert open_path([Link(*link) for link in links], first) == [Place(*place) for place in path]


def test_another_reply_opens_beside_the_first(history: History) -> None:
    number, (_, first) = talk(history, "q", "a1")
    reply(history, number, "a2", instead_of=first)
    assert seen(history, number) == "q a2[2/2]"
    history.ask(number, "next")
    assert seen(history, number) == "q a2[2/2] next"


def test_switching_opens_each_branch_as_it_was_left(history: History) -> None:
    number, (_, first, second_question, _) = talk(history, "q", "a1", "q2", "b1")
    history.draft(number, "tiny", history.messages(number)[-1].id).finish("b2", "stop")
    history.switch(history.messages(number)[-1].id, -1)
    assert seen(history, number) == "q a1 q2 b1[1/2]"
    other = reply(history, number, "a2", instead_of=first)
    history.ask(number, "q3")
    history.switch(other, -1)
    assert seen(history, number) == "q a1[1/2] q2 b1[1/2]"
    history.ask(number, "at the end", instead_of=second_question)
    history.switch(first, 1)
    assert seen(history, number) == "q a2[2/2] q3"
    history.switch(other, -1)
    assert seen(history, number) == "q a1[1/2] at the end[2/2]"


def test_switching_past_the_last_sibling_stays_there(history: History) -> None:
    number, (_, first) = talk(history, "q", "a1")
    second = reply(history, number, "a2", instead_of=first)
    history.switch(second, 5)
    assert seen(history, number) == "q a2[2/2]"
    history.switch(second, -5)
    assert seen(history, number) == "q a1[1/2]"


def test_the_first_question_has_siblings_too(history: History) -> None:
    number, (question, _) = talk(history, "q", "a", system="Be kind.")
    history.ask(number, "other", instead_of=question)
    assert seen(history, number) == "Be kind. other[2/2]"
    history.switch(question, -1)
    assert seen(history, number) == "Be kind. q[1/2] a"


def test_which_branch_is_open_is_kept_in_the_file(history: History, tmp_path: Path) -> None:
    number, (_, first) = talk(history, "q", "a1")
    history.switch(reply(history, number, "a2", instead_of=first), -1)
    other = History(tmp_path / "history.db")
    assert seen(other, number) == "q a1[1/2]"
    other.close()


def test_a_reply_that_came_to_nothing_gives_way_to_the_one_it_was_to_replace(history: History) -> None:
    number, (_, first) = talk(history, "q", "a1")
    for text in ("a2", "a3"):
        reply(history, number, text, instead_of=first)
    history.switch(first, -2)
    history.draft(number, "tiny", instead_of=first).finish("", "stopped")
    assert seen(history, number) == "q a1[1/3]"


def test_a_deleted_message_takes_all_branches_below_with_it_and_comes_back_with_them(history: History) -> None:
    number, (_, first, question, _) = talk(history, "q", "a1", "q2", "b1")
    history.ask(number, "q3", instead_of=question)
    history.remove_message(first)
    assert seen(history, number) == "q"
    assert history.conversations()[0].messages == 1
    history.restore_message(first)
    assert seen(history, number) == "q a1 q3[2/2]"
    history.switch(question, -1)
    assert seen(history, number) == "q a1 q2[1/2] b1"


def test_what_was_deleted_before_does_not_come_back_with_what_was_deleted_after(history: History) -> None:
    number, (_, first, question, last) = talk(history, "q", "a", "q2", "b")
    history.remove_message(last)
    history.remove_message(first)
    with pytest.raises(LocalchatError, match="what this message follows is deleted"):
        history.restore_message(last)
    history.restore_message(first)
    assert seen(history, number) == "q a q2"
    history.restore_message(last)
    assert seen(history, number) == "q a q2 b"
    history.remove_message(question)
    assert seen(history, number) == "q a"


def test_deleting_one_sibling_opens_the_one_before_and_undo_opens_it_again(history: History) -> None:
    number, (_, first) = talk(history, "q", "a1")
    second = reply(history, number, "a2", instead_of=first)
    reply(history, number, "a3", instead_of=first)
    history.switch(second, 0)
    history.remove_message(second)
    assert seen(history, number) == "q a1[1/2]"
    history.restore_message(second)
    assert seen(history, number) == "q a2[2/3]"


def test_talk_goes_on_where_a_message_was_deleted(history: History) -> None:
    number, (question, answer) = talk(history, "q", "a")
    history.remove_message(answer)
    reply(history, number, "b")
    assert seen(history, number) == "q b"
    history.remove_message(question)
    assert history.messages(number) == []
    assert history.conversations() == []
    history.ask(number, "anew")
    assert seen(history, number) == "anew"


def test_nothing_is_said_below_what_another_window_deleted(history: History) -> None:
    number, (question, answer) = talk(history, "q", "a")
    history.remove_message(question)
    for instead_of in (answer, 999):
        with pytest.raises(LocalchatError) as error:
            history.draft(number, "tiny", instead_of=instead_of)
        assert error.value.hint


def test_a_hit_on_another_branch_can_be_opened(history: History) -> None:
    number, (_, first, _, deep) = talk(history, "q", "a1", "q2", "b1")
    reply(history, number, "a2", instead_of=first)
    history.reveal(deep)
    assert seen(history, number) == "q a1[1/2] q2 b1"


@pytest.mark.parametrize("system", ["", "Be kind."])
def test_the_system_message_is_set_changed_and_taken_away(history: History, system: str) -> None:
    number, (question, _) = talk(history, "q", "a", system=system)
    history.ask(number, "other", instead_of=question)
    history.switch(question, -1)
    history.set_system(number, "Be brief.")
    assert seen(history, number) == "Be brief. q[1/2] a"
    history.set_system(number, "Be \ud800long.")
    assert seen(history, number) == "Be ?long. q[1/2] a"
    history.set_system(number, "")
    assert seen(history, number) == "q[1/2] a"
    history.set_system(number, "")
    history.switch(question, 1)
    assert seen(history, number) == "other[2/2]"


def test_a_system_message_is_not_deleted_as_a_message(history: History) -> None:
    number, _ = talk(history, "q", "a", system="Be kind.")
    with pytest.raises(LocalchatError, match="system prompt"):
        history.remove_message(history.messages(number)[0].id)
    assert seen(history, number) == "Be kind. q a"


def test_a_pinned_message_is_pinned_for_the_model_too(history: History) -> None:
    number, (question, _) = talk(history, "q", "a")
    history.pin_message(question, True)
    assert [message.pinned for message in history.messages(number)] == [True, False]
    assert conversation_of(history.messages(number)) == Conversation(
        (Message("user", "q", pinned=True), Message("assistant", "a"))
    )
    history.pin_message(question, False)
    assert not history.messages(number)[0].pinned


@pytest.mark.parametrize("step", ["switch", "reveal", "remove", "restore", "pin"])
def test_a_message_that_is_not_there_is_one_sentence(history: History, step: str) -> None:
    steps = {
        "switch": lambda: history.switch(99, 1),
        "reveal": lambda: history.reveal(99),
        "remove": lambda: history.remove_message(99),
        "restore": lambda: history.restore_message(2**70),
        "pin": lambda: history.pin_message(99, True),
    }
    with pytest.raises(LocalchatError) as error:
        steps[step]()
    assert error.value.hint


def test_messages_say_when_they_were_said(history: History) -> None:
    number, _ = talk(history, "q", "a")
    times = [message.created_at for message in history.messages(number)]
    assert all(times)
    assert times == sorted(times)
