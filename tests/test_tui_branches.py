"""What the keys of a marked message do: edit, regenerate, switch, pin, delete, undo."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence

from desk import FakeServices, install_fake, saved_texts, wait_until
from fakes import ScriptedEngine
from test_tui_chat import USAGE, bubbles, endless, ready, say, screen, state
from textual.pilot import Pilot

from localchat.engine.events import Done, Event, Piece, Reading
from localchat.history.store import History
from localchat.paths import history_file
from localchat.sampling import Sampling
from localchat.settings import Settings
from localchat.tui.app import LocalchatApp
from localchat.tui.composer import Composer
from localchat.tui.copy_screen import CopyScreen
from localchat.tui.hardware_screen import HardwareScreen
from localchat.tui.history_screen import HistoryScreen
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.note import Note
from localchat.tui.preset_screen import PresetScreen
from localchat.tui.prompt import Prompt
from localchat.tui.system_screen import SystemScreen
from localchat.tui.title import Title
from localchat.tui.transcript import Transcript


class Counting(ScriptedEngine):
    """Answers with the number of the answer."""

    def __init__(self) -> None:
        super().__init__([])
        self._numbers = itertools.count(1)

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        self.script = [Piece(f"answer {next(self._numbers)}"), Done("stop", USAGE)]
        return super().reply(tokens, sampling, stops)


def counting() -> tuple[Counting, LocalchatApp]:
    engine = Counting()
    return engine, FakeServices([engine]).app(install_fake())


async def answered(pilot: Pilot[None], question: str) -> None:
    screen(pilot).query_one(Prompt).focus()
    await say(pilot, question)
    await quiet(pilot, ("user", question))


async def quiet(pilot: Pilot[None], *shown: tuple[str, str]) -> None:
    """Nothing is written, and these are shown."""
    await wait_until(lambda: not screen(pilot).is_writing and set(shown) <= set(bubbles(pilot)))
    await wait_until(lambda: state(pilot) == "ready" and bubbles(pilot)[-1][0] == "assistant")


async def mark(pilot: Pilot[None], text: str) -> None:
    """Go to the transcript, and up until this message is marked."""
    transcript = screen(pilot).query_one(Transcript)
    transcript.focus()
    await pilot.pause()
    await pilot.press("end")
    for _ in range(1000):  # a message that is longer than the screen is scrolled through first
        await pilot.pause()
        if transcript.marked is not None and transcript.marked.text == text:
            return
        await pilot.press("up")
    raise AssertionError(f"{text} is not there")


async def test_a_reply_can_be_written_again_and_both_are_kept() -> None:
    engine, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "Hi")
        await pilot.press("ctrl+r")
        await quiet(pilot, ("assistant", "answer 2"))
        assert bubbles(pilot) == [("user", "Hi"), ("assistant", "answer 2")]
        assert engine.prompts[0] == engine.prompts[1]
        await mark(pilot, "answer 2")
        await pilot.press("left")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ("assistant", "answer 1")])
        await wait_until(lambda: marked(pilot) == "answer 1")
        await pilot.press("right_square_bracket")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ("assistant", "answer 2")])


def marked(pilot: Pilot[None]) -> str:
    saved = screen(pilot).query_one(Transcript).marked
    return saved.text if saved is not None else ""


async def test_an_earlier_reply_that_is_written_again_begins_a_branch() -> None:
    engine, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await answered(pilot, "two")
        await mark(pilot, "answer 1")
        await pilot.press("r")
        await quiet(pilot, ("assistant", "answer 3"))
        assert bubbles(pilot) == [("user", "one"), ("assistant", "answer 3")]
        assert "two" not in engine.prompt_text()
        await mark(pilot, "answer 3")
        await pilot.press("left")
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "answer 2"))
        assert [text for _, text in bubbles(pilot)] == ["one", "answer 1", "two", "answer 2"]


async def test_a_question_that_is_edited_is_asked_beside_the_old_one() -> None:
    engine, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await answered(pilot, "two")
        await mark(pilot, "one")
        await pilot.press("e")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "one")
        assert "editing" in str(screen(pilot).query_one("Composer .hint").render())
        assert isinstance(app.focused, Prompt)
        await pilot.press(*" more", "enter")
        await quiet(pilot, ("user", "one more"), ("assistant", "answer 3"))
        assert bubbles(pilot) == [("user", "one more"), ("assistant", "answer 3")]
        assert not screen(pilot).query_one("Composer .hint").display
        assert screen(pilot).query_one(Prompt).text == ""
        assert "two" not in engine.prompt_text()
        await mark(pilot, "one more")
        await pilot.press("left")
        await wait_until(lambda: [text for _, text in bubbles(pilot)] == ["one", "answer 1", "two", "answer 2"])


async def test_escape_leaves_an_edited_message_as_it_was_and_brings_the_draft_back() -> None:
    _, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await pilot.press(*"draft")
        await mark(pilot, "one")
        await pilot.press("e")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "one")
        await pilot.press("x", "escape")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "draft")
        assert screen(pilot).query_one(Composer).edited is None
        assert [text for _, text in bubbles(pilot)] == ["one", "answer 1"]


async def test_an_edited_question_that_is_stopped_before_a_word_comes_back_to_be_edited() -> None:
    fake = FakeServices([engine := Counting()])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        engine.reply = endless_reading  # type: ignore[method-assign]
        await mark(pilot, "one")
        await pilot.press("e")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "one")
        await pilot.press("x", "enter")
        await wait_until(lambda: state(pilot).startswith("reading"))
        await pilot.press("escape")
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "onex")
        assert [text for _, text in bubbles(pilot)] == ["one", "answer 1"]
        assert screen(pilot).query_one(Composer).edited is not None


def endless_reading(tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
    return ScriptedEngine([Reading(index, 1000) for index in range(1000)], seconds_each=0.01).reply(
        tokens, sampling, stops
    )


async def test_a_reply_that_is_written_again_and_stopped_before_a_word_leaves_the_old_one() -> None:
    fake = FakeServices([engine := Counting()])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        engine.reply = endless_reading  # type: ignore[method-assign]
        await pilot.press("ctrl+r")
        await wait_until(lambda: state(pilot).startswith("reading"))
        assert bubbles(pilot) == [("user", "one")]
        await pilot.press("escape")
        await wait_until(lambda: bubbles(pilot) == [("user", "one"), ("assistant", "answer 1")])
        assert screen(pilot).query_one(Prompt).text == ""


async def test_a_deleted_message_takes_what_follows_with_it_and_undo_brings_all_back() -> None:
    engine, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await answered(pilot, "two")
        await mark(pilot, "two")
        await pilot.press("d")
        await wait_until(lambda: [text for _, text in bubbles(pilot)] == ["one", "answer 1"])
        await wait_until(lambda: marked(pilot) == "answer 1")
        await pilot.press("u")
        await wait_until(lambda: [text for _, text in bubbles(pilot)] == ["one", "answer 1", "two", "answer 2"])
        await mark(pilot, "two")
        await pilot.press("d")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await answered(pilot, "three")
        assert "two" not in engine.prompt_text()


async def test_all_of_a_conversation_can_be_deleted_and_come_back() -> None:
    _, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await mark(pilot, "one")
        await pilot.press("d")
        await wait_until(lambda: bubbles(pilot) == [])
        await pilot.press("u")
        await wait_until(lambda: [text for _, text in bubbles(pilot)] == ["one", "answer 1"])


async def test_a_pinned_message_reaches_the_model_however_long_the_conversation_is() -> None:
    engine = Counting()
    async with FakeServices([engine]).app(install_fake()).run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await answered(pilot, "pinned " + "a" * 60)
        await mark(pilot, "pinned " + "a" * 60)
        await pilot.press("p")
        await wait_until(lambda: screen(pilot).query_one(Transcript).marked.pinned)  # type: ignore[union-attr]
        for letter in "bcdefg":
            await answered(pilot, letter * 70)
        assert "pinned" in engine.prompt_text()
        assert "b" * 70 not in engine.prompt_text()
        await mark(pilot, "pinned " + "a" * 60)
        await pilot.press("p")
        await wait_until(lambda: not screen(pilot).query_one(Transcript).marked.pinned)  # type: ignore[union-attr]


async def test_what_left_the_context_is_said_of_the_messages_themselves() -> None:
    _, app = counting()
    async with app.run_test(size=(120, 60)) as pilot:
        await ready(pilot)
        for letter in "abcdef":
            await answered(pilot, letter * 70)
        dropped = [bubble.source[0] for bubble in screen(pilot).query(".-dropped").results()]  # type: ignore[attr-defined]
        assert dropped[:2] == ["a", "a"]
        assert "f" not in dropped


async def test_keys_of_a_message_do_nothing_while_a_reply_is_written() -> None:
    engine = endless()
    async with FakeServices([engine]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await mark(pilot, "tale")
        await pilot.press("e", "d", "r")
        await pilot.pause()
        assert screen(pilot).query_one(Prompt).text == ""
        assert len(bubbles(pilot)) == 2
        assert len(engine.prompts) == 1


async def test_messages_and_their_code_are_copied_by_keys() -> None:
    fake = FakeServices([ScriptedEngine([Piece("Look:\n```py\nx = 1\n```"), Done("stop", USAGE)])])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "Hi")
        await pilot.press("ctrl+y")
        await wait_until(lambda: pilot.app.clipboard == "Look:\n```py\nx = 1\n```")
        await mark(pilot, "Hi")
        await pilot.press("y")
        await wait_until(lambda: pilot.app.clipboard == "Hi")
        await mark(pilot, "Look:\n```py\nx = 1\n```")
        await pilot.press("c")
        await wait_until(lambda: pilot.app.clipboard.strip() == "x = 1")
        await pilot.press("v")
        await wait_until(lambda: isinstance(pilot.app.screen, CopyScreen))


async def test_a_conversation_that_was_deleted_in_the_history_is_left() -> None:
    fake = FakeServices([Counting()])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(pilot.app.screen, HistoryScreen))
        await pilot.press("d", "escape")
        await wait_until(lambda: bubbles(pilot) == [])
        assert screen(pilot).conversing.desk.number is None
        await answered(pilot, "two")


async def test_a_new_title_shows_when_the_history_is_closed() -> None:
    fake = FakeServices([Counting()])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(pilot.app.screen, HistoryScreen))
        fake.services.history.rename(1, "Better")
        await pilot.press("escape")
        await wait_until(lambda: screen(pilot).query_one(Title).text == "Better")


async def test_the_other_screens_open_and_close_by_their_keys() -> None:
    fake = FakeServices([Counting()])
    opened = {"ctrl+l": LibraryScreen, "f3": HardwareScreen, "f4": SystemScreen, "f5": PresetScreen}
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        for key, kind in opened.items():
            await pilot.press(key)
            await wait_until(lambda kind=kind: isinstance(pilot.app.screen, kind))
            await pilot.press("escape")
            await wait_until(lambda: pilot.app.screen is screen(pilot))


async def test_a_question_that_a_crash_left_is_answered_by_the_key_that_regenerates() -> None:
    fake = FakeServices([Counting()])
    fake.services.history.ask(fake.services.history.begin("old", "parrot"), "old")
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await pilot.press("ctrl+r")
        await quiet(pilot, ("user", "old"), ("assistant", "answer 1"))


async def test_the_preset_of_a_conversation_changes_the_sampling() -> None:
    fake = FakeServices([engine := Counting()], settings=Settings(titles=False))
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        screen(pilot)._set_preset("greedy")
        await answered(pilot, "one")
        assert engine.sampling[-1].temperature == 0
        screen(pilot)._set_preset("balanced")
        await answered(pilot, "two")
        assert engine.sampling[-1].temperature == Sampling().temperature


async def test_a_preset_that_is_gone_is_said_and_the_question_stays_in_the_input() -> None:
    fake = FakeServices([engine := Counting()])
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        screen(pilot)._set_preset("gone")
        await say(pilot, "one")
        await wait_until(lambda: screen(pilot).query("Note"))
        assert screen(pilot).query_one(Prompt).text == "one"
        assert engine.prompts == []
        assert not screen(pilot).is_writing


async def test_the_system_prompt_is_edited_before_and_after_the_first_question() -> None:
    engine, app = counting()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("f4")
        await pilot.press(*"Rhyme.", "ctrl+s")
        await answered(pilot, "one")
        assert engine.prompt_text().startswith("<|im_start|>system\nRhyme.<|im_end|>")
        assert saved_texts()[0] == ("system", "Rhyme.", "said")
        await pilot.press("f4", *" Now", "ctrl+s")
        await wait_until(lambda: bubbles(pilot)[0] == ("system", "Rhyme. Now"))
        await pilot.press("f4", *" not", "escape")
        await answered(pilot, "two")
        assert engine.prompt_text().startswith("<|im_start|>system\nRhyme. Now<|im_end|>")


# What others do meanwhile


async def test_a_reply_that_is_pinned_while_it_is_written_goes_on() -> None:
    async with FakeServices([endless()]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        transcript = screen(pilot).query_one(Transcript)
        transcript.focus()
        await pilot.press("end")
        await wait_until(lambda: transcript.marked is not None and transcript.marked.role == "assistant")
        await wait_until(lambda: len(bubbles(pilot)[1][1]) > 200)
        before = bubbles(pilot)[1][1]
        await pilot.press("p")
        await wait_until(lambda: transcript.bubbles[1].saved is not None and transcript.bubbles[1].saved.pinned)
        assert bubbles(pilot)[1][1].startswith(before)
        await wait_until(lambda: len(bubbles(pilot)[1][1]) > len(before) + 100)
        assert not transcript.bubbles[1].query(".caption")
        await pilot.resize_terminal(200, 50)
        await wait_until(lambda: transcript.size.width > 150)
        await wait_until(lambda: len(bubbles(pilot)[1][1]) > len(before) + 300)


async def test_a_message_that_another_program_took_away_is_told_and_nothing_else_is_lost() -> None:
    async with FakeServices([Counting()]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await answered(pilot, "two")
        await mark(pilot, "answer 2")
        other = History(history_file())
        other.remove_message(other.messages(other.conversations()[0].id)[-2].id)
        for key in ("p", "d", "left"):
            await pilot.press(key)
            await pilot.pause()
        await wait_until(lambda: screen(pilot).query(Note))
        assert [message.text for message in other.messages(other.conversations()[0].id)] == ["one", "answer 1"]
        other.close()
