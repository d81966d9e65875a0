"""What the status line knows beyond one event: how fast this model was, how the machine is, and what to blame.

No widget: it is told, and answers.
"""

from __future__ import annotations

from dataclasses import replace

from localchat.engine.events import Loaded, Usage
from localchat.library import Installed
from localchat.plan.plan import Plan
from localchat.slowness import EASY_RATE, Conditions, Facts, why_slow
from localchat.tui.course import ENOUGH_TOKENS, Course
from localchat.tui.services import Running

PATIENCE_LOOKS = 2  # so many looks in a row must find nothing before a reason is taken back


class Judge:
    """Says why the reply at hand is slow. A reason stays while single looks find none, but not beside a good rate."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.unused_gpu: str | None = None
        """None until it was looked for."""
        self.conditions = Conditions()
        self._loaded: Loaded | None = None
        self._name = ""
        self._replies, self._best_rate = 0, 0.0
        self._reason, self._misses = "", 0

    def take(self, running: Running) -> None:
        """This model runs now, or still does."""
        seen = running.model.tokens_per_second if isinstance(running.model, Installed) else None
        if running.model.name != self._name:
            self._name, self._best_rate = running.model.name, seen or 0.0
        if running.engine.loaded is not self._loaded:
            self._loaded, self._replies = running.engine.loaded, 0
        self.plan = running.plan

    def wants_gpus(self, course: Course) -> bool:
        """Would it help to know whether a GPU lies idle?"""
        is_slow = 0 < course.tokens_per_second < EASY_RATE
        return self.unused_gpu is None and is_slow and self.plan is not None and self.plan.fits == "memory"

    def begin(self) -> str:
        """A turn begins."""
        self._reason, self._misses = "", 0
        return ""

    def see(self, conditions: Conditions, course: Course, context_tokens: int, at: float) -> str:
        """The reason by these conditions; empty where there is none."""
        self.conditions = conditions
        rate = course.tokens_per_second if course.tokens >= ENOUGH_TOKENS else None
        found = self._why(course, rate or None, context_tokens, at)
        self._misses = 0 if found else self._misses + 1
        if found or self._misses >= PATIENCE_LOOKS or self._is_fast(rate):
            self._reason = found
        return self._reason

    def end(self, usage: Usage, course: Course, at: float) -> str:
        """The reason when all is known of the reply; it stays until the next one."""
        self.conditions = replace(self.conditions, other_cores=usage.other_cores, threads=usage.threads or None)
        rate = usage.tokens_per_second if usage.completion_tokens >= ENOUGH_TOKENS else 0.0
        # by now nothing is read or written any more, but it is the writing that is judged
        ended = replace(course, phase="writing")
        self._reason = self._why(ended, rate or None, usage.prompt_tokens + usage.completion_tokens, at)
        self._replies, self._best_rate = self._replies + 1, max(self._best_rate, rate)
        return self._reason

    def _is_fast(self, rate: float | None) -> bool:
        """Is it as fast as was predicted?"""
        expected = self.plan.tokens_per_second if self.plan else None
        return bool(rate and expected and rate >= expected)

    def _why(self, course: Course, rate: float | None, context_tokens: int, at: float) -> str:
        if self.plan is None:
            return ""
        facts = Facts(
            plan=self.plan,
            phase=course.phase,
            tokens_per_second=rate,
            seen_tokens_per_second=self._best_rate or None,
            is_first=not self._replies,
            waited_seconds=at - course.began_at if course.began_at is not None else 0.0,
            reading_tokens=course.reading_tokens,
            reading_seconds=course.reading_seconds,
            context_tokens=context_tokens,
            beside=course.beside,
            unused_gpu=self.unused_gpu or "",
            now=self.conditions,
        )
        return why_slow(facts) or ""
