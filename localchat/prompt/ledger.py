"""What is in the context window and what is not: whole oldest turns leave, never a part of a message.

Which turns leave follows from the conversation alone and is decided in large steps, so that it stays the same while
a few turns are added: the beginning of the prompt stays the same, and with it the KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localchat.conversation import Conversation, Message
from localchat.errors import ContextFull
from localchat.prompt.template import render
from localchat.prompt.tokens import Shield, Tokenize, tokens

KEPT = 0.6  # of the room, after turns have left
REPLY_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of one prompt."""

    window_tokens: int
    used_tokens: int
    dropped_turns: int
    """Oldest questions, with their answers, that the model does not see any more."""


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


def reply_room(window: int, max_tokens: int | None) -> int:
    """Tokens to keep for the reply: what was asked for, but at most a quarter of the window."""
    return min(max_tokens or REPLY_TOKENS, window // 4)


def build(conversation: Conversation, window: Window, shield: Shield, tokenize: Tokenize) -> Prompt:
    """The prompt for the next reply. The system message and the last question are always in it.

    Raises ContextFull where these alone do not fit, LocalchatError where the template refuses.
    """
    system, turns = split(shield.hide(conversation.messages))
    room = window.tokens - window.reply_tokens
    around = _tokens_around_a_message(window, shield, tokenize)
    first, *sizes = (
        len(ids) + around * len(turn)
        for turn, ids in zip((system, *turns), tokenize([_text(turn) for turn in (system, *turns)]), strict=True)
    )
    dropped = turns_to_drop(sizes, room - first)
    while True:  # what was estimated is now counted
        messages = [message for turn in (system, *turns[dropped:]) for message in turn]
        ids = _ids(messages, window, shield, tokenize)
        if len(ids) <= room:
            return Prompt(tuple(ids), Ledger(window.tokens, len(ids), dropped))
        dropped += 1
        if dropped >= len(turns):
            raise ContextFull(len(ids), room, window.tokens)


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


def turns_to_drop(sizes: Sequence[int], room: int) -> int:
    """How many of the oldest turns leave, given the tokens of each.

    Replays the conversation: whenever it outgrew the room, turns left until `KEPT` of the room was in use. So the
    answer for a longer conversation never takes back a decision that was made for a shorter one.
    """
    dropped = used = 0
    for index, size in enumerate(sizes):
        used += size
        if used > room:
            while dropped < index and used > KEPT * room:
                used -= sizes[dropped]
                dropped += 1
    return dropped


def _tokens_around_a_message(window: Window, shield: Shield, tokenize: Tokenize) -> int:
    """What the template adds to each message: how much longer a prompt is for two more of one word."""
    word, more = Message("user", "x"), Message("assistant", "x")
    one, three = (len(_ids(messages, window, shield, tokenize)) for messages in ([word], [word, more, word]))
    return max(0, three - one - 2 * len(tokenize([word.text])[0]) + 1) // 2 + 1


def _ids(messages: Sequence[Message], window: Window, shield: Shield, tokenize: Tokenize) -> list[int]:
    text = render(window.template, messages, window.bos, window.eos)
    return tokens(text, shield, tokenize, window.adds_bos)


def _text(turn: Sequence[Message]) -> str:
    return "\n".join(message.text for message in turn)
