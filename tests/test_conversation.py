"""A conversation is a value: what is said makes a new one."""

from __future__ import annotations

from localchat.conversation import Conversation, Message


def test_saying_something_leaves_the_conversation_before_it_as_it_was() -> None:
    before = Conversation().say("system", "Be brief.")
    after = before.ask("Why?").say("assistant", "Because.")
    assert before.messages == (Message("system", "Be brief."),)
    assert after.messages == (
        Message("system", "Be brief."),
        Message("user", "Why?"),
        Message("assistant", "Because."),
    )


def test_two_conversations_of_the_same_words_are_equal() -> None:
    assert Conversation().ask("a") == Conversation((Message("user", "a"),))
    assert hash(Conversation().ask("a")) == hash(Conversation().ask("a"))
