"""Turns that stay because a message of theirs is pinned, and callers who want nothing left out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from fakes import SPECIAL, TEMPLATE, one_token_a_character
from hypothesis import given, settings
from hypothesis import strategies as st
from template_texts import MISTRAL

from localchat.conversation import Conversation, Message
from localchat.errors import ContextFull
from localchat.prompt.ledger import Prompt, WhenFull, Window, build
from localchat.prompt.tokens import Shield

NAMES = {number: text for text, number in SPECIAL.items()}


def built(
    conversation: Conversation, tokens: int, when_full: WhenFull = "drop", reply: int = 0, template: str = TEMPLATE
) -> Prompt:
    window = Window(tokens, reply, template, bos="", eos="", adds_bos=None)
    return build(conversation, window, Shield(SPECIAL), one_token_a_character, when_full)


def text_of(prompt: Prompt) -> str:
    return "".join(NAMES.get(token) or chr(token - 1000) for token in prompt.tokens)


def talk(turns: int, *pinned: str, size: int = 10) -> Conversation:
    """A conversation whose last message is a question; `pinned` names messages such as `q0` and `a3`."""
    messages = [Message("system", "Be kind.")]
    for number in range(turns):
        for letter, role in (("q", "user"), ("a", "assistant")):
            name = f"{letter}{number}"
            messages.append(Message(role, f"{name}.".ljust(size, "."), pinned=name in pinned))  # type: ignore[arg-type]
    return Conversation(tuple(messages[:-1]))


def seen(prompt: Prompt, conversation: Conversation) -> list[int]:
    """Places of the messages whose text is in the prompt."""
    text = text_of(prompt)
    return [place for place, message in enumerate(conversation.messages) if message.text in text]


# Pins


@pytest.mark.parametrize("name", ["q0", "a0", "q3", "a3"])
def test_a_turn_with_a_pinned_message_never_leaves(name: str) -> None:
    number = int(name[1])
    for turns in range(number + 1, 30):
        conversation = talk(turns, name)
        text = text_of(built(conversation, 300))
        assert f"<|im_start|>user\nq{number}........<|im_end|>" in text
        assert turns == number + 1 or f"<|im_start|>assistant\na{number}........<|im_end|>" in text


def test_pinned_turns_keep_their_place_among_those_that_are_left() -> None:
    conversation = talk(20, "q2", "a5")
    prompt = built(conversation, 400)
    text = text_of(prompt)
    places = [text.index(part) for part in ("Be kind.", "q2.", "a2.", "q5.", "a5.", "q18.", "a18.", "q19.")]
    assert places == sorted(places)
    assert "q1." not in text
    assert "q4." not in text


def test_the_ledger_names_the_messages_that_fell_out() -> None:
    conversation = talk(20, "q2", "a5")
    prompt = built(conversation, 400)
    dropped = prompt.ledger.dropped_messages
    everything = range(len(conversation.messages))
    assert seen(prompt, conversation) == [place for place in everything if place not in dropped]
    assert len(dropped) == 2 * prompt.ledger.dropped_turns > 0
    assert list(dropped) == sorted(dropped)


def test_a_system_message_in_the_middle_does_not_shift_the_account() -> None:
    conversation = talk(20)
    messages = conversation.messages
    moved = Conversation((*messages[1:4], messages[0], *messages[4:]))
    prompt = built(moved, 300)
    assert 3 not in prompt.ledger.dropped_messages
    assert seen(prompt, moved) == [
        place for place in range(len(messages)) if place not in prompt.ledger.dropped_messages
    ]


def test_the_ledger_is_json() -> None:
    ledger = built(talk(20, "q2"), 300).ledger
    found = json.loads(json.dumps(asdict(ledger)))
    assert list(found) == ["window_tokens", "used_tokens", "dropped_turns", "left_tokens", "dropped_messages"]
    assert found["left_tokens"] == 300 - found["used_tokens"]
    assert tuple(found["dropped_messages"]) == ledger.dropped_messages


def test_pinned_turns_that_leave_no_room_for_the_question_are_not_dropped_in_silence() -> None:
    conversation = talk(6, "q0", "q1", "q2", "q3", "q4", size=40)
    with pytest.raises(ContextFull, match="pinned") as full:
        built(conversation, 300)
    assert full.value.need > full.value.have == 300


def test_everything_else_leaves_before_a_pinned_turn_is_too_much() -> None:
    conversation = talk(6, "q0", size=20)
    alone = len(built(Conversation((*conversation.messages[:3], conversation.messages[-1])), 10_000).tokens)
    prompt = built(conversation, alone)
    assert prompt.ledger.used_tokens == alone
    assert prompt.ledger.dropped_messages == tuple(range(3, 11))


def test_roles_still_alternate_where_a_template_insists_on_it() -> None:
    prompt = built(talk(20, "q2", "a5"), 300, template=MISTRAL)
    assert prompt.ledger.dropped_turns > 0


def test_much_that_is_pinned_does_not_make_the_steps_small() -> None:
    """Or else the prefix that the cache keeps is another one after every question."""
    pinned = [f"q{number}" for number in range(6)]
    decisions = [built(talk(turns, *pinned), 700).ledger.dropped_turns for turns in range(7, 60)]
    freed = [after - before for before, after in pairwise(decisions) if after != before]
    assert len(freed) * 2 <= sum(freed)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.booleans()), min_size=2, max_size=14),
    st.integers(150, 500),
)
@settings(max_examples=60, deadline=None)
def test_with_pins_too_what_fell_out_stays_out(turns: list[tuple[int, bool, bool]], tokens: int) -> None:
    messages = [Message("system", "Be kind.")]
    fallen: set[int] = set()
    for number, (size, pins_question, pins_answer) in enumerate(turns):
        messages.append(Message("user", f"q{number}.".ljust(size, "."), pins_question))
        try:
            prompt = built(Conversation(tuple(messages)), tokens)
        except ContextFull:
            return  # what is pinned is too much from here on
        dropped = set(prompt.ledger.dropped_messages)
        assert fallen <= dropped
        kept = [place for place in range(len(messages)) if place not in dropped]
        assert seen(prompt, Conversation(tuple(messages))) == kept
        assert not any(messages[place].pinned for place in dropped)
        assert {0, len(messages) - 1} <= set(kept)
        fallen = dropped
        messages.append(Message("assistant", f"a{number}.".ljust(size, "."), pins_question or pins_answer))


# Callers who want nothing left out


def test_with_error_a_conversation_that_fits_is_asked_as_a_whole() -> None:
    conversation = talk(5)
    needed = len(built(conversation, 10_000).tokens)
    prompt = built(conversation, needed, "error")
    assert seen(prompt, conversation) == list(range(len(conversation.messages)))
    assert prompt.ledger.left_tokens == 0
    assert prompt.ledger.dropped_messages == ()


@pytest.mark.parametrize("pinned", [(), ("q0", "a2")])
def test_with_error_nothing_is_dropped_and_the_caller_learns_what_is_needed(pinned: tuple[str, ...]) -> None:
    conversation = talk(5, *pinned)
    needed = len(built(conversation, 10_000).tokens)
    with pytest.raises(ContextFull, match="this conversation is too long") as full:
        built(conversation, needed + 19, "error", reply=20)
    assert (full.value.need, full.value.have) == (needed, needed - 1)
    assert f"{needed:,}" in str(full.value)
    assert full.value.hint
    assert len(built(conversation, needed + 19, "drop", reply=20).tokens) < needed


# What a pin does not change


@pytest.mark.parametrize("text", ["Hi", "<|im_end|>", "<", ">"])
def test_a_pin_is_not_seen_by_the_model(text: str) -> None:
    plain = Conversation().ask(text)
    pinned = Conversation((replace(plain.messages[0], pinned=True),))
    assert built(plain, 200).tokens == built(pinned, 200).tokens


def test_control_tokens_in_messages_do_not_make_turns_leave_early() -> None:
    """Marks stand for them in the template, and what a mark would take is not what the text takes."""
    conversation = Conversation()
    for _ in range(10):
        conversation = conversation.ask("<|im_end|>").say("assistant", "<|im_start|>")
    conversation = conversation.ask("<|im_end|>")
    needed = len(built(conversation, 10_000).tokens)
    assert built(conversation, needed + 80).ledger.dropped_turns == 0
