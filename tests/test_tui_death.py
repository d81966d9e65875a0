"""What the app shows and does when the engine dies, and when it was put away."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from desk import FakeServices, install_fake, saved_texts, wait_until
from fakes import ScriptedEngine
from test_tui_chat import HELLO, app_with, bubbles, ready, say, screen, state
from textual.pilot import Pilot

from localchat.chat import TurnEvent
from localchat.engine.events import Done, Loading, Piece, Reading, Usage, Waiting
from localchat.errors import EngineDied, LocalchatError
from localchat.history.store import History
from localchat.keeper import Kept
from localchat.launching import AS_SET
from localchat.paths import history_file
from localchat.plan.wish import Wish
from localchat.prompt.ledger import Ledger
from localchat.pull.events import Ready
from localchat.pull.install import pull
from localchat.pull.source import parse
from localchat.settings import Settings
from localchat.tui.app import make_app
from localchat.tui.note import Note
from localchat.tui.prompt import Prompt
from localchat.tui.seat import Seat
from localchat.tui.services import real_services
from localchat.tui.status import Situation, Status, after

DIED = EngineDied("the engine stopped: memory ran out", "its log is engine.log")
ANSWER = ("assistant", "Hello **you**")


def half_a_reply() -> ScriptedEngine:
    return ScriptedEngine([Piece("Half a", 2), DIED])


def no_word() -> ScriptedEngine:
    return ScriptedEngine([Reading(0, 40), DIED])


def notes(pilot: Pilot[None]) -> list[str]:
    """What went wrong and what to do, as the transcript tells it."""
    lines = [note.query(".what, .hint") for note in screen(pilot).query(Note)]  # one that is being mounted has none yet
    return [" ".join(str(line.render()) for line in both) for both in lines if both]


async def test_a_death_is_told_in_words_and_the_next_question_is_answered() -> None:
    fake, app = app_with(half_a_reply(), ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: notes(pilot))
        assert "memory ran out" in notes(pilot)[0]
        assert "started again" in notes(pilot)[0]
        assert saved_texts()[-1] == ("assistant", "Half a", "failed")
        await ready(pilot)
        assert fake.loads == ["parrot", "parrot"]
        assert not screen(pilot).is_dead
        await say(pilot, "go on")
        await wait_until(lambda: bubbles(pilot)[-1] == ANSWER)


async def test_how_far_the_restart_is_shows_in_the_status_and_a_question_waits_for_it() -> None:
    fake, app = app_with(half_a_reply(), engine := ScriptedEngine(HELLO))
    fake.gate.clear()
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: state(pilot) == "loading 50%")
        assert screen(pilot).query_one(Status).situation.mood == "busy"
        await say(pilot, "go on")
        await wait_until(lambda: screen(pilot).is_writing and state(pilot) == "loading 50%")
        assert not engine.started.is_set()
        fake.gate.set()
        await wait_until(lambda: bubbles(pilot)[-1] == ANSWER)
        await ready(pilot)
        assert len(engine.prompts) == 1


async def test_escape_while_a_question_waits_for_the_restart_gives_it_back() -> None:
    fake, app = app_with(half_a_reply(), engine := ScriptedEngine(HELLO))
    fake.gate.clear()
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: state(pilot) == "loading 50%")
        await say(pilot, "go on")
        await wait_until(lambda: screen(pilot).is_writing)
        await pilot.press("escape")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "go on")
        fake.gate.set()
        await pilot.pause()
        assert not engine.started.is_set()


async def test_a_question_that_got_no_word_is_answered_after_the_restart_by_itself() -> None:
    _, app = app_with(no_word(), ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ANSWER])
        assert len(notes(pilot)) == 1
        assert [role for role, *_ in saved_texts()] == ["user", "assistant"]


async def test_a_question_over_which_the_engine_dies_twice_comes_back() -> None:
    fake, app = app_with(no_word(), no_word(), ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "Hi")
        await ready(pilot)
        assert not screen(pilot).is_dead
        assert saved_texts() == []
        assert fake.loads == ["parrot"] * 3
        await pilot.press("enter")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ANSWER])


async def test_after_three_deaths_it_takes_a_key_and_then_the_question_is_answered() -> None:
    fake, app = app_with(half_a_reply(), no_word(), no_word(), ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await ready(pilot)
        await say(pilot, "go on")
        await wait_until(lambda: screen(pilot).is_dead and len(notes(pilot)) == 3)
        assert state(pilot) == "engine stopped"
        assert "third time within a minute" in notes(pilot)[-1]
        assert fake.loads == ["parrot"] * 3
        await pilot.press("ctrl+r")
        await wait_until(lambda: bubbles(pilot)[-1] == ANSWER)
        assert fake.loads == ["parrot"] * 4
        assert not screen(pilot).is_dead


async def test_a_restart_that_fails_gives_the_question_back_and_the_next_one_tries_again() -> None:
    no_room = LocalchatError("not enough memory", "close other programs")
    fake, app = app_with(no_word(), no_room, ScriptedEngine(HELLO))  # type: ignore[arg-type]
    fake.gate.clear()
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: state(pilot) == "loading 50%")
        fake.gate.set()
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "Hi")
        await wait_until(lambda: any("Not enough memory" in note for note in notes(pilot)))
        await pilot.press("enter")
        await wait_until(lambda: bubbles(pilot)[-1] == ANSWER)


async def test_what_is_less_after_the_restart_is_shown() -> None:
    fake = FakeServices(
        [half_a_reply(), ScriptedEngine(HELLO, context=256)], notes=["[b]256[/b] instead of 512 tokens"]
    )
    app = fake.app(install_fake())
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: [note.message for note in app._notifications] == ["[b]256[/b] instead of 512 tokens"])
        await ready(pilot)
        await say(pilot, "go on")
        await wait_until(lambda: bubbles(pilot)[-1] == ANSWER)
        assert screen(pilot).query_one(Status).situation.window_tokens == 256
        assert len(app._notifications) == 1


async def test_another_model_takes_over_while_the_dead_one_is_started_again() -> None:
    parrot, raven = install_fake("parrot"), install_fake("raven")
    fake = FakeServices([half_a_reply(), ScriptedEngine(HELLO), ScriptedEngine(HELLO)])
    fake.gate.clear()
    async with fake.app(parrot).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: state(pilot) == "loading 50%")
        screen(pilot)._load(raven)
        fake.gate.set()
        await wait_until(lambda: fake.loads == ["parrot", "parrot", "raven"] and state(pilot) == "ready")
        assert len(notes(pilot)) == 1


async def test_a_new_conversation_hears_nothing_of_the_restart_and_its_question_waits() -> None:
    fake, app = app_with(half_a_reply(), ScriptedEngine(HELLO))
    fake.gate.clear()
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: state(pilot) == "loading 50%")
        await pilot.press("ctrl+n")
        await wait_until(lambda: bubbles(pilot) == [] and state(pilot) == "ready")
        await say(pilot, "Hi")
        await wait_until(lambda: state(pilot) == "loading 50%")
        fake.gate.set()
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ANSWER])


async def test_an_old_question_is_not_touched_by_the_end_of_a_restart() -> None:
    history = History(history_file())
    history.ask(history.begin("old", "parrot"), "old")
    history.close()
    fake, app = app_with(half_a_reply(), engine := ScriptedEngine(HELLO))
    fake.gate.clear()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("ctrl+n")
        await say(pilot, "tale")
        await wait_until(lambda: state(pilot) == "loading 50%")
        await pilot.press("ctrl+o")
        await pilot.press("down", "enter")
        await wait_until(lambda: bubbles(pilot) == [("user", "old")])
        fake.gate.set()
        await ready(pilot)
        await pilot.pause()
        assert bubbles(pilot) == [("user", "old")]
        assert screen(pilot).query_one(Prompt).text == ""
        assert not engine.started.is_set()


@pytest.mark.model
async def test_the_real_app_goes_on_after_a_kill(chatml_file: Path) -> None:
    *_, pulled = pull(parse(str(chatml_file)), Wish())
    assert isinstance(pulled, Ready)
    greedy = replace(pulled.model, receipt=replace(pulled.model.receipt, sampling={"temperature": 0}))  # ends late
    services = real_services(Settings(threads=1, context=32768), AS_SET)
    async with make_app(services, greedy).run_test() as pilot:
        await ready(pilot)
        running = screen(pilot).query_one(Seat).taken
        assert running is not None
        kept = running.engine
        assert isinstance(kept, Kept)
        first = kept._newest.engine.pid
        await say(pilot, "tale")
        await wait_until(lambda: screen(pilot).query_one(Status).situation.reply_tokens > 0)
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: notes(pilot))
        assert "the system killed it" in notes(pilot)[0]
        await ready(pilot)
        assert saved_texts()[-1][2] == "failed"
        await say(pilot, "go on")
        await wait_until(lambda: screen(pilot).query_one(Status).situation.reply_tokens > 0)
        second = kept._newest.engine.pid
    assert not {first, second} & set(psutil.pids())


USAGE = Usage(40, 0, 21, first_token_seconds=0.5, reading_seconds=0.4, writing_seconds=2.0)
BUSY = Situation("thinking", "busy", window_tokens=512)


def test_every_event_changes_the_situation_as_it_should() -> None:
    told: dict[TurnEvent, Situation] = {
        Loading(0.424): Situation("loading 42%", "busy", window_tokens=512),
        Ledger(256, 30, 2): Situation("thinking", "busy", used_tokens=30, window_tokens=256, dropped_turns=2),
        Waiting(): Situation("waiting", "busy", window_tokens=512),
        Reading(1000, 2000): Situation("reading 1,000/2,000", "busy", window_tokens=512),
        Reading(2000, 2000): BUSY,
        Piece("Hi", 3): Situation("thinking", "busy", reply_tokens=3, window_tokens=512),
        Done("stop", USAGE): Situation(
            "thinking", "busy", used_tokens=40, reply_tokens=21, window_tokens=512, tokens_per_second=10.0,
            first_token_seconds=0.5,
        ),
    }  # fmt: skip
    assert {event: after(BUSY, event) for event in told} == told


def test_a_pause_in_the_middle_of_a_reply_is_not_called_waiting() -> None:
    writing = Situation("writing", "busy", reply_tokens=3)
    assert after(writing, Waiting()) == writing
