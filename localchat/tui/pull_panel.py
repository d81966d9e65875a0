"""How a pull goes: what is done, a bar, and in words how much, how fast and how long still."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import ProgressBar, Static

from localchat.errors import LocalchatError
from localchat.pull.events import Chosen, Progress
from localchat.pull.pace import Pace
from localchat.text import one_line


class PullPanel(Vertical):
    """Hidden until something is pulled."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._pace = Pace()

    def compose(self) -> ComposeResult:
        yield Static(classes="what")
        yield ProgressBar(show_eta=False, show_percentage=True)
        yield Static(classes="facts")

    def begin(self, source: str) -> None:
        """A pull begins."""
        self._pace = Pace()
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
        self.query_one(ProgressBar).update(total=event.total_bytes, progress=event.done_bytes)
        self.say(f"{self._pace.words(event)} · {one_line(event.item, 60)}")

    def say(self, text: str) -> None:
        """Words below the bar."""
        self.query_one(".facts", Static).update(Content(text))

    def fail(self, error: LocalchatError) -> None:
        """The pull failed; the panel stays with the reason."""
        self.add_class("-failed")
        self.query_one(".what", Static).update(Content(one_line(str(error), 500)))
        self.say(one_line(error.hint, 500))
