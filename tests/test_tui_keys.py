"""The keys: shown, searched in the palette, given to other actions, and never cut in the footer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from desk import FakeServices, install_fake, wait_until
from fakes import ScriptedEngine
from textual.app import App
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from localchat.paths import config_file
from localchat.settings import Settings, load
from localchat.tui.app import make_app
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.history_screen import HistoryScreen
from localchat.tui.key_line import Hint, KeyLine, fitting
from localchat.tui.keymap import actions, in_force, key_fault, keymap, plain, spelled
from localchat.tui.keys_screen import KeysScreen, groups_of
from localchat.tui.press_screen import PressScreen
from localchat.tui.prompt import Prompt
from localchat.tui.rebind_screen import RebindScreen
from localchat.tui.settings_screen import SettingsScreen


@asynccontextmanager
async def opened(
    *keys: str, size: tuple[int, int] = (80, 24), settings: Settings | None = None
) -> AsyncIterator[Pilot[None]]:
    """The app, after these keys."""
    services = FakeServices([ScriptedEngine([])], settings=settings or load()).services
    async with make_app(services, install_fake()).run_test(size=size) as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.query(Prompt))
        await wait_until(lambda: pilot.app.screen.query_one(KeyLine).hints)
        await pilot.press(*keys)
        yield pilot


def shown(app: App[None]) -> str:
    """All text of the screen on top that stands in static lines."""
    return "\n".join(str(line.render()) for line in app.screen.query(Static))


# The page of keys


async def test_f1_shows_the_keys_of_the_screen_and_escape_closes_the_page() -> None:
    async with opened("f1") as pilot:
        await wait_until(lambda: "Begin a new conversation" in shown(pilot.app))
        assert "Ctrl+N" in shown(pilot.app)
        assert "Quit localchat" in shown(pilot.app)
        await pilot.press("escape")
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_a_question_mark_is_typed_where_one_writes_and_shows_the_keys_where_one_does_not() -> None:
    async with opened("?") as pilot:
        assert pilot.app.screen.query_one(Prompt).text == "?"
        await pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(pilot.app.screen, HistoryScreen))
        pilot.app.set_focus(None)
        await pilot.press("?")
        await wait_until(lambda: isinstance(pilot.app.screen, KeysScreen))


async def test_the_keys_of_a_screen_over_the_chat_are_its_own() -> None:
    async with opened("f2", "f1") as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, KeysScreen))
        assert "Back to the chat" in shown(pilot.app)
        assert "Begin a new conversation" not in shown(pilot.app)
        await pilot.press("f1", "escape")
        await wait_until(lambda: isinstance(pilot.app.screen, SettingsScreen))


async def test_the_page_is_made_from_the_bindings_with_the_keys_in_force() -> None:
    async with opened(settings=Settings(keys={"new": "ctrl+g"})) as pilot:
        rows = {what: keys for group in groups_of(pilot.app.screen) for keys, what in group.rows}
        assert rows["Begin a new conversation"] == "Ctrl+G"
        assert rows["Show the keys of this screen"] == "F1, ?"
        described = [binding for binding in ChatScreen.BINDINGS if isinstance(binding, Binding) and binding.description]
        assert len(described) > 5
        possible = [one for one in described if pilot.app.screen.check_action(one.action, ())]
        assert all((one.tooltip or one.description) in rows for one in possible)


# The command palette


def offered(app: App[None]) -> list[str]:
    return [str(option.prompt) for option in app.screen.query_one(OptionList).options]


async def test_the_palette_lists_what_can_be_done_and_does_it() -> None:
    async with opened("ctrl+p") as pilot:
        await wait_until(lambda: any("Begin a new conversation" in line for line in offered(pilot.app)))
        lines = "\n".join(offered(pilot.app))
        assert "Change the settings" in lines
        assert "Quit localchat" in lines
        assert "Maximize" not in lines
        assert "Screenshot" not in lines
        await pilot.press(*"settings")
        await wait_until(lambda: "Change the settings" in (offered(pilot.app) or [""])[0])
        await pilot.press("enter")
        await wait_until(lambda: isinstance(pilot.app.screen, SettingsScreen))


async def test_a_theme_is_found_in_the_palette_and_kept() -> None:
    async with opened("ctrl+p", *"nord") as pilot:
        await wait_until(lambda: (offered(pilot.app) or [""])[0].startswith("Theme: nord"))
        await pilot.press("enter")
        await wait_until(lambda: pilot.app.theme == "nord")
        assert load().theme == "nord"


async def test_the_palette_has_only_what_makes_sense_now() -> None:
    async with opened("ctrl+p") as pilot:
        await wait_until(lambda: offered(pilot.app))
        assert not any("Stop the reply" in line for line in offered(pilot.app))
        await pilot.press("f1", "ctrl+p")
        assert isinstance(pilot.app.screen, CommandPalette)


async def test_control_q_quits_from_everywhere() -> None:
    for keys in ((), ("f2",), ("f1",), ("ctrl+o",), ("ctrl+p",)):
        async with opened(*keys) as pilot:
            await pilot.press("ctrl+q")
            await wait_until(lambda: pilot.app._exit)


# Other keys


async def test_an_action_answers_to_the_key_that_the_user_gave_it_and_not_to_the_usual_one() -> None:
    async with opened("ctrl+o", settings=Settings(keys={"history": "f9"})) as pilot:
        assert isinstance(pilot.app.screen, ChatScreen)
        await pilot.press("f9")
        await wait_until(lambda: isinstance(pilot.app.screen, HistoryScreen))


async def test_a_key_is_changed_by_pressing_it_and_given_back_with_delete() -> None:
    async with opened("f2", size=(120, 40)) as pilot:
        screen = pilot.app.screen
        screen.query_one(".rebind").focus()
        await pilot.press("enter")
        await wait_until(lambda: isinstance(pilot.app.screen, RebindScreen))
        choices = pilot.app.screen.query_one(OptionList)
        choices.highlighted = [option.id for option in choices.options].index("history")
        await pilot.press("enter")
        await wait_until(lambda: isinstance(pilot.app.screen, PressScreen))
        await pilot.press("ctrl+q")
        await wait_until(lambda: "another action" in shown(pilot.app))
        await pilot.press("enter", "f9")
        await wait_until(lambda: load().keys == {"history": "f9"})
        assert "usually Ctrl+O" in "\n".join(offered(pilot.app))
        await pilot.press("delete")
        await wait_until(lambda: not load().keys)


async def test_escape_leaves_a_key_as_it_is() -> None:
    async with opened() as pilot:
        heard: list[str | None] = []
        await pilot.app.push_screen(PressScreen("Quit"), heard.append)
        await pilot.press("escape")
        await wait_until(lambda: heard == [None])


async def test_keys_that_cannot_be_are_told_and_the_usual_ones_stay() -> None:
    async with opened("ctrl+o", settings=Settings(keys={"fly": "f9", "history": "ctrl+i"})) as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, HistoryScreen))
        words = "\n".join(note.message for note in pilot.app._notifications)
        assert "there is no action 'fly'" in words
        assert "terminals send Ctrl+I as Tab" in words


@pytest.mark.parametrize(
    ("action", "key", "words"),
    [
        ("new", "ctrl+g", ""), ("new", "f12", ""), ("new", "alt+x", ""), ("new", "ctrl+n", ""), ("delete", "x", ""),
        ("delete", "D", ""), ("again", "f8", ""), ("again", "ctrl+r", ""), ("quit", "f10", ""),
        ("new", "x", "written into the input"), ("new", "?", "written into the input"), ("quit", "A", "written"),
        ("new", "ctrl+o", "another action"), ("new", "f1", "another action"), ("quit", "ctrl+n", "another action"),
        ("new", "ctrl+a", "edits text"), ("new", "ctrl+i", "as Tab"), ("new", "ctrl+m", "as Enter"),
        ("new", "enter", "needed"), ("new", "escape", "needed"), ("delete", "tab", "needed"),
        ("delete", "shift+x", "capital"), ("new", "hyper+super", "no key"), ("new", "", "no key"),
        ("new", "ctrl+nonsense", "no key"), ("new", "nonsense", "no key"), ("new", "ctrl+", "no key"),
        ("new", "\x1b[31m", "no key"), ("new", "[red]x", "no key"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_is_refused_in_words(action: str, key: str, words: str) -> None:
    known = actions()
    fault = key_fault(plain(key), known[action], in_force(known, {}))
    assert words in fault
    assert bool(fault) == bool(words)
    assert fault.isprintable()


def test_two_actions_of_one_place_cannot_have_one_key() -> None:
    good, faults = keymap({"new": "f8", "history": "f8"})
    assert good == {}
    assert len(faults) == 2
    assert keymap({"new": "ctrl+o", "history": "ctrl+n"}) == ({"new": "ctrl+o", "history": "ctrl+n"}, [])


def test_what_shares_a_key_keeps_it_when_the_other_gets_another() -> None:
    good, faults = keymap({"again": "f8"})
    assert faults == []
    assert good == {"again": "f8", "reload": "ctrl+r"}


def test_every_id_is_one_actions_alone_and_every_action_says_what_it_does() -> None:
    known = actions()
    assert {"quit", "keys", "settings", "palette", "new", "history", "preset"} <= set(known)
    assert all(action.what and action.keys for action in known.values())


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ctrl+g", "Ctrl+G"), ("f2", "F2"), ("question_mark", "?"), ("?", "?"), ("escape", "Esc"), ("up", "↑"),
        ("ctrl+shift+left", "Ctrl+Shift+←"), ("space", "Space"), ("e", "e"), ("left_square_bracket", "["),
    ],
)  # fmt: skip
def test_a_key_is_spelled_as_people_read_it(key: str, words: str) -> None:
    assert spelled(key) == words


async def test_a_broken_file_does_not_lose_the_keys_in_force() -> None:
    async with opened("f2", size=(120, 40)) as pilot:
        pilot.app.screen.query_one(".rebind").focus()
        await pilot.press("enter")
        await wait_until(lambda: isinstance(pilot.app.screen, RebindScreen))
        config_file().write_text("context = ")
        await pilot.press("enter", "f9")
        await wait_until(lambda: "not valid TOML" in shown(pilot.app))
        assert config_file().read_text() == "context = "


# The footer


def hint(cells: int, *, is_last: bool = False) -> Hint:
    return Hint("x", "x", "d" * (cells - 4), "", is_last)


@pytest.mark.parametrize(
    ("widths", "room", "count"), [([], 10, 0), ([5, 5], 9, 2), ([5, 5], 8, 1), ([11], 9, 0), ([4, 9, 4], 11, 1)]
)
def test_only_whole_keys_have_room(widths: list[int], room: int, count: int) -> None:
    hints = [hint(cells) for cells in widths]
    last = hint(6, is_last=True)
    assert fitting(hints, room) == tuple(hints[:count])
    assert fitting([last, *hints], room + 6) == (*hints[:count], last)


def shown_keys(pilot: Pilot[None]) -> list[str]:
    return [hint.description for hint in pilot.app.screen.query_one(KeyLine).hints]


@pytest.mark.parametrize("width", [30, 50, 80, 120, 200])
@pytest.mark.parametrize("keys", [(), ("f2",), ("ctrl+o",)])
async def test_no_key_of_the_footer_is_cut(width: int, keys: tuple[str, ...]) -> None:
    async with opened(*keys, size=(width, 24)) as pilot:
        await wait_until(lambda: "Keys" in shown_keys(pilot))
        await pilot.pause()
        line = pilot.app.screen.query_one(KeyLine)
        assert sum(hint.cells for hint in line.hints) - 1 <= line.content_size.width
        assert str(line.render()).endswith(" Keys ")
        if width >= 120 and not keys:
            assert {"New", "History", "Models", "Commands"} <= set(shown_keys(pilot))


async def test_a_wider_window_shows_more_keys() -> None:
    async with opened(size=(50, 24)) as pilot:
        before = len(shown_keys(pilot))
        await pilot.resize_terminal(120, 24)
        await wait_until(lambda: len(shown_keys(pilot)) > before)


async def test_a_click_presses_a_key_and_the_mouse_over_it_says_what_it_does() -> None:
    async with opened(size=(120, 24)) as pilot:
        line = pilot.app.screen.query_one(KeyLine)
        place = str(line.render()).index("History")
        await pilot.hover(KeyLine, offset=(place + 1, 0))
        await wait_until(lambda: line.tooltip == "Go back to an earlier conversation")
        await pilot.click(KeyLine, offset=(place + 1, 0))
        await wait_until(lambda: isinstance(pilot.app.screen, HistoryScreen))
