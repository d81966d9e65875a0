"""The chat screen, driven by keys over a scripted engine."""

from __future__ import annotations

from desk import FakeServices, install_fake, saved_texts, wait_until
from fakes import ScriptedEngine
from textual.pilot import Pilot
from textual.widgets import Button

from localchat.engine.events import Done, Event, Piece, Reading, Usage
from localchat.errors import LocalchatError
from localchat.settings import Settings
from localchat.tui.app import LocalchatApp
from localchat.tui.bubble import Bubble
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.note import Note
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.prompt import Prompt
from localchat.tui.status import Status
from localchat.tui.title import Title
from localchat.tui.transcript import Transcript
from localchat.tui.welcome import Welcome

USAGE = Usage(
    prompt_tokens=40, cached_tokens=0, completion_tokens=21, first_token_seconds=0.5, reading_seconds=0.4,
    writing_seconds=2.0,
)  # fmt: skip
HELLO: list[Event | Exception] = [
    Reading(0, 40),
    Reading(40, 40),
    Piece("Hello "),
    Piece("**you**"),
    Done("stop", USAGE),
]


def endless(seconds_each: float = 0.01) -> ScriptedEngine:
    return ScriptedEngine([Piece("again ", count) for count in range(1, 10_001)], seconds_each=seconds_each)


def screen(pilot: Pilot[None]) -> ChatScreen:
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, ChatScreen))


def state(pilot: Pilot[None]) -> str:
    return screen(pilot).query_one(Status).situation.state


def bubbles(pilot: Pilot[None]) -> list[tuple[str, str]]:
    """Role and shown text of every message on the screen."""
    return [(bubble.role, bubble.source) for bubble in screen(pilot).query(Bubble)]


async def ready(pilot: Pilot[None]) -> None:
    await wait_until(lambda: state(pilot) == "ready")


async def say(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen.query_one(Prompt).put(text)
    await pilot.press("enter")


def app_with(engine: ScriptedEngine | LocalchatError, *more: ScriptedEngine) -> tuple[FakeServices, LocalchatApp]:
    fake = FakeServices([engine, *more])
    return fake, fake.app(install_fake())


async def test_an_empty_chat_greets_and_waits_for_a_question() -> None:
    _, app = app_with(ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        assert screen(pilot).query_one(Welcome)
        assert screen(pilot).query_one(Title).model == "parrot · Q4_K_M · CPU"
        assert isinstance(app.focused, Prompt)


async def test_a_typed_question_is_answered_kept_and_shown_as_markdown() -> None:
    _, app = app_with(engine := ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press(*"Hi", "enter")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ("assistant", "Hello **you**")])
        await ready(pilot)
        assert "<|im_start|>user\nHi<|im_end|>" in engine.prompt_text()
        assert screen(pilot).query_one(Prompt).text == ""
        assert saved_texts() == [("user", "Hi", "said"), ("assistant", "Hello **you**", "stop")]
        situation = screen(pilot).query_one(Status).situation
        assert (situation.tokens_per_second, situation.used_tokens, situation.reply_tokens) == (10.0, 40, 21)


async def test_the_second_question_carries_the_first_turn() -> None:
    _, app = app_with(engine := ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        for question in ("one", "two"):
            await say(pilot, question)
            await wait_until(lambda: not screen(pilot).is_writing and len(bubbles(pilot)) % 2 == 0)
        await wait_until(lambda: len(engine.prompts) == 2)
        assert engine.prompt_text().index("one") < engine.prompt_text().index("Hello **you**")
        assert engine.prompt_text().index("Hello **you**") < engine.prompt_text().index("two")


async def test_control_j_begins_a_new_line_and_enter_sends() -> None:
    _, app = app_with(ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("a", "ctrl+j", "b")
        assert screen(pilot).query_one(Prompt).text == "a\nb"
        await pilot.press("enter")
        await wait_until(lambda: ("user", "a\nb") in bubbles(pilot))


async def test_nothing_but_spaces_is_not_sent() -> None:
    _, app = app_with(engine := ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("space", "enter")
        await pilot.pause()
        assert not engine.started.is_set()
        assert bubbles(pilot) == []


async def test_escape_stops_the_reply_and_keeps_what_was_written() -> None:
    _, app = app_with(engine := endless())
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: any("again" in text for _, text in bubbles(pilot)))
        await pilot.press("escape")
        await wait_until(engine.closed.is_set)
        await wait_until(lambda: not screen(pilot).is_writing)
        role, text, ending = saved_texts()[-1]
        assert (role, ending) == ("assistant", "stopped")
        assert bubbles(pilot)[-1] == ("assistant", text)
        assert text.startswith("again ")
        assert 0 < screen(pilot).query_one(Status).situation.reply_tokens <= text.count("again")


async def test_escape_before_the_first_word_gives_the_question_back() -> None:
    _, app = app_with(engine := ScriptedEngine([Reading(index, 1000) for index in range(1000)], seconds_each=0.01))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: state(pilot).startswith("reading"))
        await pilot.press("escape")
        await wait_until(engine.closed.is_set)
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "tale")
        assert bubbles(pilot) == []
        assert saved_texts() == []


async def test_a_question_while_a_reply_is_written_stays_in_the_input() -> None:
    _, app = app_with(engine := endless())
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "first")
        await wait_until(lambda: screen(pilot).is_writing)
        await say(pilot, "second")
        assert screen(pilot).query_one(Prompt).text == "second"
        assert len(engine.prompts) == 1


async def test_a_model_that_does_not_load_says_why_and_offers_to_try_again() -> None:
    fake, app = app_with(LocalchatError("not enough memory", "close other programs"), ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await wait_until(lambda: state(pilot) == "not loaded")
        await wait_until(lambda: len(screen(pilot).query(Note)) == 1)
        await pilot.press("ctrl+r")
        await ready(pilot)
        assert fake.loads == ["parrot", "parrot"]


async def test_a_question_too_long_for_the_context_comes_back_with_the_reason() -> None:
    _, app = app_with(ScriptedEngine(HELLO, context=128))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "x" * 500)
        await wait_until(lambda: len(screen(pilot).query(Note)) == 1)
        assert screen(pilot).query_one(Prompt).text == "x" * 500
        assert saved_texts() == []


async def test_what_fell_out_of_the_context_is_said() -> None:
    _, app = app_with(ScriptedEngine(HELLO, context=256))
    async with app.run_test(size=(120, 30)) as pilot:
        await ready(pilot)
        for question in ("a" * 90, "b" * 90, "c" * 90):
            await say(pilot, question)
            await wait_until(lambda: not screen(pilot).is_writing and len(bubbles(pilot)) % 2 == 0)
        assert screen(pilot).query_one(Status).situation.dropped_turns > 0
        assert "left out" in str(screen(pilot).query_one(Status).render())


async def test_conversations_are_there_again_after_a_restart() -> None:
    model = install_fake()
    async with FakeServices([ScriptedEngine(HELLO)]).app(model).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: len(saved_texts()) == 2 and saved_texts()[-1][2] == "stop")
    async with FakeServices([ScriptedEngine(HELLO)]).app(model).run_test() as pilot:
        await ready(pilot)
        assert bubbles(pilot) == [("user", "Hi"), ("assistant", "Hello **you**")]
        assert screen(pilot).query_one(Title).text == "Hi"


async def test_a_reply_that_was_cut_by_a_crash_is_marked_as_interrupted() -> None:
    fake = FakeServices([ScriptedEngine(HELLO)])
    history = fake.services.history
    number = history.begin("Hi", "parrot")
    history.ask(number, "Hi")
    history.draft(number, "parrot").save("Hello y")
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        assert bubbles(pilot)[-1] == ("assistant", "Hello y")
        assert "interrupted" in str(screen(pilot).query(Bubble).last().query_one(".caption").render())


async def test_a_new_conversation_begins_empty_and_the_old_one_can_be_opened() -> None:
    _, app = app_with(engine := ScriptedEngine(HELLO))
    async with app.run_test() as pilot:
        await ready(pilot)
        await say(pilot, "old question")
        await wait_until(lambda: not screen(pilot).is_writing and len(bubbles(pilot)) == 2)
        await pilot.press("ctrl+n")
        await wait_until(lambda: bubbles(pilot) == [])
        await say(pilot, "new question")
        await wait_until(lambda: not screen(pilot).is_writing and len(bubbles(pilot)) == 2)
        assert "old question" not in engine.prompt_text()
        await pilot.press("ctrl+o")
        await pilot.press("down", "enter")
        await wait_until(lambda: ("user", "old question") in bubbles(pilot))


async def test_a_long_conversation_shows_its_end_and_the_rest_on_request() -> None:
    fake = FakeServices([ScriptedEngine(HELLO)])
    number = fake.services.history.begin("0", "parrot")
    for index in range(50):
        fake.services.history.ask(number, f"question {index}")
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        assert bubbles(pilot)[0] == ("user", "question 30")
        screen(pilot).query_one(Transcript).query_one(".earlier", Button).press()
        await wait_until(lambda: ("user", "question 20") in bubbles(pilot))


async def test_hostile_text_is_shown_harmlessly_everywhere() -> None:
    hostile = "\x1b]0;owned\x07[red]bold[/nope] \x9b31m \u202eabc [@click=app.quit]x[/]"
    script: list[Event | Exception] = [Piece(hostile), Done("stop", USAGE)]
    _, app = app_with(ScriptedEngine(script))
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await say(pilot, hostile)
        await wait_until(lambda: len(bubbles(pilot)) == 2 and not screen(pilot).is_writing)
        shown = "".join(text for _, text in bubbles(pilot)) + str(screen(pilot).query_one(Title).render())
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
        assert "[red]bold[/nope]" in bubbles(pilot)[0][1]


async def test_the_system_message_of_the_settings_begins_a_conversation() -> None:
    fake = FakeServices([engine := ScriptedEngine(HELLO)], settings=Settings(system="Answer in rhymes."))
    async with fake.app(install_fake(system="ignored")).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: engine.prompts)
        assert engine.prompt_text().startswith("<|im_start|>system\nAnswer in rhymes.<|im_end|>")


async def test_without_a_model_the_app_opens_on_the_picker() -> None:
    async with FakeServices().app(None).run_test() as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, PickerScreen))
