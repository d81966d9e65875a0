"""The input: earlier inputs, drafts, attachments, and what is pasted."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import FakeServices, install_fake, saved_texts, wait_until
from fakes import ScriptedEngine
from test_tui_chat import HELLO, bubbles, endless, ready, say, screen
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from localchat.history.store import History
from localchat.paths import history_file
from localchat.tui.attach_screen import AttachScreen
from localchat.tui.chip import Chip
from localchat.tui.composer import Composer
from localchat.tui.prompt import Prompt
from localchat.tui.transcript import Transcript


def fake() -> FakeServices:
    return FakeServices([ScriptedEngine(HELLO, context=1 << 20)])


def text(pilot: Pilot[None]) -> str:
    return screen(pilot).query_one(Prompt).text


def chips(pilot: Pilot[None]) -> list[str]:
    return [str(chip.render()) for chip in screen(pilot).query(Chip)]


def hint(pilot: Pilot[None]) -> str:
    return str(screen(pilot).query_one("Composer .hint").render())


def unsent(conversation: int | None) -> str:
    """The draft on the disk, read as another program would."""
    history = History(history_file())
    try:
        return history.unsent(conversation)
    finally:
        history.close()


def paste(pilot: Pilot[None], pasted: str) -> None:
    pilot.app.post_message(events.Paste(pasted))


async def answered(pilot: Pilot[None], question: str) -> None:
    await say(pilot, question)
    await wait_until(lambda: not screen(pilot).is_writing and bubbles(pilot)[-1][0] == "assistant")


async def test_up_and_down_walk_through_earlier_inputs_and_back_to_what_is_typed() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        for question in ("one", "two\nlines", "one more"):
            await answered(pilot, question)
        await pilot.press(*"new")
        for key, shown in (("up", "one more"), ("up", "two\nlines"), ("up", "one"), ("up", "one")):
            await pilot.press(key)
            await wait_until(lambda shown=shown: text(pilot) == shown)
        for key, shown in (("down", "two\nlines"), ("down", "one more"), ("down", "new")):
            await pilot.press(key)
            await wait_until(lambda shown=shown: text(pilot) == shown)


async def test_up_in_the_middle_of_a_text_moves_the_cursor() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await pilot.press("a", "ctrl+j", "b", "up")
        await pilot.pause()
        assert text(pilot) == "a\nb"
        await pilot.press("up")
        await wait_until(lambda: text(pilot) == "one")


async def test_a_draft_is_kept_for_each_conversation_and_over_a_restart() -> None:
    services = fake()
    model = install_fake()
    async with services.app(model).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        await pilot.press(*"not yet")
        number = screen(pilot).conversing.desk.number
        await wait_until(lambda: unsent(number) == "not yet")
        await pilot.press("ctrl+n")
        await wait_until(lambda: text(pilot) == "")
        await pilot.press(*"new one")
        screen(pilot)._leave_for(number)
        await wait_until(lambda: text(pilot) == "not yet")
        assert unsent(None) == "new one"
    async with fake().app(model).run_test() as pilot:
        await ready(pilot)
        assert text(pilot) == "not yet"
        await pilot.press("ctrl+n")
        await wait_until(lambda: text(pilot) == "new one")


async def test_the_last_letters_are_kept_when_the_app_ends() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await pilot.press(*"quick", "ctrl+q")
    assert unsent(None) == "quick"


async def test_what_was_sent_is_no_draft_any_more() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await pilot.press(*"Hi")
        await wait_until(lambda: unsent(None) == "Hi")
        await pilot.press("enter")
        await wait_until(lambda: bubbles(pilot)[-1][0] == "assistant")
        assert unsent(None) == ""
        assert unsent(screen(pilot).conversing.desk.number) == ""


async def test_a_file_is_named_completed_attached_and_sent_with_the_question(tmp_path: Path) -> None:
    (tmp_path / "notes-long-name.py").write_text("print('hello')\n")
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await pilot.press(*"Why?", "ctrl+t")
        await wait_until(lambda: isinstance(pilot.app.screen, AttachScreen))
        pilot.app.screen.query_one(Input).value = f"{tmp_path}/no"
        await wait_until(lambda: pilot.app.screen.query_one(OptionList).option_count == 1)
        await pilot.press("tab")
        await wait_until(lambda: pilot.app.screen.query_one(Input).value.endswith("/notes-long-name.py"))
        await pilot.press("enter")
        await wait_until(lambda: len(chips(pilot)) == 1)
        assert chips(pilot)[0].startswith("[notes-long-name.py, 14 B, about 4 tokens]")
        assert text(pilot) == "Why?"
        await pilot.press("enter")
        await wait_until(lambda: bubbles(pilot)[-1][0] == "assistant")
        assert saved_texts()[0][1] == "File `notes-long-name.py`:\n```py\nprint('hello')\n```\n\nWhy?"
        assert screen(pilot).conversing.desk.title == "Why?"
        assert chips(pilot) == []


async def test_folders_are_entered_by_enter_and_the_list_by_arrows(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "sub" / name).write_text(name)
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await pilot.press("ctrl+t")
        await wait_until(lambda: isinstance(pilot.app.screen, AttachScreen))
        attach = pilot.app.screen
        attach.query_one(Input).value = f"{tmp_path}/s"
        await wait_until(lambda: attach.query_one(OptionList).option_count == 1)
        await pilot.press("tab")
        await wait_until(lambda: attach.query_one(OptionList).option_count == 2)
        await pilot.press("down", "down", "enter")
        await wait_until(lambda: chips(pilot) and "b.txt" in chips(pilot)[0])


async def test_backspace_and_a_click_remove_an_attachment() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        for count, letter in enumerate("abc", start=1):
            paste(pilot, letter * 3000)
            await wait_until(lambda count=count: len(chips(pilot)) == count)
        await pilot.press("backspace")
        await wait_until(lambda: len(chips(pilot)) == 2)
        assert [attachment.text[0] for attachment in screen(pilot).query_one(Composer).attachments] == ["a", "b"]
        await pilot.click(screen(pilot).query(Chip).first())
        await wait_until(lambda: len(chips(pilot)) == 1)
        assert screen(pilot).query_one(Composer).attachments[0].text[0] == "b"


@pytest.mark.parametrize("pasted", ["x" * 2001, "line\n" * 40])
async def test_a_large_paste_becomes_a_chip_and_is_sent_in_a_fence(pasted: str) -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        paste(pilot, pasted)
        await wait_until(lambda: len(chips(pilot)) == 1)
        assert text(pilot) == ""
        await pilot.press("enter")
        await wait_until(lambda: bubbles(pilot)[-1][0] == "assistant")
        assert saved_texts()[0][1] == f"Pasted text:\n```\n{pasted.removesuffix(chr(10))}\n```"


async def test_a_pasted_path_offers_to_attach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my notes.txt"
    path.write_text("secret plan")
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        paste(pilot, f"'{path}'")
        await wait_until(lambda: "my notes.txt" in hint(pilot))
        assert text(pilot) == f"'{path}'"
        await pilot.press("ctrl+t")
        await wait_until(lambda: len(chips(pilot)) == 1)
        assert text(pilot) == ""
        assert hint(pilot) == ""


async def test_a_file_that_is_too_large_or_no_text_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\xff")
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        for name in ("large.txt", "picture.png"):
            paste(pilot, str(tmp_path / name))
            await wait_until(lambda name=name: name in hint(pilot))
            await pilot.press("ctrl+t")
            await wait_until(lambda name=name: any(name in note.message for note in pilot.app._notifications))
            screen(pilot).query_one(Prompt).put("")
            await wait_until(lambda: hint(pilot) == "")
        assert chips(pilot) == []


async def test_hostile_pastes_are_harmless_in_the_input() -> None:
    hostile = "\x1b]0;owned\x07 a\x9bb \u202eabc\U000e0041 \udcff [red]x[/]\r\nline"
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        paste(pilot, hostile)
        await wait_until(lambda: text(pilot) == "]0;owned ab abc  [red]x[/]\nline")


async def test_a_paste_reaches_the_input_from_the_transcript() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, "one")
        screen(pilot).query_one(Transcript).focus()
        await pilot.pause()
        paste(pilot, "from elsewhere")
        await wait_until(lambda: text(pilot) == "from elsewhere")
        assert isinstance(pilot.app.focused, Prompt)


async def test_an_edited_message_gets_its_attachments_back_as_chips() -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        paste(pilot, "y" * 3000)
        await wait_until(lambda: len(chips(pilot)) == 1)
        await pilot.press(*"why", "enter")
        await wait_until(lambda: bubbles(pilot)[-1][0] == "assistant")
        screen(pilot).query_one(Composer).edit(1, saved_texts()[0][1])
        await wait_until(lambda: len(chips(pilot)) == 1)
        assert text(pilot) == "why"


async def test_a_question_comes_back_before_what_was_written_meanwhile() -> None:
    async with FakeServices([endless()]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await pilot.press(*"later")
        screen(pilot).query_one(Composer).give_back("sooner", None)
        assert text(pilot) == "sooner\n\nlater"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_box_grows_with_its_text_to_a_third_of_the_screen(size: tuple[int, int]) -> None:
    async with fake().app(install_fake()).run_test(size=size) as pilot:
        await ready(pilot)
        prompt = screen(pilot).query_one(Prompt)
        assert prompt.size.height == 1
        prompt.put("a\nb\nc")
        await wait_until(lambda: prompt.size.height == 3)
        prompt.put("line\n" * 100)
        await wait_until(lambda: prompt.outer_size.height > size[1] // 4)
        assert prompt.outer_size.height <= size[1] * 0.36


# Keys that come faster than the screen, and strange pastes


async def test_two_enters_in_one_read_ask_once_and_what_is_typed_behind_them_stays() -> None:
    engine = endless()
    async with FakeServices([engine]).app(install_fake()).run_test() as pilot:
        await ready(pilot)
        for key in ("h", "i", "enter", "enter", "b"):
            pilot.app.simulate_key(key)  # none waits for what the one before it did
        await wait_until(lambda: len(bubbles(pilot)) == 2)
        await wait_until(lambda: "b" in text(pilot))
        assert [said for said in saved_texts() if said[0] == "user"] == [("user", "hi", "said")]


@pytest.mark.parametrize("pasted", ["file://[x", "file://", "file://host/a?b#c", "file:///%ff%00"])
async def test_a_strange_address_is_pasted_as_text(pasted: str) -> None:
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        paste(pilot, pasted)
        await wait_until(lambda: text(pilot) == pasted)


async def test_a_long_question_is_edited_as_text() -> None:
    question = "\n".join(f"line {number}" for number in range(60))
    async with fake().app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await answered(pilot, question)
        transcript = screen(pilot).query_one(Transcript)
        transcript.focus()
        await pilot.press("home")
        await wait_until(lambda: transcript.marked is not None and transcript.marked.role == "user")
        await pilot.press("e")
        await wait_until(lambda: text(pilot) == question)
        assert chips(pilot) == []
