"""A schedule over a scripted context, and what it has told whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from scripted_context import ScriptedContext, ScriptedModel, counting

from localchat.engine.events import Done, Event, Piece, Reading, Waiting
from localchat.engine.schedule import Schedule
from localchat.engine.sessions import Sessions
from localchat.engine.store import NO_STORE, Store
from localchat.errors import LocalchatError
from localchat.llama.batch import Part
from localchat.sampling import Sampling

STEPS_LIMIT = 20_000

Told = Event | LocalchatError


class Stage:
    """A schedule over a scripted context, and what it has told whom."""

    def __init__(self, model: ScriptedModel, context: ScriptedContext | None = None, store: Store = NO_STORE) -> None:
        self.context = context or ScriptedContext()
        self.told: dict[int, list[Told]] = defaultdict(list)
        self.schedule = Schedule(cast("Any", model), cast("Any", self.context), Sessions(store), self._hear)

    def ask(self, number: int, prompt: Sequence[int], *stops: str, limit: int | None = None, **more: Any) -> None:
        self.schedule.add(number, prompt, Sampling(max_tokens=limit, **more), stops)

    def _hear(self, number: int, event: Event) -> None:
        self.told[number].append(event)

    def step(self) -> None:
        for number, told in self.schedule.step():
            self.told[number].append(told)

    def finish(self) -> None:
        """Until nothing is left to do."""
        for _ in range(STEPS_LIMIT):
            if self.schedule.is_idle:
                return
            self.step()
        raise AssertionError("it does not end")

    def reply(self, prompt: Sequence[int], *stops: str, limit: int | None = None) -> list[Told]:
        """All that is told of one reply, alone."""
        number = len(self.told) + 1000
        self.ask(number, prompt, *stops, limit=limit)
        self.finish()
        return self.told[number]

    def text(self, number: int) -> str:
        return text_of(self.told[number])

    def parts(self, slot: int) -> list[Part]:
        """What was computed of one slot, call for call."""
        return [part for call in self.context.calls for part in call if part.slot == slot]


def counted(**context: Any) -> Stage:
    """A model that never ends."""
    return Stage(ScriptedModel(counting), ScriptedContext(**context))


def expected(prompt: Sequence[int], count: int) -> str:
    """What that model says."""
    text = list(prompt)
    for _ in range(count):
        text.append(counting(tuple(text)))
    return "".join(f"{token} " for token in text[len(prompt) :])


def text_of(told: Sequence[Told]) -> str:
    return "".join(event.text for event in told if isinstance(event, Piece))


def end_of(told: Sequence[Told]) -> Done:
    assert isinstance(told[-1], Done)
    assert sum(isinstance(event, Done | LocalchatError) for event in told) == 1
    return told[-1]


def readings(told: Sequence[Told]) -> list[tuple[int, int]]:
    return [(event.done_tokens, event.total_tokens) for event in told if isinstance(event, Reading)]


def waits(told: Sequence[Told]) -> int:
    return sum(isinstance(event, Waiting) for event in told)


@contextmanager
def refused(words: str) -> Iterator[None]:
    """Refused in one sentence with a next step."""
    with pytest.raises(LocalchatError, match=words) as refusal:
        yield
    assert refusal.value.hint
