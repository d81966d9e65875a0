"""What happens when something else is begun while a reply is written."""

from __future__ import annotations

from desk import FakeServices, install_fake, saved_texts, wait_until
from fakes import ScriptedEngine
from test_tui_chat import HELLO, bubbles, endless, ready, say, screen, state

from localchat.chat import TurnEvent
from localchat.engine.events import Piece, Reading
from localchat.history.store import History
from localchat.paths import history_file
from localchat.pull.events import Progress
from localchat.tui.note import Note
from localchat.tui.pace import paced, seldom


async def test_a_new_conversation_does_not_show_the_words_of_the_old_one() -> None:
    engine = endless()
    async with FakeServices([engine]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+n")
        await wait_until(engine.closed.is_set)
        await pilot.pause()
        assert bubbles(pilot) == []
        assert state(pilot) == "ready"
        await wait_until(lambda: saved_texts()[-1][2] == "stopped")


async def test_another_model_takes_over_without_an_error_and_the_reply_is_kept() -> None:
    first, second = install_fake("parrot"), install_fake("raven")
    engine = endless()
    fake = FakeServices([engine, ScriptedEngine(HELLO)])
    async with fake.app(first).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+l")
        await pilot.pause()
        pilot.app.screen.dismiss(second)
        await wait_until(lambda: fake.loads == ["parrot", "raven"] and state(pilot) == "ready")
        assert not screen(pilot).query(Note)
        await wait_until(lambda: saved_texts()[-1][2] == "stopped")
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "Hello **you**"))


async def test_a_question_asked_while_the_model_loads_is_answered_when_it_is_ready() -> None:
    fake = FakeServices([ScriptedEngine(HELLO)])
    async with fake.app(None).run_test() as pilot:
        await pilot.press("escape")
        model = install_fake()
        chat = screen(pilot)
        chat._model = model  # a model is chosen, but not there yet
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi")])
        chat._load(model)
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "Hello **you**"))


async def test_a_question_that_a_crash_left_is_not_answered_by_itself() -> None:
    history = History(history_file())
    history.ask(history.begin("old", "parrot"), "old")
    history.close()
    engine = ScriptedEngine(HELLO)
    async with FakeServices([engine]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        assert bubbles(pilot) == [("user", "old")]
        assert not engine.started.is_set()


def test_progress_is_shown_seldom_but_its_end_always() -> None:
    ticks = iter([0.0, 0.0, 0.01, 0.03, 0.05, 0.05, 0.06, 0.06])
    events = [Progress("download", "model", done, 9) for done in (1, 2, 3, 4, 9)]
    shown = list(seldom(events, 0.04, lambda: next(ticks)))
    assert [progress.done_bytes for progress in shown] == [1, 4, 9]


def test_pieces_that_come_close_together_become_one_and_none_is_lost() -> None:
    ticks = iter([0.0, 0.0, 0.01, 0.02, 0.06, 0.06, 0.07, 0.2])
    events: list[TurnEvent] = [Reading(0, 1), Piece("a"), Piece("b"), Piece("c"), Piece("d"), Piece("e"), Reading(1, 1)]
    shown = list(paced(events, 0.04, lambda: next(ticks)))
    assert shown == [Reading(0, 1), Piece("a"), Piece("bcd"), Piece("e"), Reading(1, 1)]
