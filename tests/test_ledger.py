"""What of a conversation is in the prompt: never more than fits, always the system message and the last question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from fakes import SPECIAL, TEMPLATE, one_token_a_character
from hypothesis import given, settings
from hypothesis import strategies as st
from template_texts import MISTRAL

from localchat.conversation import Conversation, Message, Role
from localchat.errors import ContextFull, LocalchatError
from localchat.prompt.ledger import KEPT, Ledger, Prompt, Window, build, reply_room, split, turns_to_drop
from localchat.prompt.tokens import Shield

NAMES = {number: text for text, number in SPECIAL.items()}
# What ChatML adds: two control tokens and two line ends around a message, and the beginning of the reply.
AROUND = len("user\n") + 3
OPENING = len("assistant\n") + 1


def window(tokens: int, reply_tokens: int = 0, template: str | None = TEMPLATE) -> Window:
    return Window(tokens, reply_tokens, template, bos="", eos="", adds_bos=None)


def built(conversation: Conversation, where: Window) -> Prompt:
    return build(conversation, where, Shield(SPECIAL), one_token_a_character)


def text_of(prompt: Prompt) -> str:
    return "".join(NAMES.get(token) or chr(token - 1000) for token in prompt.tokens)


def talk(turns: int, size: int = 10, system: str = "") -> Conversation:
    """A conversation of so many turns, the last of them a question; every message of a turn bears its number."""
    conversation = Conversation().say("system", system) if system else Conversation()
    for number in range(turns):
        conversation = conversation.ask(f"q{number}".ljust(size, "."))
        if number < turns - 1:
            conversation = conversation.say("assistant", f"a{number}".ljust(size, "."))
    return conversation


# The account


def test_a_short_conversation_is_in_the_prompt_as_a_whole() -> None:
    prompt = built(talk(3, system="Be kind."), window(512))
    text = text_of(prompt)
    assert [text.count(part) for part in ("Be kind.", "q0", "a0", "q1", "a1", "q2")] == [1] * 6
    used = len(prompt.tokens)
    assert prompt.ledger == Ledger(window_tokens=512, used_tokens=used, dropped_turns=0, left_tokens=512 - used)


def test_the_oldest_turns_leave_as_a_whole() -> None:
    prompt = built(talk(12, system="Be kind."), window(300))
    text, dropped = text_of(prompt), prompt.ledger.dropped_turns
    assert 0 < dropped < 11
    assert prompt.ledger.dropped_messages == tuple(range(1, 1 + 2 * dropped))  # 0 is the system message
    assert prompt.ledger.left_tokens == 300 - prompt.ledger.used_tokens
    assert "Be kind." in text
    for number in range(11):
        assert (f"q{number}." in text, f"a{number}." in text) == (number >= dropped, number >= dropped)
    assert text.endswith("q11.......<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("spare", [0, 1, 50])
def test_a_question_that_just_fits_is_asked(spare: int) -> None:
    needed = AROUND + OPENING + 20
    prompt = built(talk(1, 20), window(needed + spare))
    assert prompt.ledger == Ledger(needed + spare, needed, 0, left_tokens=spare)


def test_a_question_that_does_not_fit_alone_says_what_it_needs() -> None:
    conversation = talk(5, 10, system="Be kind.").say("assistant", "Yes?").ask("x" * 200)
    with pytest.raises(ContextFull) as full:
        built(conversation, window(200, reply_tokens=50))
    system = len("system\n") + 3 + len("Be kind.")
    assert (full.value.need, full.value.have) == (system + AROUND + 200 + OPENING, 150)
    assert full.value.hint


def test_a_system_message_that_leaves_no_room_is_not_dropped_in_silence() -> None:
    with pytest.raises(ContextFull):
        built(talk(3, system="s" * 300), window(200))


def test_the_reply_keeps_its_room() -> None:
    alone = built(talk(8), window(400)).ledger
    with_room = built(talk(8), window(400, reply_tokens=200)).ledger
    assert alone.used_tokens > 200
    assert with_room.used_tokens <= 200
    assert with_room.dropped_turns > alone.dropped_turns


ROOMS = [
    (4096, None, 1024),
    (4096, 100, 100),
    (4096, 9000, 1024),
    (512, None, 128),
    (512, 300, 128),
    (64, 1, 1),
    (2, 5, 0),
]


@pytest.mark.parametrize(("tokens", "max_tokens", "room"), ROOMS)
def test_a_reply_gets_what_was_asked_for_but_at_most_a_quarter(tokens: int, max_tokens: int | None, room: int) -> None:
    assert reply_room(tokens, max_tokens) == room


def test_a_conversation_of_nothing_is_a_prompt_too() -> None:
    assert text_of(built(Conversation(), window(64))) == "<|im_start|>assistant\n"


def test_a_template_that_refuses_stops_the_prompt() -> None:
    with pytest.raises(LocalchatError, match="fails on this conversation"):
        built(Conversation((Message("assistant", "I begin."),)), window(64, template=MISTRAL))


# Turns

SPLITS: list[tuple[str, str, list[str]]] = [
    ("", "", []),
    ("s", "s", []),
    ("suau", "s", ["ua", "u"]),
    ("uu", "", ["u", "u"]),
    ("uaau", "", ["uaa", "u"]),
    ("aau", "", ["aa", "u"]),
    ("usa", "s", ["ua"]),
]


@pytest.mark.parametrize(("letters", "system", "turns"), SPLITS)
def test_a_turn_is_a_question_with_what_was_answered(letters: str, system: str, turns: list[str]) -> None:
    roles: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
    found = split([Message(roles[letter], letter) for letter in letters])
    assert "".join(message.text for message in found[0]) == system
    assert ["".join(message.text for message in turn) for turn in found[1]] == turns


SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=30)
ROOM = st.integers(1, 400)
PINS = st.lists(st.booleans(), min_size=30, max_size=30) | st.just([False] * 30)


@given(SIZES, ROOM, PINS)
@settings(max_examples=150, deadline=None)
def test_a_longer_conversation_never_takes_a_dropped_turn_back(sizes: list[int], room: int, pins: list[bool]) -> None:
    counts = range(1, len(sizes) + 1)
    decisions = [turns_to_drop(sizes[:count], room, pins[:count]) for count in counts]
    assert decisions == sorted(decisions)
    can_leave = [(pins[: count - 1]).count(False) for count in counts]
    assert all(decision <= most for decision, most in zip(decisions, can_leave, strict=True))


@given(SIZES, ROOM, PINS)
@settings(max_examples=150, deadline=None)
def test_what_is_not_pinned_leaves_before_the_room_is_exceeded(sizes: list[int], room: int, pins: list[bool]) -> None:
    pins = pins[: len(sizes)]
    loose = [size for size, is_pinned in zip(sizes, pins, strict=True) if not is_pinned]
    dropped = turns_to_drop(sizes, room, pins)
    everything_left = dropped == pins[:-1].count(False)
    assert sum(sizes) - sum(loose[:dropped]) <= room or everything_left


@given(SIZES, ROOM)
@settings(max_examples=100, deadline=None)
def test_what_is_kept_fits_unless_it_is_the_last_question_alone(sizes: list[int], room: int) -> None:
    dropped = turns_to_drop(sizes, room)
    assert sum(sizes[dropped:]) <= room or dropped == len(sizes) - 1


@given(st.integers(1, 40), st.integers(50, 400), st.integers(1, 30), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_turns_leave_in_large_steps(size: int, room: int, count: int, pinned: int) -> None:
    """Large beside the room that a pinned first turn leaves them."""
    sizes, pins = [pinned] + [size] * count, [pinned > 0] + [False] * count
    decisions = [turns_to_drop(sizes[: 1 + turns], room, pins) for turns in range(1, count + 1)]
    steps = [after - before for before, after in pairwise([0, *decisions]) if after != before]
    freed = [step * size for step in steps]
    assert all(amount >= (1 - KEPT) * (room - pinned) - size for amount in freed)


# Eight tokens around each message, about what ChatML adds in a real vocabulary.
SHORT = "{% for message in messages %}<|im_start|>{{ message.role[:4] }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


def test_short_turns_leave_in_large_steps_too() -> None:
    """Or else the beginning of the prompt, and with it the KV cache, is another one after every question."""
    decisions = [built(talk(turns), window(400, template=SHORT)).ledger.dropped_turns for turns in range(1, 60)]
    freed = [after - before for before, after in pairwise(decisions) if after != before]
    assert len(freed) * 3 <= sum(freed)


@given(
    st.lists(st.text("ab \n", max_size=60), min_size=1, max_size=12), st.text("s", max_size=40), st.integers(40, 400)
)
@settings(max_examples=80, deadline=None)
def test_a_prompt_never_exceeds_its_room_and_keeps_what_matters(texts: list[str], system: str, tokens: int) -> None:
    turns = [f"{number}:{text}" for number, text in enumerate(texts)]
    conversation = Conversation().say("system", system)
    for text in turns[:-1]:
        conversation = conversation.ask(text).say("assistant", text)
    room = tokens - reply_room(tokens, None)
    try:
        prompt = built(conversation.ask(turns[-1]), window(tokens, reply_room(tokens, None)))
    except ContextFull as full:
        needed, room = full.need, full.have
        prompt = None
    if prompt is None:
        # Only what must stay is left, and that alone is too much.
        assert needed == len(f"system\n{system}") + 3 + AROUND + len(turns[-1]) + OPENING > room
        return
    text = text_of(prompt)
    assert len(prompt.tokens) == prompt.ledger.used_tokens <= room
    assert f"<|im_start|>system\n{system}<|im_end|>" in text
    assert text.endswith(f"<|im_start|>user\n{turns[-1]}<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("<|im_start|>user") == len(turns) - prompt.ledger.dropped_turns


@given(st.lists(st.integers(1, 60), min_size=2, max_size=15), st.integers(120, 400))
@settings(max_examples=60, deadline=None)
def test_a_conversation_that_goes_on_never_sees_a_dropped_turn_again(sizes: Sequence[int], tokens: int) -> None:
    conversation, dropped = Conversation().say("system", "Be kind."), []
    for size in sizes:
        conversation = conversation.ask("q" * size)
        dropped.append(built(conversation, window(tokens)).ledger.dropped_turns)
        conversation = conversation.say("assistant", "a" * size)
    assert dropped == list(accumulate(dropped, max))
