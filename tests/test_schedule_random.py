"""Whatever comes and goes in whatever order: each reply gets its own text and one end, and the cache is in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_context import END, ScriptedContext, ScriptedModel, ScriptedSampler, Tokens, scripted, vector_of
from stage import Stage, waits

from localchat.engine import cache, schedule, sessions
from localchat.engine.events import Done, Embedded, Piece
from localchat.engine.store import NO_STORE, Store
from localchat.engine.vector import scaled
from localchat.errors import LocalchatError

__all__ = ["scripted"]

STEMS = ([2] * 30, [*([2] * 10), 3, 4, 5, 6, 3, 4, 5, 6, 3, 4, 5, 6, 3, 4], list(range(2, 60)))


@dataclass(frozen=True)
class Ask:
    """A prompt that begins like others, and a limit of its reply."""

    stem: int
    shared: int
    own: tuple[int, ...]
    limit: int
    is_for_vector: bool = False

    @property
    def prompt(self) -> list[int]:
        return [*STEMS[self.stem][: self.shared], *self.own]


@dataclass(frozen=True)
class Cancel:
    """Of those that were asked, so many from the last."""

    back: int


@dataclass(frozen=True)
class Steps:
    """So many, the first of which does not end well if that is said."""

    count: int
    how: Literal["fail", "abort"] | None = None


@dataclass(frozen=True)
class Idle:
    """Nothing is asked until all is answered, and then for so many steps."""

    steps: int


ASKS = st.builds(
    Ask, st.integers(0, 2), st.integers(0, 58), st.lists(st.integers(1, 6), min_size=1, max_size=12).map(tuple),
    st.integers(1, 60), st.sampled_from([False, False, True]),
)  # fmt: skip
STEPS = st.builds(Steps, st.integers(1, 12))
ABORTED = st.builds(Steps, st.just(1), st.just("abort"))
FAILED = st.builds(Steps, st.just(1), st.just("fail"))
IDLE = st.builds(Idle, st.integers(0, 6))
ACTIONS = st.lists(
    st.one_of(ASKS, STEPS, ASKS, STEPS, ASKS, STEPS, ABORTED, IDLE, st.builds(Cancel, st.integers(0, 5))), max_size=40
)
CONTEXTS = st.builds(
    ScriptedContext, st.sampled_from([72, 130, 300]), st.sampled_from([4, 16, 64]), st.integers(1, 4),
    can_cut=st.sampled_from([True, True, False]),
)  # fmt: skip


def rambling(text: Tokens) -> int:
    """Repeats itself often enough for guesses, is at odds with them now and then, and comes to an end some time."""
    value = len(text) + 31 * sum(text[-40:])
    return END if value % 61 == 0 else 1 + value // 7 % 3 if value % 5 == 0 else 1 + len(text) % 4


def expected(ask: Ask, room: int) -> str:
    """What the model says, one token after the other."""
    text, said = tuple(ask.prompt), ""
    for _ in range(min(ask.limit, room)):
        token = rambling(text)
        if token == END:
            break
        text, said = (*text, token), said + f"{token} "
    return said


@contextmanager
def stage(context: ScriptedContext, is_stored: bool) -> Iterator[Stage]:
    """With a place for sessions or without."""
    with TemporaryDirectory() as folder:
        store = Store(folder, 20_000, "model") if is_stored else NO_STORE
        yield Stage(ScriptedModel(rambling), context, store)
        for path in Path(folder).glob("*"):
            assert path.suffix in (".json", ".kv")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts are worth to be saved as well."""
    monkeypatch.setattr(sessions, "WORTH_SAVING_TOKENS", 12)
    monkeypatch.setattr(sessions, "WORTH_SAVING_SECONDS", 0.0)
    monkeypatch.setattr(cache, "WORTH_RESTORING_TOKENS", 6)
    monkeypatch.setattr(schedule, "SPARE_TOKENS", 8)


def play(one: Stage, actions: Sequence[object]) -> tuple[list[Ask], set[int]]:
    """All of them, and then until nothing is left to do; what was asked and which of that was cancelled."""
    asks: list[Ask] = []
    cancelled: set[int] = set()
    for action in actions:
        match action:
            case Ask(is_for_vector=True):
                one.schedule.embed(len(asks), action.prompt)
                asks.append(action)
            case Ask():
                one.ask(len(asks), action.prompt, limit=action.limit)
                asks.append(action)
            case Cancel(back):
                one.schedule.cancel({len(asks) - 1 - back})
                cancelled |= {len(asks) - 1 - back}
            case Steps(count, how):
                one.context.breaks |= {len(one.context.calls): how} if how else {}
                for _ in range(count):
                    one.step()
            case Idle(count):
                one.finish()
                for _ in range(count):
                    one.schedule.tidy()
    one.finish()
    return asks, cancelled


def check(one: Stage, asks: Sequence[Ask], cancelled: set[int], *, may_fail: bool) -> None:
    for number, ask in enumerate(asks):
        told, whole = one.told[number], expected(ask, one.context.tokens - len(ask.prompt))
        kinds = [type(event) for event in told]
        ends = [event for event in told if isinstance(event, Done | Embedded | LocalchatError)]
        assert waits(told) <= 1
        assert ends == told[len(told) - len(ends) :], "nothing follows an end"
        assert len(ends) == 1 or (number in cancelled and not ends)
        assert may_fail or LocalchatError not in kinds
        if ask.is_for_vector:
            assert all(end.vector == scaled(vector_of(ask.prompt)) for end in ends if isinstance(end, Embedded))
            continue
        assert whole.startswith(one.text(number))
        if ends and isinstance(ends[0], Done):
            assert one.text(number) == whole
            pieces = sum(isinstance(event, Piece) for event in told)
            assert ends[0].usage.completion_tokens == pieces + (ends[0].reason == "stop")
            assert 0 <= ends[0].usage.cached_tokens < ends[0].usage.prompt_tokens == len(ask.prompt)
    assert ScriptedSampler.open == 0
    for slot in range(one.context.slots):
        one.context.keep(slot, 0)
    assert one.context.used == 0


SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(CONTEXTS, ACTIONS)
@SETTINGS
def test_every_reply_has_its_own_text_and_one_end(context: ScriptedContext, actions: list[object]) -> None:
    with stage(context, is_stored=False) as one:
        check(one, *play(one, actions), may_fail=False)


@given(CONTEXTS, ACTIONS)
@settings(SETTINGS, max_examples=60)
def test_sessions_change_no_text(context: ScriptedContext, actions: list[object]) -> None:
    with stage(context, is_stored=True) as one:
        asks, cancelled = play(one, actions)
        one.schedule.save_sessions()
        check(one, asks, cancelled, may_fail=False)


@given(CONTEXTS, st.lists(st.one_of(ASKS, STEPS, FAILED), max_size=30))
@settings(SETTINGS, max_examples=60)
def test_a_failure_harms_nobody_who_comes_later(context: ScriptedContext, actions: list[object]) -> None:
    with stage(context, is_stored=False) as one:
        check(one, *play(one, actions), may_fail=True)
