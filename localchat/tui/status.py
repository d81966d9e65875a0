"""The line above the input: what is going on, in words; how full the context is; how fast it goes, and why not faster.

While a turn goes on, a worker looks at the machine every two seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from textual import on, work
from textual.app import RenderResult
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.worker import get_current_worker

from localchat.chat import TurnEvent
from localchat.conditions import Watch
from localchat.engine.events import Done
from localchat.errors import LocalchatError
from localchat.plan.hardware import Hardware
from localchat.prompt.ledger import Ledger
from localchat.slowness import Conditions
from localchat.tui.course import Course, accompanied, followed, ticked
from localchat.tui.judge import Judge
from localchat.tui.services import Running
from localchat.tui.situation import Situation, after
from localchat.tui.status_line import lines

__all__ = ["Situation", "Status", "after"]

LOOK_SECONDS = 2.0


class Status(Widget):
    """One line; a second one where the reason for being slow needs it. The state is never left out."""

    situation = reactive(Situation())
    course = reactive(Course())
    slow = reactive("")
    """Why it is slow; empty where it is not."""
    beside = 0
    """How many other conversations are answered now."""

    @dataclass
    class Looked(Message):
        """How the machine is now."""

        conditions: Conditions
        unused_gpu: str | None

    def __init__(
        self, machine: Callable[[], Hardware] | None = None, look: Callable[[], Conditions] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`machine` tells of GPUs that lie idle; `look` and `clock` are there for tests."""
        super().__init__()
        self._machine, self._look, self._clock = machine, look or Watch().look, clock
        self._judge = Judge()

    def take(self, running: Running) -> None:
        """This model runs now; its rate is judged from here on. To be told again whenever it may run differently."""
        self._judge.take(running)

    def leave(self) -> None:
        """Another conversation is opened: what is known of the turn was of the one that is left."""
        self.course, self.slow = Course(read_rate=self.course.read_rate), self._judge.begin()

    def hear(self, event: TurnEvent) -> None:
        """Something happened in the turn that is shown."""
        at = self._clock()
        self.situation = after(self.situation, event)
        self.course = accompanied(followed(self.course, event, at), self.beside)
        if isinstance(event, Ledger):
            self.slow = self._judge.begin()
        elif isinstance(event, Done):
            self.slow = self._judge.end(event.usage, self.course, at)

    def on_mount(self) -> None:
        self.set_interval(LOOK_SECONDS, self._tick)

    def watch_situation(self, before: Situation, now: Situation) -> None:
        """A first look is taken when a turn begins, from which the next one counts; with the turn its course ends."""
        if now.mood == "busy" != before.mood:
            self._observe()
        if now.mood != "busy" and self.course.phase != "rest":
            self.course = replace(self.course, phase="rest")
        self._fit()

    def watch_course(self) -> None:
        self._fit()

    def watch_slow(self) -> None:
        self._fit()

    @on(Resize)
    def _fit(self) -> None:
        """As high as what is to be said needs."""
        self.set_class(len(self._lines()) > 1, "-two")

    def render(self) -> RenderResult:
        return Content("\n").join(self._lines())

    def _lines(self) -> list[Content]:
        now, course = self.situation, self.course
        shown = replace(
            now,
            tokens_per_second=now.tokens_per_second or course.tokens_per_second,
            first_token_seconds=now.first_token_seconds or course.first_token_seconds,
        )
        return lines(shown, self.slow, self.content_size.width)

    # How the machine is

    def _tick(self) -> None:
        if self.situation.mood == "busy":
            self.course = ticked(self.course, self._clock())
            self._observe()

    def _observe(self) -> None:
        if self._judge.plan is not None:
            self._look_around(self._judge.wants_gpus(self.course))

    @work(thread=True, exclusive=True, group="look", exit_on_error=False)
    def _look_around(self, wants_gpus: bool) -> None:
        conditions, unused_gpu = self._look(), None
        if wants_gpus and self._machine is not None:
            with suppress(LocalchatError):
                unused_gpu = next((gpu.name for gpu in self._machine().unused_gpus), "")
        if not get_current_worker().is_cancelled:
            self.post_message(self.Looked(conditions, unused_gpu))

    def on_status_looked(self, message: Looked) -> None:
        """Judge the reply that is being written."""
        judge, now = self._judge, self.situation
        if message.unused_gpu is not None:
            judge.unused_gpu = message.unused_gpu
        if now.mood == "busy" and self.course.phase != "rest":
            tokens = now.used_tokens + now.reply_tokens
            self.slow = judge.see(message.conditions, self.course, tokens, self._clock())
