"""Copying: to the clipboard, one code block of several, and as bare lines for the terminal's own selection."""

from __future__ import annotations

from desk import wait_until
from hosted import Hosted, conversation, saved, screen_lines, screen_text, transcript
from textual.pilot import Pilot

from localchat.tui.code_screen import CodeScreen
from localchat.tui.copy_screen import CopyScreen, conversation_text
from localchat.tui.copying import copy_code, copy_message

TWO_BLOCKS = "First\n```python\nx = 1\ny = 2\n```\nthen\n```sh\nls\n```"


def toasts(pilot: Pilot[None]) -> list[str]:
    return [notification.message for notification in pilot.app._notifications]


async def test_a_copied_message_keeps_its_lines_and_loses_what_a_terminal_would_act_on() -> None:
    async with Hosted().run_test() as pilot:
        copy_message(transcript(pilot), "a\n\tb\x1b[31m\x07c\u202e")
        assert pilot.app.clipboard == "a\n\tb␛[31mc"
        await wait_until(lambda: toasts(pilot) == ["Copied: 10 characters."])


async def test_the_only_code_block_is_copied_at_once() -> None:
    async with Hosted().run_test() as pilot:
        copy_code(transcript(pilot), "See:\n```python\nx = 1\n```\n")
        assert pilot.app.clipboard == "x = 1"
        await wait_until(lambda: toasts(pilot) == ["Copied the code block: 5 characters."])


async def test_of_several_code_blocks_one_is_chosen() -> None:
    async with Hosted().run_test() as pilot:
        copy_code(transcript(pilot), TWO_BLOCKS)
        await wait_until(lambda: isinstance(pilot.app.screen, CodeScreen))
        await wait_until(lambda: "x = 1" in screen_text(pilot))
        assert "2 lines" in screen_text(pilot)
        await pilot.press("down", "enter")
        await wait_until(lambda: pilot.app.clipboard == "ls")


async def test_escape_copies_no_code_block() -> None:
    async with Hosted().run_test() as pilot:
        copy_code(transcript(pilot), TWO_BLOCKS)
        await wait_until(lambda: isinstance(pilot.app.screen, CodeScreen))
        await pilot.press("escape")
        await wait_until(lambda: not isinstance(pilot.app.screen, CodeScreen))
        assert pilot.app.clipboard == ""


async def test_a_message_without_code_says_so() -> None:
    async with Hosted().run_test() as pilot:
        copy_code(transcript(pilot), "no code")
        await wait_until(lambda: toasts(pilot) == ["There is no code block in this message."])
        assert pilot.app.clipboard == ""


async def test_copy_mode_shows_bare_lines_from_the_edge_and_copies_all() -> None:
    async with Hosted().run_test() as pilot:
        await pilot.app.push_screen(CopyScreen("# Head\n    code\x1b\nend"))
        await wait_until(lambda: "end" in screen_text(pilot))
        assert screen_lines(pilot)[:3] == ["# Head", "    code␛", "end"]
        await pilot.press("y")
        assert pilot.app.clipboard == "# Head\n    code␛\nend"
        await pilot.press("escape")
        await wait_until(lambda: not isinstance(pilot.app.screen, CopyScreen))


async def test_copy_mode_scrolls_by_keys() -> None:
    async with Hosted().run_test() as pilot:
        await pilot.app.push_screen(CopyScreen("\n".join(f"line {number}" for number in range(100))))
        await wait_until(lambda: screen_lines(pilot)[0] == "line 0")
        await pilot.press("down", "j", "up", "j")
        await wait_until(lambda: screen_lines(pilot)[0] == "line 2")
        await pilot.press("end")
        await wait_until(lambda: "line 99" in screen_text(pilot))


def test_a_conversation_is_text_with_the_names_of_who_spoke() -> None:
    messages = [saved(0, "Be brief.", "system"), *conversation(2)]
    assert conversation_text(messages) == "System:\nBe brief.\n\nYou:\nmessage 1\n\nparrot:\nmessage 2"
