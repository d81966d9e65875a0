"""The engine that stays, over real processes that are killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from made_up import GIB, hardware
from planning import LITTLE, MISTRAL, device, machine, made_up, planned

from localchat.chat import reply
from localchat.conversation import Conversation, Ending
from localchat.engine.events import Done, Loading, Piece
from localchat.errors import EngineDied
from localchat.keeper import Kept, keep
from localchat.launch import launch, learn, plan_now
from localchat.launching import AS_SET, Launch
from localchat.library import Installed
from localchat.lifetime import GivenUp
from localchat.llama import devices
from localchat.llama.devices import Build
from localchat.llama.placement import HOST
from localchat.plan.make import Machine
from localchat.plan.truth import forget, load_of, loads, remember
from localchat.plan.wish import Wish
from localchat.prompt.ledger import Ledger
from localchat.pull.events import Ready
from localchat.pull.install import pull
from localchat.pull.source import parse
from localchat.sampling import Sampling
from localchat.settings import Settings

GREEDY = Sampling(temperature=0)
SHORT = Sampling(temperature=0, max_tokens=5)
ONE_THREAD = Settings(threads=1)
PATIENCE_SECONDS = 60.0
KILLED = EngineDied("the engine stopped: the system killed it, most likely because memory ran out", "", "host")
RAN_OUT = EngineDied("the engine stopped: memory ran out", "", "unknown")


@pytest.fixture
def model(chatml_file: Path) -> Installed:
    """The small model, made for 32,768 tokens of context."""
    *_, ready = pull(parse(str(chatml_file)), Wish())
    assert isinstance(ready, Ready)
    return ready.model


@pytest.fixture
def kept(model: Installed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """Kept on a machine with much memory."""
    monkeypatch.setattr("localchat.launch.this_machine", lambda *_, **__: Machine(hardware(64 * GIB, 60 * GIB)))
    with closing(keep(model, ONE_THREAD, lambda _: None)) as kept:
        yield kept


class Notebook:
    """A draft that remembers."""

    def __init__(self) -> None:
        self.text, self.ending = "", ""

    def save(self, text: str) -> None:
        self.text = text

    def finish(self, text: str, ending: Ending) -> None:
        self.text, self.ending = text, ending


def pid(kept: Kept) -> int:
    """The newest child, whether it lives or not."""
    return kept._newest.engine.pid


def is_gone(number: int) -> bool:
    """Is the process over, and asked after?"""
    return not psutil.pid_exists(number)


def killed_reply(kept: Kept) -> tuple[str, Notebook, EngineDied]:
    """The text that was shown of a reply in which the child is killed, its draft, and the error."""
    shown, draft = "", Notebook()
    try:
        for event in reply(kept, Conversation().ask("Hi"), GREEDY, (), draft):
            if isinstance(event, Piece):
                shown += event.text
                os.kill(pid(kept), signal.SIGKILL)
    except EngineDied as death:
        return shown, draft, death
    pytest.fail("it did not die")


def settled(kept: Kept) -> Kept:
    """The same once it is loaded again."""
    for _ in kept.wake():
        pass
    return kept


@pytest.mark.model
def test_what_was_shown_before_a_kill_is_kept_and_the_next_reply_is_answered(kept: Kept) -> None:
    first = pid(kept)
    shown, draft, death = killed_reply(kept)
    assert shown
    assert (draft.text, draft.ending) == (shown, "failed")
    assert str(death) == str(KILLED)
    with closing(reply(kept, Conversation().ask("Hi"), SHORT, (), Notebook())) as found:
        events = list(found)
    kinds = [type(event) for event in events]
    assert kinds[: kinds.index(Ledger)] == [Loading] * kinds.index(Ledger) != []
    assert isinstance(events[-1], Done)
    assert pid(kept) != first
    assert is_gone(first)


@pytest.mark.model
def test_after_a_kill_less_is_planned_and_that_is_said(kept: Kept) -> None:
    before = kept.plan
    assert kept.take_notes() == ()
    killed_reply(kept)
    after = settled(kept).plan
    assert after.total_bytes < before.total_bytes
    assert kept.loaded.context == after.context
    (note,) = kept.take_notes()
    assert note.startswith("memory ran out the last time: the model runs with ")
    assert [(load.outcome, load.short_of) for load in loads()[-2:]] == [("failed", HOST), ("loaded", None)]


@pytest.mark.model
def test_three_kills_within_a_minute_stop_it_in_words(kept: Kept) -> None:
    for _ in range(2):
        killed_reply(settled(kept))
    *_, death = killed_reply(settled(kept))
    assert isinstance(death, GivenUp)
    assert "for the third time within a minute" in str(death)
    with pytest.raises(GivenUp):
        kept.tokenize(["Hi"])
    assert is_gone(pid(kept))


@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_that_was_not_for_memory_changes_no_plan(kept: Kept, number: signal.Signals) -> None:
    before = kept.plan
    os.kill(pid(kept), number)
    assert settled(kept).plan.placement() == before.placement()
    assert kept.take_notes() == ()


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for as Linux shows them")
def test_an_engine_that_nobody_needs_gives_its_process_back(model: Installed) -> None:
    before = threading.active_count()
    with closing(Kept(lambda progress: launch(model, ONE_THREAD, progress), idle_seconds=0.05)) as kept:
        first = pid(kept)
        with kept._changed:
            assert kept._changed.wait_for(lambda: not kept.is_loaded and kept._change is None, PATIENCE_SECONDS)
        assert is_gone(first)
        assert kept.loaded.layers == 2
        events = list(kept.reply([1, 300], SHORT, ()))
        assert isinstance(events[0], Loading)
        assert isinstance(events[-1], Done)
        second = pid(kept)
    assert is_gone(second)
    assert threading.active_count() == before


# What is learned


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.launch.this_machine", lambda *_, **__: Machine(hardware(64 * GIB, 60 * GIB)))


@pytest.mark.usefixtures("roomy")
def test_deaths_for_memory_make_the_plan_smaller_as_long_as_there_is_a_smaller_one(model: Installed) -> None:
    sizes = []
    for _ in range(20):
        plan = plan_now(model, ONE_THREAD)
        sizes.append(plan.total_bytes)
        learn(model, ONE_THREAD, AS_SET, plan, KILLED)
    assert sizes == sorted(sizes, reverse=True)
    assert 1 < len(set(sizes)) < len(sizes)  # and then the smallest is tried again rather than nothing


@pytest.mark.usefixtures("roomy")
def test_a_context_that_was_asked_for_is_loaded_again_after_every_death(model: Installed) -> None:
    how = Launch(context=2048)
    for _ in range(5):
        learn(model, ONE_THREAD, how, plan_now(model, ONE_THREAD, how), RAN_OUT)
    assert plan_now(model, ONE_THREAD, how).context == 2048


WITH_GPU = planned(MISTRAL, machine(32, 26, device("gpu", 8, 7.5)))
IN_MEMORY = planned(MISTRAL, machine(32, 26))
SHORT_OF = [
    (WITH_GPU, RAN_OUT, "CUDA0"),
    (WITH_GPU, KILLED, HOST),
    (IN_MEMORY, RAN_OUT, HOST),
    (IN_MEMORY, KILLED, HOST),
]


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize(("plan", "death", "where"), SHORT_OF)
def test_the_memory_that_ran_out_is_remembered(model: Installed, plan: object, death: EngineDied, where: str) -> None:
    learn(model, ONE_THREAD, AS_SET, plan, death)  # type: ignore[arg-type]
    assert (loads()[-1].outcome, loads()[-1].short_of) == ("failed", where)


def test_only_what_was_remembered_last_can_be_forgotten() -> None:
    first, second = (load_of(name, IN_MEMORY, "failed", {}, HOST) for name in ("a", "b"))
    remember(first)
    remember(second)
    forget(first)
    assert [load.model for load in loads()] == ["a", "b"]
    forget(second)
    forget(second)
    assert [load.model for load in loads()] == ["a"]
    forget(first)
    forget(first)
    assert loads() == []


# A GPU that goes and comes back


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Build], None]:
    """Says what llama.cpp answers from now on to whoever asks for devices."""
    monkeypatch.setattr(devices, "_changing", set())
    devices._kept.cache_clear()
    monkeypatch.setattr("localchat.plan.make.find_works", made_up(LITTLE))

    def answer(build: Build) -> None:
        monkeypatch.setattr(devices, "ask_build", lambda _rpc: build)

    return answer


def test_a_gpu_that_vanishes_is_planned_without_and_one_that_comes_back_is_used(
    model: Installed, answers: Callable[[Build], None]
) -> None:
    present, absent = Build(("CUDA", "CPU"), (), (device("gpu", 8, 7.5),)), Build(("CUDA", "CPU"))
    fits = []
    for build in (present, absent, present):
        answers(build)
        fits.append(plan_now(model, Settings()).fits)
    devices._kept.cache_clear()
    assert fits == ["gpu", "memory", "gpu"]


def test_where_there_never_was_a_gpu_it_is_not_asked_for_again(
    model: Installed, answers: Callable[[Build], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(Build(("CPU",)))
    plan_now(model, Settings())
    monkeypatch.setattr(devices, "ask_build", lambda _rpc: pytest.fail("it was asked again"))
    assert plan_now(model, Settings()).fits == "memory"
    devices._kept.cache_clear()
