"""What is in the context window and what is not: whole oldest turns leave, never a part of a message.

Which turns leave follows from the conversation alone and is decided in large steps, so that it stays the same while
a few turns are added: the beginning of the prompt stays the same, and with it the KV cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from localchat.conversation import Conversation, Message
from localchat.errors import ContextFull
from localchat.prompt.template import render
from localchat.prompt.tokens import Shield, Tokenize, tokens

KEPT = 0.6  # of the room, after turns have left
REPLY_TOKENS = 1024

WhenFull = Literal["drop", "error"]
"""What happens to a conversation that is longer than the window: its oldest turns leave, or it is refused."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of one prompt. Every message that is not said to have left is in it, as a whole."""

    window_tokens: int
    used_tokens: int
    dropped_turns: int
    """Oldest questions, with their answers, that the model does not see any more."""
    left_tokens: int = 0
    """Room in the window for the reply and what follows."""
    dropped_messages: tuple[int, ...] = ()
    """The messages of those turns, by their places in the conversation from 0."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads."""

    tokens: tuple[int, ...]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Window:
    """Where a prompt must fit and how it is written there."""

    tokens: int
    reply_tokens: int
    """Room to keep for the reply."""
    template: str | None
    bos: str
    eos: str
    adds_bos: int | None
    tools: tuple[Mapping[str, Any], ...] = ()
    """Given to the template."""

    @property
    def room(self) -> int:
        """Tokens for the prompt."""
        return self.tokens - self.reply_tokens


def reply_room(window: int, max_tokens: int | None) -> int:
    """Tokens to keep for the reply: what was asked for, but at most a quarter of the window."""
    return min(max_tokens or REPLY_TOKENS, window // 4)


def build(
    conversation: Conversation, window: Window, shield: Shield, tokenize: Tokenize, when_full: WhenFull = "drop"
) -> Prompt:
    """The prompt for the next reply. The system message, pinned turns and the last question are always in it.

    Raises ContextFull where these alone do not fit, or the whole does not and `when_full` is "error"; LocalchatError
    where the template refuses.
    """
    system, turns = split(shield.hide(conversation.messages))
    pinned = [any(message.pinned for message in turn) for turn in turns]
    loose = [place for place, is_pinned in enumerate(pinned[:-1]) if not is_pinned and when_full == "drop"]
    dropped = _estimate(conversation, pinned, window, shield, tokenize) if loose else 0
    while True:  # what was estimated is now counted
        gone = set(loose[:dropped])
        kept = [message for place, turn in enumerate(turns) if place not in gone for message in turn]
        ids = _ids([*system, *kept], window, shield, tokenize)
        if len(ids) <= window.room:
            left_messages = _places(conversation.messages, turns, gone)
            return Prompt(tuple(ids), Ledger(window.tokens, len(ids), dropped, window.tokens - len(ids), left_messages))
        dropped += 1
        if dropped > len(loose):
            raise ContextFull(len(ids), window.room, window.tokens, _what_is_full(when_full, pinned))


def split(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system message and the turns: each a question and what was answered."""
    system = [message for message in messages if message.role == "system"]
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or (not turns and message.role == "assistant"):
            turns.append([])
        if message.role != "system":
            turns[-1].append(message)
    return system, turns


def turns_to_drop(sizes: Sequence[int], room: int, pinned: Sequence[bool] = ()) -> int:
    """How many of the oldest turns that are not pinned leave, given the tokens of each turn.

    Replays the conversation: whenever it outgrew the room, turns left until `KEPT` of the room was in use. So the
    answer for a longer conversation never takes back a decision that was made for a shorter one. What is pinned takes
    room away, for otherwise the steps would become small where much is pinned.
    """
    dropped = used = 0
    loose: list[int] = []
    for place, size in enumerate(sizes):
        is_pinned = any(pinned[place : place + 1])
        can_leave = len(loose)  # every turn before this one
        if is_pinned:
            room -= size
        else:
            used += size
            loose.append(size)
        if used > room:
            while dropped < can_leave and used > KEPT * room:
                used -= loose[dropped]
                dropped += 1
    return dropped


def _estimate(
    conversation: Conversation, pinned: Sequence[bool], window: Window, shield: Shield, tokenize: Tokenize
) -> int:
    """How many turns will have to leave, by the tokens of each and by what the template adds to a message."""
    system, turns = split(conversation.messages)
    around = _tokens_around_a_message(window, shield, tokenize)
    first, *sizes = (
        len(ids) + around * len(turn)
        for turn, ids in zip((system, *turns), tokenize([_text(turn) for turn in (system, *turns)]), strict=True)
    )
    return turns_to_drop(sizes, window.room - first, pinned)


def _tokens_around_a_message(window: Window, shield: Shield, tokenize: Tokenize) -> int:
    """What the template adds to each message: how much longer a prompt is for two more of one word."""
    word, more = Message("user", "x"), Message("assistant", "x")
    one, three = (len(_ids(messages, window, shield, tokenize)) for messages in ([word], [word, more, word]))
    return max(0, three - one - 2 * len(tokenize([word.text])[0]) + 1) // 2 + 1


def _places(messages: Sequence[Message], turns: Sequence[Sequence[Message]], gone: AbstractSet[int]) -> tuple[int, ...]:
    """Where in the conversation the messages of these turns are."""
    spoken = iter([place for place, message in enumerate(messages) if message.role != "system"])
    places = [[next(spoken) for _ in turn] for turn in turns]
    return tuple(place for turn in sorted(gone) for place in places[turn])


def _what_is_full(when_full: WhenFull, pinned: Sequence[bool]) -> str:
    if when_full == "error":
        return "this conversation"
    return "this message, together with those that are pinned," if any(pinned[:-1]) else "this message"


def _ids(messages: Sequence[Message], window: Window, shield: Shield, tokenize: Tokenize) -> list[int]:
    tools = [shield.hide_value(tool) for tool in window.tools]
    text = render(window.template, messages, window.bos, window.eos, tools)
    return tokens(text, shield, tokenize, window.adds_bos)


def _text(turn: Sequence[Message]) -> str:
    return "\n".join(message.text for message in turn)
