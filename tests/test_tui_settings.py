"""The settings screen and the presets' screens, driven by keys; what is kept is read from the file."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from desk import FakeServices, install_fake, wait_until
from fakes import ScriptedEngine
from textual.pilot import Pilot
from textual.widgets import Checkbox, Input, OptionList, Select, Static, TextArea

from localchat.paths import config_file
from localchat.settings import Settings, load
from localchat.tui.app import LocalchatApp, make_app
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.preferences import Preferences
from localchat.tui.preset_form import PresetForm
from localchat.tui.preset_screen import PresetScreen
from localchat.tui.setting_row import SettingRow, typed_value
from localchat.tui.settings_screen import SettingsScreen


@asynccontextmanager
async def opened(*keys: str, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    """The app with the settings in force, after these keys."""
    services = FakeServices([ScriptedEngine([])], settings=load()).services
    async with make_app(services, install_fake()).run_test(size=size) as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await pilot.press(*keys)
        yield pilot


def kept() -> dict[str, Any]:
    """What the file says."""
    return tomllib.loads(config_file().read_text("utf-8")) if config_file().exists() else {}


def row(pilot: Pilot[None], name: str) -> SettingRow:
    return pilot.app.screen.query_one(f"#setting-{name}", SettingRow)


def text(pilot: Pilot[None], name: str, part: str) -> str:
    return str(row(pilot, name).query_one(part, Static).render())


async def write(pilot: Pilot[None], name: str, value: str) -> None:
    """Write this into the box of a setting, in the place of what is in it."""
    row(pilot, name).query_one(Input).focus()
    await pilot.press("end", *["backspace"] * 12, *value)


async def test_f2_opens_the_settings_and_escape_closes_them() -> None:
    async with opened("f2") as pilot:
        assert isinstance(pilot.app.screen, SettingsScreen)
        await pilot.press("escape")
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen))
        assert kept() == {}


async def test_a_theme_is_worn_as_soon_as_it_is_chosen_and_kept() -> None:
    async with opened("f2") as pilot:
        assert pilot.app.theme == "localchat"
        await pilot.press("enter", "down", "enter")
        await wait_until(lambda: pilot.app.theme == "localchat-light")
        assert kept() == {"theme": "localchat-light"}
        assert text(pilot, "theme", ".origin") == "config.toml"
    async with opened() as pilot:
        assert pilot.app.theme == "localchat-light"


async def test_a_number_is_kept_with_enter_and_said_where() -> None:
    async with opened("f2") as pilot:
        await write(pilot, "context", "4096")
        assert kept() == {}
        await pilot.press("enter")
        await wait_until(lambda: kept() == {"context": 4096})
        assert text(pilot, "context", ".origin") == "config.toml, default 0"
        notes = [note.message for note in pilot.app._notifications]
        assert any("config.toml" in note and "next load" in note for note in notes)


async def test_a_number_is_kept_when_the_user_goes_on_or_leaves() -> None:
    async with opened("f2") as pilot:
        await write(pilot, "idle_minutes", "5")
        await pilot.press("tab")
        await wait_until(lambda: kept() == {"idle_minutes": 5})
        await write(pilot, "threads", "2")
        await pilot.press("escape")
        await wait_until(lambda: kept() == {"idle_minutes": 5, "threads": 2})


async def test_a_number_that_cannot_be_is_told_at_once_and_not_kept() -> None:
    async with opened("f2") as pilot:
        await write(pilot, "threads", "9999")
        await wait_until(lambda: "from 0 to 1,024" in text(pilot, "threads", ".about"))
        await pilot.press("enter", "tab", "escape")
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen))
        assert kept() == {}


async def test_an_emptied_number_is_the_default_again() -> None:
    config_file().parent.mkdir()
    config_file().write_text("# mine\nthreads = 3\n")
    async with opened("f2") as pilot:
        await write(pilot, "threads", "")
        await pilot.press("enter")
        await wait_until(lambda: config_file().read_text() == "# mine\n")
        assert text(pilot, "threads", ".origin") == "default"


async def test_the_system_message_of_new_conversations_is_kept() -> None:
    async with opened("f2") as pilot:
        row(pilot, "system").query_one(TextArea).focus()
        await pilot.press(*"Be", "enter", *"brief", "tab")
        await wait_until(lambda: kept() == {"system": "Be\nbrief"})


async def test_what_was_only_looked_at_is_not_written_anew() -> None:
    config_file().parent.mkdir()
    config_file().write_text('system = "a\\r\\nb\\u200b\\u001b[31m"\n')
    before = config_file().read_text()
    async with opened("f2", *["tab"] * 10, "escape"):
        assert config_file().read_text() == before


async def test_titles_are_turned_off_by_the_space_bar() -> None:
    async with opened("f2") as pilot:
        row(pilot, "titles").query_one(Checkbox).focus()
        await pilot.press("space")
        await wait_until(lambda: kept() == {"titles": False})
        assert str(row(pilot, "titles").query_one(Checkbox).label) == "off"


async def test_a_setting_is_changed_by_the_mouse() -> None:
    async with opened("f2") as pilot:
        await pilot.click(row(pilot, "titles").query_one(Checkbox), offset=(2, 0))
        await wait_until(lambda: kept() == {"titles": False})


async def test_what_the_environment_sets_is_shown_so_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_THEME", "nord")
    async with opened("f2") as pilot:
        assert row(pilot, "theme").query_one(Select).disabled
        assert text(pilot, "theme", ".origin") == "set by LOCALCHAT_THEME"
        assert pilot.app.theme == "nord"


async def test_a_file_that_broke_meanwhile_is_told_and_left_alone() -> None:
    async with opened() as pilot:
        config_file().write_text("context = ")
        await pilot.press("f2")
        await wait_until(lambda: any("not valid TOML" in note.message for note in pilot.app._notifications))
        assert isinstance(pilot.app.screen, ChatScreen)
        assert config_file().read_text() == "context = "


async def test_a_file_that_breaks_while_the_settings_are_open_leaves_the_control_as_it_was() -> None:
    async with opened("f2") as pilot:
        config_file().write_text("context = ")
        row(pilot, "titles").query_one(Checkbox).focus()
        await pilot.press("space")
        await wait_until(lambda: any("not valid TOML" in note.message for note in pilot.app._notifications))
        await wait_until(lambda: row(pilot, "titles").query_one(Checkbox).value)
        assert config_file().read_text() == "context = "


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [("threads", "4", 4), ("context", " 8,192 ", 8192), ("threads", "", None), ("system", " a\nb", " a\nb")],
)
def test_what_is_typed_is_understood(name: str, typed: str, value: object) -> None:
    assert typed_value(name, typed) == value


def test_preferences_tell_what_changed_and_only_then() -> None:
    preferences, heard = Preferences(Settings(threads=2)), list[list[str]]()
    preferences.hear(lambda changed: heard.append(list(changed)))
    preferences.change(threads=2)
    preferences.change(threads=3, theme="nord")
    preferences.change(theme=None)
    assert heard == [["threads", "theme"], ["theme"]]
    assert (preferences.current, kept()) == (Settings(threads=3), {"threads": 3})


# Presets


def names(pilot: Pilot[None]) -> list[str]:
    return [str(option.id) for option in pilot.app.screen.query_one(OptionList).options]


@asynccontextmanager
async def choosing(current: str = "") -> AsyncIterator[tuple[Pilot[None], list[str | None]]]:
    """The screen of presets, and what it returned."""
    chosen: list[str | None] = []
    async with opened() as pilot:
        app = pilot.app
        assert isinstance(app, LocalchatApp)
        await app.push_screen(PresetScreen(current, app.preferences), chosen.append)
        yield pilot, chosen


async def test_a_preset_is_chosen_by_its_name_or_not_at_all() -> None:
    async with choosing() as (pilot, chosen):
        await pilot.press("down", "enter")
        await wait_until(lambda: chosen == ["precise"])
    async with choosing("greedy") as (pilot, chosen):
        assert pilot.app.screen.query_one(OptionList).highlighted == 3
        await pilot.press("escape")
        await wait_until(lambda: chosen == [None])


async def test_a_preset_is_made_from_another_then_edited_renamed_and_deleted() -> None:
    async with choosing() as (pilot, _):
        await pilot.press("down", "n", *"calm", "enter")
        await wait_until(lambda: names(pilot)[-1] == "calm")
        assert kept() == {"presets": {"calm": {"temperature": 0.2, "top_p": 0.9}}}
        await pilot.press("e", "end", *"er", "down", "end", "5", "enter")
        await wait_until(lambda: names(pilot)[-1] == "calmer")
        assert kept() == {"presets": {"calmer": {"temperature": 0.25, "top_p": 0.9}}}
        await pilot.press("d")
        await wait_until(lambda: "calmer" not in names(pilot))
        assert kept() == {}


async def test_what_is_built_in_can_neither_be_edited_nor_deleted() -> None:
    async with choosing() as (pilot, _):
        await pilot.press("e", "d", "delete")
        assert isinstance(pilot.app.screen, PresetScreen)
        assert len(names(pilot)) == 4


async def test_a_number_out_of_range_is_told_at_once_and_the_form_stays_open() -> None:
    async with choosing() as (pilot, _):
        await pilot.press("n", *"hot", "tab", *"99")
        form = pilot.app.screen
        await wait_until(lambda: "from 0 to 10" in str(form.query_one("#note-temperature", Static).render()))
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, PresetForm)
        assert kept() == {}
        await pilot.press("escape")
        await wait_until(lambda: isinstance(pilot.app.screen, PresetScreen))


async def test_a_name_that_is_taken_is_told_at_once() -> None:
    async with choosing() as (pilot, _):
        await pilot.press("n", *"precise")
        form = pilot.app.screen
        await wait_until(lambda: "already" in str(form.query_one("#note-name", Static).render()))


async def test_a_theme_that_is_not_known_here_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text('theme = "of another machine"\n')
    async with opened("f2") as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, SettingsScreen))
        await pilot.press("escape")
        await wait_until(lambda: not isinstance(pilot.app.screen, SettingsScreen))
    assert kept() == {"theme": "of another machine"}
    monkeypatch.setenv("LOCALCHAT_THEME", "of no machine")
    async with opened("f2") as pilot:
        await wait_until(lambda: isinstance(pilot.app.screen, SettingsScreen))
        await pilot.pause()
        assert pilot.app.is_running
    assert kept() == {"theme": "of another machine"}
