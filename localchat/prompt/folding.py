"""Conversations for templates that know no system message, or want questions and answers to alternate."""

from __future__ import annotations

from collections.abc import Sequence

from localchat.conversation import Message


def folded(messages: Sequence[Message]) -> list[Message]:
    """The same conversation without a system role and with strictly alternating roles."""
    found: list[Message] = []
    for message in messages:
        role = "user" if message.role == "system" else message.role
        if found and found[-1].role == role:
            found[-1] = Message(role, f"{found[-1].text}\n\n{message.text}")
        else:
            found.append(Message(role, message.text))
    return found
