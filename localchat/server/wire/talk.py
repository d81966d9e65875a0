"""What was said, message by message, as all protocols put it together."""

from __future__ import annotations

from localchat.conversation import Message, Role


class Talk:
    """Messages in the order they were said; what tools return is the user's, and that of several calls is one."""

    def __init__(self) -> None:
        self._said: list[tuple[Role, list[str]]] = []

    def say(self, role: Role, text: str) -> None:
        """One more message."""
        self._said.append((role, [text]))

    def returned(self, name: str, text: str) -> None:
        """What a tool returned, behind what the user said last, if that is the last."""
        if not self._said or self._said[-1][0] != "user":
            self._said.append(("user", []))
        self._said[-1][1].append(f"{name or 'The tool'} returned: {text}")

    def messages(self) -> tuple[Message, ...]:
        """All of it."""
        return tuple(Message(role, "\n".join(texts)) for role, texts in self._said)
