"""What is said: the values that prompts, history and every face of the program share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Ending = Literal["stop", "length", "stopped", "failed"]
"""How a reply ended: by itself, at a limit, by its reader, or with the engine."""


@dataclass(frozen=True, slots=True)
class Message:
    """One contribution to a conversation."""

    role: Role
    text: str
    pinned: bool = False
    """Its turn stays in the prompt, however long the conversation becomes."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in the order they were said; a system message, if there is one, comes first."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    """What the model may ask for, for a template that has a place for it: in the form of OpenAI's API."""

    def say(self, role: Role, text: str) -> Conversation:
        """This conversation with one more message."""
        return Conversation((*self.messages, Message(role, text)), self.tools)

    def ask(self, text: str) -> Conversation:
        """This conversation with a question of the user's at its end."""
        return self.say("user", text)
