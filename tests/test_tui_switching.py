"""What happens when something else is begun while a reply is written."""

from __future__ import annotations

from desk import PATIENCE_SECONDS, FakeServices, install_fake, saved_texts, wait_until
from fakes import ScriptedEngine
from test_tui_chat import HELLO, bubbles, endless, ready, say, screen, state

from localchat.chat import TurnEvent
from localchat.engine.events import Piece, Reading
from localchat.history.store import History
from localchat.llama.placement import SLOTS
from localchat.paths import history_file
from localchat.pull.events import Progress
from localchat.tui.answering import Answering
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.note import Note
from localchat.tui.pace import paced, seldom
from localchat.tui.prompt import Prompt
from localchat.tui.replies import Replies
from localchat.tui.status import Status
from localchat.tui.title import Title


async def test_a_new_conversation_does_not_show_the_words_of_the_old_one_which_goes_on() -> None:
    engine = endless()
    async with FakeServices([engine]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+n")
        await wait_until(lambda: bubbles(pilot) == [] and state(pilot) == "ready")
        written = len(saved_texts()[-1][1])
        await wait_until(lambda: len(saved_texts()[-1][1]) > written)
        assert bubbles(pilot) == []
        assert not engine.closed.is_set()
        assert "1 more being written" in screen(pilot).query_one(Title).text


async def test_a_reply_is_found_grown_when_its_conversation_is_opened_again() -> None:
    engine = endless()
    async with FakeServices([engine]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+n")
        await wait_until(lambda: bubbles(pilot) == [])
        screen(pilot)._leave_for(screen(pilot)._services.history.latest())
        await wait_until(lambda: len(bubbles(pilot)) == 2 and state(pilot) == "writing")
        length = len(bubbles(pilot)[-1][1])
        await wait_until(lambda: len(bubbles(pilot)[-1][1]) > length)
        await pilot.press("escape")
        await wait_until(lambda: not screen(pilot).is_writing)
        role, text, ending = saved_texts()[-1]
        assert (role, ending) == ("assistant", "stopped")
        assert bubbles(pilot) == [("user", "tale"), ("assistant", text)]
        assert text.startswith("again again ")


async def test_two_conversations_are_answered_at_once() -> None:
    slow = endless(0.05)
    fake = FakeServices([slow])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "first")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+n")
        await wait_until(lambda: bubbles(pilot) == [])
        await say(pilot, "second")
        await wait_until(lambda: len(bubbles(pilot)) == 2 and bubbles(pilot)[0] == ("user", "second"))
        assert len(slow.prompts) == 2
        assert len(screen(pilot).query_one(Replies).all) == 2
        assert screen(pilot).query_one(Status).course.beside == 1


async def test_the_end_of_a_reply_elsewhere_is_told_and_kept() -> None:
    engine = ScriptedEngine([Reading(0, 1), *HELLO], seconds_each=PATIENCE_SECONDS)
    fake = FakeServices([engine])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi there")
        await wait_until(lambda: screen(pilot).is_writing)
        await pilot.press("ctrl+n")
        engine.close()  # it waits no more
        await wait_until(lambda: [note.title for note in pilot.app._notifications] == ["Hi there"])
        assert bubbles(pilot) == []
        assert saved_texts()[-1] == ("assistant", "Hello **you**", "stop")
        assert "more being written" not in screen(pilot).query_one(Title).text


async def test_no_more_replies_are_begun_than_the_engine_writes_at_once() -> None:
    fake = FakeServices([endless(0.05)])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        for number in range(SLOTS):
            await say(pilot, f"question {number}")
            await wait_until(lambda: screen(pilot).is_writing)
            await pilot.press("ctrl+n")
            await wait_until(lambda: not screen(pilot).is_writing)
        await say(pilot, "one more")
        await wait_until(lambda: len(screen(pilot).query(Note)) == 1)
        assert screen(pilot).query_one(Prompt).text == "one more"
        assert len(screen(pilot).query_one(Replies).all) == SLOTS


async def test_another_model_takes_over_without_an_error_and_the_reply_is_kept() -> None:
    first, second = install_fake("parrot"), install_fake("raven")
    engine = endless()
    fake = FakeServices([engine, ScriptedEngine(HELLO)])
    async with fake.app(first).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+l")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))
        pilot.app.screen.dismiss(second)
        await wait_until(lambda: fake.loads == ["parrot", "raven"] and state(pilot) == "ready")
        assert not screen(pilot).query(Note)
        await wait_until(lambda: saved_texts()[-1][2] == "stopped")
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "Hello **you**"))


async def test_what_an_ended_reply_said_a_moment_ago_is_not_shown_as_another_one() -> None:
    first, second = install_fake("parrot"), install_fake("raven")
    fake = FakeServices([endless(), ScriptedEngine(HELLO)])
    async with fake.app(first).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        replies = screen(pilot).query_one(Replies)
        (writing,) = replies.all
        screen(pilot).conversing.load(second)
        replies.post_message(Replies.Said(writing, Piece("late")))
        await wait_until(lambda: fake.loads == ["parrot", "raven"] and state(pilot) == "ready")
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "Hello **you**"))
        assert [role for role, _ in bubbles(pilot)] == ["user", "assistant", "user", "assistant"]


async def test_a_question_asked_while_the_model_loads_is_answered_when_it_is_ready() -> None:
    fake = FakeServices([ScriptedEngine(HELLO)])
    async with fake.app(None).run_test() as pilot:
        await pilot.press("escape")
        model = install_fake()
        chat = screen(pilot)
        chat.query_one(Answering).model = model  # a model is chosen, but not there yet
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
