"""How a pull goes: what is done, a bar, and in words how much, how fast and how long still."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import ProgressBar, Static

from localchat.errors import LocalchatError
from localchat.pull.events import Chosen, Progress, Stage
from localchat.text import duration, one_line, size

STAGES: dict[Stage, str] = {"download": "Downloading", "convert": "Converting", "check": "Checking"}


class PullPanel(Vertical):
    """Hidden until something is pulled."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._stage: Stage | None = None
        self._began_at = 0.0
        self._first_bytes = 0

    def compose(self) -> ComposeResult:
        yield Static(classes="what")
        yield ProgressBar(show_eta=False, show_percentage=True)
        yield Static(classes="facts")

    def begin(self, source: str) -> None:
        """A pull begins."""
        self._stage = None
        self.display = True
        self.remove_class("-failed")
        self.query_one(ProgressBar).update(total=None, progress=0)
        self.query_one(".what", Static).update(Content(f"Looking at {one_line(source)} …"))
        self.say("")

    def show(self, event: Chosen | Progress) -> None:
        """What was chosen, or how far it is."""
        if isinstance(event, Chosen):
            self.query_one(".what", Static).update(Content(one_line("; ".join(event.plan.reasons), 500)))
            return
        now = time.monotonic()
        if event.stage != self._stage:
            self._stage, self._began_at, self._first_bytes = event.stage, now, event.done_bytes
        self.query_one(ProgressBar).update(total=event.total_bytes, progress=event.done_bytes)
        self.say(self._words(event, now - self._began_at))

    def say(self, text: str) -> None:
        """Words below the bar."""
        self.query_one(".facts", Static).update(Content(text))

    def fail(self, error: LocalchatError) -> None:
        """The pull failed; the panel stays with the reason."""
        self.add_class("-failed")
        self.query_one(".what", Static).update(Content(one_line(str(error), 500)))
        self.say(one_line(error.hint, 500))

    def _words(self, event: Progress, seconds: float) -> str:
        words = [f"{STAGES[event.stage]} {size(event.done_bytes)} of {size(event.total_bytes)}"]
        rate = (event.done_bytes - self._first_bytes) / seconds if seconds > 0.5 else 0.0
        if rate > 0:
            left = duration((event.total_bytes - event.done_bytes) / rate)
            words += [f"{size(rate)}/s", f"{left} left"]
        return "  ·  ".join([*words, one_line(event.item, 60)])
