"""A transcript alone on a screen, and the lines that are to be seen of it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.types import CSSPathType

import localchat.tui
from localchat.conversation import Role
from localchat.history.store import Saved
from localchat.tui.bubble import Bubble
from localchat.tui.theme import DARK
from localchat.tui.transcript import Transcript

STYLES = Path(localchat.tui.__file__).parent.glob("*.tcss")


class Hosted(App[None]):
    """Nothing but a transcript; `switched` is what it asked for."""

    AUTO_FOCUS = None
    CSS_PATH: ClassVar[CSSPathType | None] = sorted(STYLES)

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.switched: list[tuple[int, int]] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_bubble_switched(self, event: Bubble.Switched) -> None:
        self.switched.append((event.message_id, event.step))


def transcript(pilot: Pilot[None]) -> Transcript:
    return pilot.app.query_one(Transcript)


def saved(number: int, text: str | None = None, role: Role | None = None, **facts: object) -> Saved:
    """A message; those with even numbers are replies."""
    asked: Role = "user" if number % 2 else "assistant"
    return Saved(number, role or asked, text or f"message {number}", "said", "parrot", **facts)  # type: ignore[arg-type]


def conversation(messages: int) -> list[Saved]:
    return [saved(number) for number in range(1, messages + 1)]


def screen_lines(pilot: Pilot[None]) -> list[str]:
    """What stands on the screen, line by line."""
    width = pilot.app.size.width - 1  # without the scroll bar
    return [strip.crop(0, width).text.rstrip() for strip in pilot.app.screen._compositor.render_strips()]


def screen_text(pilot: Pilot[None]) -> str:
    return "\n".join(screen_lines(pilot))
