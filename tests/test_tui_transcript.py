"""The transcript: what of a long conversation is there, where the reader is, and which message is marked."""

from __future__ import annotations

from desk import wait_until
from hosted import Hosted, conversation, saved, screen_lines, screen_text, transcript
from textual.pilot import Pilot
from textual.widgets import Button

from localchat.errors import LocalchatError
from localchat.tui.bubble import Bubble
from localchat.tui.head import MARK
from localchat.tui.note import Note
from localchat.tui.window import MOUNTED

LONG = "\n\n".join(f"paragraph {number}" for number in range(60))


def numbers(pilot: Pilot[None]) -> list[int]:
    return [bubble.saved.id for bubble in transcript(pilot).bubbles if bubble.saved is not None]


def marked_heads(pilot: Pilot[None]) -> list[str]:
    return [line for line in screen_lines(pilot) if MARK.strip() in line]


async def opened(pilot: Pilot[None], messages: int) -> None:
    await transcript(pilot).show(conversation(messages))
    await wait_until(lambda: f"message {messages}" in screen_text(pilot))
    await pilot.pause()


async def test_a_long_conversation_opens_at_its_end_with_few_widgets() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 1000)
        assert numbers(pilot)[-1] == 1000
        assert len(numbers(pilot)) <= MOUNTED
        assert transcript(pilot).follows


async def test_scrolling_up_brings_what_was_said_earlier_without_a_jump() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 200)
        seen: list[int] = []
        while 140 not in numbers(pilot):  # two times some come and others go
            before = screen_lines(pilot)
            place = transcript(pilot).scroll_y
            transcript(pilot).scroll_to(y=place - 5, animate=False)
            await pilot.pause()
            await wait_until(lambda: not transcript(pilot)._is_filling)
            await pilot.pause()
            assert screen_lines(pilot)[5:-2] == before[:-7]
            seen.append(len(numbers(pilot)))
        assert max(seen) <= MOUNTED + 20
        assert 200 not in numbers(pilot)


async def test_what_was_taken_away_comes_back_at_the_end() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 200)
        transcript(pilot).focus()
        await pilot.press("home")
        await wait_until(lambda: 1 in numbers(pilot))
        assert "earlier" not in screen_text(pilot)
        assert 200 not in numbers(pilot)
        while 200 not in numbers(pilot):
            transcript(pilot).scroll_end(animate=False)
            await pilot.pause()
            assert numbers(pilot) == list(range(numbers(pilot)[0], numbers(pilot)[-1] + 1))
        await wait_until(lambda: len(numbers(pilot)) <= MOUNTED + 20)


async def test_how_many_messages_are_above_is_said_and_a_click_brings_them() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 50)
        transcript(pilot).query_one(".earlier", Button).press()
        await wait_until(lambda: numbers(pilot)[0] == 11)
        transcript(pilot).scroll_to(y=0, animate=False)
        await wait_until(lambda: numbers(pilot)[0] == 1)
        await pilot.pause()
        assert not transcript(pilot).query_one(".earlier").display


async def test_the_end_is_followed_while_the_reader_is_there() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 30)
        reply = Bubble("assistant", "parrot")
        await transcript(pilot).add(reply)
        for number in range(40):
            await reply.write(f"line {number}\n\n")
        await wait_until(lambda: "line 39" in screen_text(pilot))
        assert "new text below" not in screen_text(pilot)


async def test_a_reader_who_scrolled_up_is_left_alone_and_told_of_new_text() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 30)
        transcript(pilot).scroll_relative(y=-9, animate=False)
        await pilot.pause()
        before = screen_lines(pilot)[:-1]
        reply = Bubble("assistant", "parrot")
        await transcript(pilot).add(reply)
        await reply.write("something new\n\n" * 30)
        await wait_until(lambda: "new text below" in screen_text(pilot))
        assert screen_lines(pilot)[:-1] == before
        await pilot.click(".later")
        await wait_until(
            lambda: "something new" in screen_lines(pilot)[-1] or "something new" in screen_lines(pilot)[-2]
        )
        assert "new text below" not in screen_text(pilot)


async def test_a_reader_who_scrolled_up_is_told_that_a_reply_grows() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 30)
        reply = Bubble("assistant", "parrot")
        await transcript(pilot).add(reply)
        await reply.write("It begins.\n\n" * 20)
        await wait_until(lambda: "It begins." in screen_text(pilot))
        transcript(pilot).scroll_relative(y=-9, animate=False)
        await wait_until(lambda: "to the end" in screen_text(pilot))
        await reply.write("It goes on.")
        await wait_until(lambda: "new text below" in screen_text(pilot))
        transcript(pilot).focus()
        await pilot.press("end")
        await wait_until(lambda: "It goes on." in screen_text(pilot))
        assert "new text below" not in screen_text(pilot)


async def test_a_reply_goes_on_where_it_was_scrolled_away() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 200)
        reply = Bubble("assistant", "parrot")
        await transcript(pilot).add(reply)
        await reply.write("It begins")
        transcript(pilot).focus()
        await pilot.press("home")
        await wait_until(lambda: numbers(pilot)[:1] == [1])
        assert not any(bubble.source == "It begins" for bubble in transcript(pilot).bubbles)
        await reply.write(" and ends")
        await pilot.press("end")
        await wait_until(lambda: transcript(pilot).bubbles[-1].source == "It begins and ends")
        await reply.finish("It begins and ends.", "stop", saved(201, role="assistant"))
        await wait_until(lambda: "It begins and ends." in screen_text(pilot))
        assert numbers(pilot)[-1] == 201


async def test_few_messages_stay_mounted_when_many_come() -> None:
    async with Hosted().run_test() as pilot:
        for number in range(1, 3 * MOUNTED):
            await transcript(pilot).add_saved(saved(number))
        await pilot.pause()
        assert len(numbers(pilot)) <= MOUNTED + 1
        assert numbers(pilot)[-1] == 3 * MOUNTED - 1


async def test_with_the_focus_one_message_is_marked_by_a_sign_and_keys_move_it() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 6)
        assert marked_heads(pilot) == []
        transcript(pilot).focus()
        await wait_until(lambda: len(marked_heads(pilot)) == 1)
        assert transcript(pilot).marked == saved(6)
        for key, number in (("up", 5), ("k", 4), ("down", 5), ("j", 6), ("j", 6), ("home", 1), ("end", 6)):
            await pilot.press(key)
            await wait_until(lambda number=number: transcript(pilot).marked == saved(number))
            await pilot.pause()
            assert len(marked_heads(pilot)) == 1
        pilot.app.set_focus(None)
        await wait_until(lambda: marked_heads(pilot) == [])


async def test_a_click_marks() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 4)
        await pilot.click(transcript(pilot).bubbles[1])
        await wait_until(lambda: transcript(pilot).marked == saved(2))
        assert len(marked_heads(pilot)) == 1


async def test_a_message_higher_than_the_screen_is_scrolled_through_before_the_next_is_marked() -> None:
    async with Hosted().run_test() as pilot:
        await transcript(pilot).show([saved(1), saved(2, LONG), saved(3)])
        transcript(pilot).focus()
        await pilot.press("home", "down")
        await pilot.pause()
        assert transcript(pilot).marked == saved(2, LONG)
        seen = 0
        while transcript(pilot).marked == saved(2, LONG):
            seen += 1
            await pilot.press("down")
            await pilot.pause()
        assert seen > 5
        assert transcript(pilot).marked == saved(3)


async def test_a_far_message_can_be_marked_by_its_number() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 300)
        transcript(pilot).mark_message(100)
        await wait_until(lambda: "message 100" in screen_text(pilot))
        assert transcript(pilot).marked == saved(100)


async def test_siblings_are_counted_and_switched_by_keys_and_by_clicks() -> None:
    app = Hosted()
    async with app.run_test() as pilot:
        await transcript(pilot).show([saved(1, place=2, places=3), saved(2)])
        await wait_until(lambda: "\u2039 2/3 \u203a" in screen_text(pilot))
        transcript(pilot).focus()
        await pilot.press("right")
        assert app.switched == []
        await pilot.press("up", "left", "right_square_bracket")
        await wait_until(lambda: app.switched == [(1, -1), (1, 1)])
        row, line = next((row, line) for row, line in enumerate(screen_lines(pilot)) if "2/3" in line)
        await pilot.click(offset=(line.index("\u203a"), row))
        await wait_until(lambda: app.switched[-1:] == [(1, 1)] and len(app.switched) == 3)


async def test_pinned_messages_and_those_the_model_does_not_see_say_so() -> None:
    async with Hosted().run_test() as pilot:
        await transcript(pilot).show([saved(1, pinned=True), saved(2)])
        transcript(pilot).set_dropped({2})
        await wait_until(lambda: "pinned" in screen_text(pilot))
        assert [line.count("not in the model's window") for line in screen_lines(pilot)].count(1) == 1
        transcript(pilot).set_dropped({1})
        transcript(pilot).learn(saved(1))
        await wait_until(lambda: "pinned" not in screen_text(pilot))
        dropped = [line for line in screen_lines(pilot) if "not in the model's window" in line]
        assert len(dropped) == 1
        assert "You" in dropped[0]


async def test_what_comes_after_a_message_can_be_taken_away() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 100)
        await transcript(pilot).remove_after(50)
        await wait_until(lambda: "message 50" in screen_text(pilot))
        assert numbers(pilot)[-1] == 50
        await transcript(pilot).remove_after(50, itself=True)
        assert numbers(pilot)[-1] == 49


async def test_an_error_is_shown_among_the_messages_and_again_after_it_was_away() -> None:
    async with Hosted().run_test() as pilot:
        await opened(pilot, 100)
        await transcript(pilot).add(Note(LocalchatError("it broke", "mend it")))
        await wait_until(lambda: "Mend it." in screen_text(pilot))
        transcript(pilot).focus()
        await pilot.press("home")
        await wait_until(lambda: not transcript(pilot).query(Note))
        await pilot.press("end")
        await wait_until(lambda: "Mend it." in screen_text(pilot))


async def test_a_change_of_width_keeps_the_end_in_view() -> None:
    async with Hosted().run_test(size=(120, 24)) as pilot:
        await transcript(pilot).show([saved(2, "many words " * 200), saved(3)])
        for width in (40, 200, 80):
            await pilot.resize_terminal(width, 24)
            await wait_until(lambda: "message 3" in screen_text(pilot))
            await pilot.pause()
            assert transcript(pilot).follows


async def test_on_a_wide_screen_the_text_stands_in_the_middle() -> None:
    async with Hosted().run_test(size=(200, 24)) as pilot:
        await transcript(pilot).show([saved(2, "word " * 100)])
        await wait_until(lambda: "word" in screen_text(pilot))
        longest = max((line for line in screen_lines(pilot) if "word" in line), key=len)
        assert len(longest.strip()) <= 120
        assert longest.startswith(" " * 35)


async def test_selected_text_is_copied_without_the_breaks_of_lines() -> None:
    async with Hosted().run_test(size=(40, 24)) as pilot:
        text = "one two three four five six seven eight nine ten eleven twelve"
        await transcript(pilot).show([saved(2, f"- {text}")])
        await wait_until(lambda: "twelve" in screen_text(pilot))
        rows = [row for row, line in enumerate(screen_lines(pilot)) if "one two" in line or "twelve" in line]
        await pilot.mouse_down(offset=(2, rows[0]))
        await pilot.hover(offset=(38, rows[-1]))
        await pilot.mouse_up(offset=(38, rows[-1]))
        await wait_until(lambda: pilot.app.screen.get_selected_text() == f"• {text}")
