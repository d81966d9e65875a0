"""The engine that stays: what it does when its process dies, when nobody needs it, and when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from fakes import ScriptedEngine
from made_up import GIB, plan
from test_lifetime import Desk

from localchat.chat import Forgotten, reply
from localchat.conversation import Conversation
from localchat.engine.events import Event, Loaded, Loading, Piece
from localchat.errors import EngineDied, LocalchatError
from localchat.keeper import Kept
from localchat.launch import Launched
from localchat.lifetime import DEATHS_LIMIT, GivenUp
from localchat.plan.plan import Plan
from localchat.prompt.ledger import Ledger
from localchat.sampling import Sampling

PATIENCE_SECONDS = 60.0
DEATH = EngineDied("the engine stopped: memory ran out", "its log is engine.log")
WORDS: list[Event | Exception] = [Piece("Hello "), Piece("you")]
GREEDY = Sampling(temperature=0)


def sound(context: int = 512) -> ScriptedEngine:
    return ScriptedEngine(WORDS, context=context)


def mortal(*before: Event) -> ScriptedEngine:
    """Dies in its first reply."""
    return ScriptedEngine([*before, DEATH])


class Starts:
    """Starts these one after the other, the last for good; an error in the place of one is raised."""

    def __init__(self, *engines: ScriptedEngine | Exception) -> None:
        self.engines, self.count = list(engines), 0
        self.gate = threading.Event()
        """All but the first wait for it in the middle of their load."""
        self.gate.set()
        self.waits = threading.Event()

    def __call__(self, progress: Callable[[float], None]) -> Any:
        self.count += 1
        number = self.count
        progress(0.25)
        if number > 1:
            self.waits.set()
            assert self.gate.wait(PATIENCE_SECONDS)
            progress(0.75)
        engine = self.engines.pop(0) if len(self.engines) > 1 else self.engines[0]
        if isinstance(engine, Exception):
            raise engine
        made: Any = engine
        return Launched(made, plan(GIB, context=engine.loaded.context), (f"load {number}",))


@pytest.fixture
def keep() -> Iterator[Callable[..., Kept]]:
    """Makes engines that are closed after the test; no thread of theirs is left then."""
    before, kept = set(threading.enumerate()), []

    def make(start: Starts, **more: Any) -> Kept:
        kept.append(Kept(start, **more))
        return kept[-1]

    yield make
    for one in kept:
        one.close()
    # What renders templates is the program's, and its watchdog begins with the first of them.
    assert {thread for thread in threading.enumerate() if thread.name != "watchdog"} <= before


def answered(kept: Kept) -> str:
    return "".join(event.text for event in kept.reply([1], GREEDY, ()) if isinstance(event, Piece))


def read_until_death(kept: Kept) -> tuple[str, EngineDied]:
    """What was said, and the error after it."""
    text = ""
    try:
        for event in kept.reply([1], GREEDY, ()):
            text += event.text if isinstance(event, Piece) else ""
    except EngineDied as death:
        return text, death
    pytest.fail("it did not die")


def in_threads(*calls: Callable[[], object]) -> list[object]:
    """What each of them returns or raises, when all are called at once."""
    barrier = threading.Barrier(len(calls))
    found: list[object] = [None] * len(calls)

    def run(index: int) -> None:
        barrier.wait(PATIENCE_SECONDS)
        try:
            found[index] = calls[index]()
        except LocalchatError as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "a caller hangs"
    return found


Keep = Callable[..., Kept]


# A life without events


def test_the_events_of_the_process_are_passed_on(keep: Keep) -> None:
    kept = keep(Starts(engine := sound()))
    assert list(kept.reply([1, 2], GREEDY, ())) == WORDS
    assert engine.prompts == [[1, 2]]
    assert kept.tokenize(["a"]) == [[1097]]
    assert kept.is_loaded


def test_an_engine_that_does_not_load_the_first_time_is_an_error(keep: Keep) -> None:
    with pytest.raises(LocalchatError, match="no room"):
        keep(Starts(LocalchatError("no room", "close programs")))


def test_who_stops_reading_cancels(keep: Keep) -> None:
    kept = keep(Starts(engine := sound()))
    events = kept.reply([1], GREEDY, ())
    next(events)
    events.close()
    assert engine.closed.is_set()
    assert answered(kept) == "Hello you"


# Death


def test_a_death_ends_the_reply_with_its_reason_and_the_next_one_is_answered(keep: Keep) -> None:
    kept = keep(start := Starts(dead := mortal(Piece("Half a")), sound()))
    text, death = read_until_death(kept)
    assert (text, str(death)) == ("Half a", str(DEATH))
    assert "started again" in death.hint
    assert "engine.log" in death.hint
    assert answered(kept) == "Hello you"
    assert start.count == 2
    assert dead.is_closed


def test_who_waits_for_a_restart_hears_how_far_it_is(keep: Keep) -> None:
    kept = keep(start := Starts(mortal(), sound()))
    start.gate.clear()
    read_until_death(kept)
    events = kept.reply([1], GREEDY, ())
    first = [next(events)]
    while first[-1] != Loading(0.25):
        first.append(next(events))
    assert {type(event) for event in first} == {Loading}
    assert not kept.is_loaded
    start.gate.set()
    rest = list(events)
    assert rest[-2:] == WORDS
    assert all(isinstance(event, Loading) for event in rest[:-2])


def test_who_waits_for_a_restart_may_stop_waiting(keep: Keep) -> None:
    kept = keep(start := Starts(mortal(), engine := sound()))
    start.gate.clear()
    read_until_death(kept)
    events = kept.reply([1], GREEDY, ())
    assert [next(events), next(events), next(events)]  # it goes on being told, though nothing happens
    events.close()
    start.gate.set()
    assert answered(kept) == "Hello you"
    assert len(engine.prompts) == 1


def test_a_death_that_nobody_saw_is_made_good_before_the_next_reply(keep: Keep) -> None:
    kept = keep(start := Starts(engine := sound(), sound()))
    engine.death = DEATH
    assert answered(kept) == "Hello you"
    assert start.count == 2


def test_a_death_over_tokens_is_made_good_once(keep: Keep) -> None:
    class Fragile(ScriptedEngine):
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            self.death = DEATH
            raise DEATH

    kept = keep(start := Starts(Fragile(WORDS), sound()))
    assert kept.tokenize(["a"]) == [[1097]]
    assert start.count == 2
    kept = keep(start := Starts(Fragile(WORDS), Fragile(WORDS), sound()))
    with pytest.raises(EngineDied, match="memory ran out"):
        kept.tokenize(["a"])
    assert kept.tokenize(["a"]) == [[1097]]
    assert start.count == 3


def test_three_deaths_within_a_minute_stop_it(keep: Keep) -> None:
    kept = keep(start := Starts(*(mortal() for _ in range(9))))
    deaths = [read_until_death(kept)[1] for _ in range(DEATHS_LIMIT)]
    assert [isinstance(death, GivenUp) for death in deaths] == [False, False, True]
    assert "third time within a minute" in str(deaths[-1])
    for call in (lambda: answered(kept), lambda: kept.tokenize(["a"]), lambda: list(kept.wake())):
        with pytest.raises(GivenUp, match="third time within a minute") as error:
            call()
        assert error.value.hint
    assert start.count == DEATHS_LIMIT
    assert not kept.is_loaded


def test_deaths_far_apart_do_not_stop_it(keep: Keep) -> None:
    desk = Desk()
    kept = keep(start := Starts(*(mortal() for _ in range(5)), sound()), clock=desk.clock)
    for _ in range(5):
        read_until_death(kept)
        desk.now += 31
    assert answered(kept) == "Hello you"
    assert start.count == 6


def test_deaths_over_the_load_count_too(keep: Keep) -> None:
    kept = keep(start := Starts(mortal(), DEATH, sound()))
    read_until_death(kept)
    assert answered(kept) == "Hello you"
    assert start.count == 3
    kept = keep(start := Starts(mortal(), DEATH))
    read_until_death(kept)
    with pytest.raises(GivenUp):
        answered(kept)
    assert start.count == DEATHS_LIMIT


def test_a_restart_that_is_refused_is_told_and_tried_again_when_asked(keep: Keep) -> None:
    kept = keep(start := Starts(mortal(), LocalchatError("no room", "close programs"), sound()))
    start.gate.clear()
    read_until_death(kept)
    events = kept.reply([1], GREEDY, ())
    next(events)
    start.gate.set()
    with pytest.raises(LocalchatError, match="no room"):
        list(events)
    assert answered(kept) == "Hello you"


def test_a_fault_of_ours_over_the_restart_is_shown_and_lets_nobody_wait_for_ever(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    kept = keep(start := Starts(mortal(), RuntimeError("a bug"), sound()))
    start.gate.clear()
    read_until_death(kept)
    events = kept.reply([1], GREEDY, ())
    next(events)
    start.gate.set()
    with pytest.raises(LocalchatError, match="could not be started again"):
        list(events)
    assert answered(kept) == "Hello you"
    assert [str(fault.exc_value) for fault in shown] == ["a bug"]


def test_each_death_is_learned_from_before_the_next_start(keep: Keep) -> None:
    heard: list[tuple[int, str, int]] = []
    start = Starts(ScriptedEngine([DEATH], context=100), ScriptedEngine([DEATH], context=90), mortal(), sound())

    def learn(planned: Plan, death: EngineDied) -> None:
        heard.append((planned.context, str(death), start.count))

    kept = keep(start, learn=learn)
    for _ in range(DEATHS_LIMIT):
        read_until_death(kept)
    assert heard == [
        (100, str(DEATH), 1),
        (90, str(DEATH), 2),
        (512, str(DEATH), 3),
    ]  # the last is for the next program


def test_the_facts_plan_and_notes_are_those_of_the_newest_load(keep: Keep) -> None:
    kept = keep(start := Starts(ScriptedEngine([DEATH], context=512), sound(256)))
    assert kept.take_notes() == ("load 1",)
    assert kept.take_notes() == ()
    start.gate.clear()
    read_until_death(kept)
    assert (kept.loaded.context, kept.plan.context, kept.take_notes()) == (512, 512, ())
    start.gate.set()
    list(kept.wake())
    assert (kept.loaded.context, kept.plan.context, kept.take_notes()) == (256, 256, ("load 2",))


def test_a_prompt_is_made_for_the_context_that_there_is_after_the_restart(keep: Keep) -> None:
    kept = keep(Starts(ScriptedEngine([DEATH], context=512), sound(256)))
    read_until_death(kept)
    with closing(reply(kept, Conversation().ask("Hi"), GREEDY, (), Forgotten())) as events:
        ledger = next(event for event in events if isinstance(event, Ledger))
    assert ledger.window_tokens == 256


# Several at once


def test_several_who_see_one_death_cause_one_restart(keep: Keep) -> None:
    meeting = threading.Barrier(8)

    class Together(ScriptedEngine):
        def reply(self, *_: object) -> Iterator[Event]:  # type: ignore[override]
            meeting.wait(PATIENCE_SECONDS)
            self.death = DEATH
            yield Piece("Half a")
            raise DEATH

    kept = keep(start := Starts(Together([]), sound()))
    found = in_threads(*[lambda: answered(kept)] * 8)
    assert [str(error) for error in found] == [str(DEATH)] * 8
    assert in_threads(*[lambda: answered(kept)] * 8) == ["Hello you"] * 8
    assert start.count == 2


def test_several_who_need_an_engine_that_was_put_away_cause_one_load(keep: Keep) -> None:
    desk = Desk()
    kept = keep(start := Starts(sound()), idle_seconds=60, clock=desk.clock, alarms=desk.alarms)
    desk.now = 60
    desk.ring()
    calls = [lambda: answered(kept), lambda: kept.tokenize(["a"])]
    start.engines = [sound()]
    assert in_threads(*calls * 4) == ["Hello you", [[1097]]] * 4
    assert start.count == 2


# Nobody needs it


def test_an_engine_that_nobody_needed_for_long_is_put_away_and_loaded_on_demand(keep: Keep) -> None:
    desk = Desk()
    kept = keep(Starts(first := sound(), sound()), idle_seconds=60, clock=desk.clock, alarms=desk.alarms)
    facts: Loaded = kept.loaded
    desk.now = 59
    desk.ring()
    assert kept.is_loaded
    desk.now = 60
    desk.ring()
    assert first.is_closed
    assert not kept.is_loaded
    assert kept.loaded == facts
    events = list(kept.reply([1], GREEDY, ()))
    assert isinstance(events[0], Loading)
    assert events[-2:] == WORDS
    assert kept.is_loaded
    assert desk.set == [60, 1, 60]


def test_a_reply_that_is_read_slowly_keeps_the_engine(keep: Keep) -> None:
    desk = Desk()
    kept = keep(Starts(engine := sound()), idle_seconds=60, clock=desk.clock, alarms=desk.alarms)
    events = kept.reply([1], GREEDY, ())
    next(events)
    desk.now = 1000
    desk.ring()
    assert not engine.is_closed
    assert list(events) == WORDS[1:]
    desk.now = 1060
    desk.ring()
    assert engine.is_closed


def test_an_alarm_while_the_engine_is_started_again_does_no_harm(keep: Keep) -> None:
    desk = Desk()
    kept = keep(start := Starts(mortal(), sound()), idle_seconds=60, clock=desk.clock, alarms=desk.alarms)
    start.gate.clear()
    read_until_death(kept)
    events = kept.reply([1], GREEDY, ())
    next(events)
    desk.now = 60
    desk.ring()
    start.gate.set()
    assert list(events)[-2:] == WORDS
    assert desk.set == [60, 60]


def test_without_a_time_it_is_never_put_away(keep: Keep) -> None:
    desk = Desk()
    keep(Starts(sound()), clock=desk.clock, alarms=desk.alarms)
    assert desk.set == []


# The end


def test_a_closed_engine_refuses_everything(keep: Keep) -> None:
    kept = keep(start := Starts(engine := sound()))
    kept.close()
    kept.close()
    assert engine.is_closed
    for call in (lambda: answered(kept), lambda: kept.tokenize(["a"]), lambda: list(kept.wake())):
        with pytest.raises(EngineDied, match="was closed"):
            call()
    assert start.count == 1


def test_closing_ends_a_reply_without_a_restart(keep: Keep) -> None:
    kept = keep(start := Starts(mortal(Piece("Half a"))))
    events = kept.reply([1], GREEDY, ())
    next(events)
    kept.close()
    with pytest.raises(EngineDied, match="was closed"):
        next(events)
    assert start.count == 1


def test_closing_breaks_off_a_load_and_who_waits_for_it_is_told(keep: Keep) -> None:
    kept = keep(start := Starts(mortal(), late := sound()))
    start.gate.clear()
    read_until_death(kept)
    assert start.waits.wait(PATIENCE_SECONDS)
    events = kept.reply([1], GREEDY, ())
    next(events)
    closer = threading.Thread(target=kept.close)
    closer.start()
    with pytest.raises(EngineDied, match="was closed"):
        list(events)
    start.gate.set()
    closer.join(PATIENCE_SECONDS)
    assert not closer.is_alive()
    assert start.engines == [late]  # it was broken off by its progress, before there was an engine


def test_an_engine_that_is_ready_only_after_the_end_is_closed_as_well() -> None:
    gate, waits, late = threading.Event(), threading.Event(), sound()
    engines: list[Any] = [mortal(), late]

    def start(_progress: Callable[[float], None]) -> Launched:
        if len(engines) == 1:
            waits.set()
            assert gate.wait(PATIENCE_SECONDS)
        return Launched(engines.pop(0), plan(GIB), ())

    kept = Kept(start)
    read_until_death(kept)
    assert waits.wait(PATIENCE_SECONDS)
    closer = threading.Thread(target=kept.close)
    closer.start()
    with kept._changed:
        assert kept._changed.wait_for(lambda: kept._end is not None, PATIENCE_SECONDS)
    gate.set()
    closer.join(PATIENCE_SECONDS)
    assert late.is_closed
    assert not kept.is_loaded


def test_a_real_alarm_is_gone_after_the_end(keep: Keep) -> None:
    kept = keep(Starts(sound()), idle_seconds=3600)
    assert "idle" in [thread.name for thread in threading.enumerate()]
    kept.close()
    assert "idle" not in [thread.name for thread in threading.enumerate()]


def test_a_real_alarm_puts_it_away(keep: Keep) -> None:
    kept = keep(start := Starts(engine := sound(), sound()), idle_seconds=0.01)
    with kept._changed:
        assert kept._changed.wait_for(lambda: not kept.is_loaded and kept._change is None, PATIENCE_SECONDS)
    assert engine.is_closed
    assert start.count == 1
