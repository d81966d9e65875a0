"""The history screen, driven by keys and the mouse over a real history."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from desk import wait_until
from textual.app import App
from textual.pilot import Pilot
from textual.types import CSSPathType
from textual.widgets import Static

from localchat.errors import LocalchatError
from localchat.history.export import exported
from localchat.history.store import History
from localchat.history.whole import Said, Whole
from localchat.paths import history_file, sessions_folder
from localchat.tui.app import STYLES, erase_deleted
from localchat.tui.history_browser import Conversations, HistoryBrowser, Search
from localchat.tui.history_screen import HistoryScreen
from localchat.tui.theme import OWN

SIZE = (80, 24)
WIDE = (140, 40)


class Host(App[None]):
    """The screen alone, and what it returned."""

    CSS_PATH: ClassVar[CSSPathType | None] = list(STYLES)

    def __init__(self, history: History, current: int | None) -> None:
        super().__init__()
        self.history, self.current = history, current
        self.chosen: list[int | None] = []

    def on_mount(self) -> None:
        for theme in OWN:
            self.register_theme(theme)
        self.theme = OWN[0].name
        self.push_screen(HistoryScreen(self.history, self.current), self.chosen.append)


@pytest.fixture
def history() -> Iterator[History]:
    history = History(history_file())
    yield history
    history.close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are written."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def said(history: History, title: str, *texts: str, days: float = 0.0) -> int:
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")
    messages = tuple(
        Said(index + 1, index or None, "assistant" if index % 2 else "user", text, "stop" if index % 2 else "said",
             "parrot", at)
        for index, text in enumerate(texts or (title, "a reply"))
    )  # fmt: skip
    return history.add([Whole(title, "parrot", at, at, False, "", messages)])[0]


@asynccontextmanager
async def opened(
    history: History, current: int | None = None, size: tuple[int, int] = SIZE
) -> AsyncIterator[tuple[Host, Pilot[None]]]:
    app = Host(history, current)
    async with app.run_test(size=size, notifications=True) as pilot:
        await wait_until(lambda: isinstance(app.screen, HistoryScreen) and bool(app.screen.query(Conversations)))
        await pilot.pause()
        yield app, pilot


def rows(app: Host) -> list[str]:
    """What is in the list, a text for each row; the marked one begins with an arrow."""
    found = app.screen.query_one(Conversations)
    return [("→ " if index == found.highlighted else "") + " ".join(str(option.prompt).split())
            for index, option in enumerate(found.options)]  # fmt: skip


def shown(app: Host, title: str) -> bool:
    return any(title in row for row in rows(app))


def marked(app: Host) -> str:
    heading = app.screen.query_one(HistoryBrowser).marked
    return heading.title if heading else ""


def toasts(app: Host) -> list[str]:
    return [str(note.message) for note in app._notifications]


def keys(app: Host) -> set[str]:
    """The actions of the keys that make sense now."""
    return {active.binding.action for active in app.screen.active_bindings.values() if active.enabled}


# The list


async def test_conversations_are_grouped_by_day(history: History) -> None:
    said(history, "Long ago", days=800)
    said(history, "Before", days=1)
    history.pin(said(history, "Kept", days=3), True)
    current = said(history, "Now")
    async with opened(history, current) as (app, _):
        days = [row for row in rows(app) if not any(mark in row for mark in ("·", "→"))]
        assert days[:3] == ["Pinned", "Today", "Yesterday"]
        assert len(days) == 4
        assert marked(app) == "Now"
        assert any(row.startswith("→ ▸") and "2 messages · parrot" in row for row in rows(app))


async def test_an_empty_history_says_so(history: History) -> None:
    async with opened(history) as (app, pilot):
        assert "Nothing has been said yet." in str(app.screen.query_one(".empty", Static).content)
        assert not keys(app) & {"rename", "pin", "delete", "undo"}
        await pilot.press("r", "p", "d", "e", "u", "escape")
        await wait_until(lambda: app.chosen == [None])


async def test_enter_opens_the_marked_one(history: History) -> None:
    first = said(history, "First", days=1)
    said(history, "Second")
    async with opened(history) as (app, pilot):
        await pilot.press("down", "enter")
        await wait_until(lambda: app.chosen == [first])


async def test_a_click_opens(history: History) -> None:
    said(history, "First", days=1)
    second = said(history, "Second")
    async with opened(history) as (app, pilot):
        await pilot.click(Conversations, offset=(10, 0))  # the name of a day
        await pilot.click(Conversations, offset=(10, 1))
        await wait_until(lambda: app.chosen == [second])


async def test_escape_leaves_without_a_choice(history: History) -> None:
    said(history, "First")
    async with opened(history) as (app, pilot):
        await pilot.press("escape")
        await wait_until(lambda: app.chosen == [None])


async def test_hostile_titles_models_and_texts_are_shown_harmlessly(history: History) -> None:
    said(history, "[red]t[/] \x1b[2J", "[b]x[/b] \x1b[31m \u202e", "\x9b2J")
    async with opened(history, size=WIDE) as (app, pilot):
        assert shown(app, "[red]t[/] ␛[2J")
        page = app.screen.query_one(".page", Static)
        await wait_until(lambda: "[b]x[/b] ␛[31m" in str(page.content))
        await pilot.press("d")
        await wait_until(lambda: any("[red]t[/] ␛[2J" in words for words in toasts(app)))
        screen = app.export_screenshot()
        assert "\x1b" not in screen
        assert "\u202e" not in screen


async def test_a_thousand_conversations_open_at_once(history: History) -> None:
    wholes = [Whole(f"Talk {number}", "parrot", at, at, False, "", (Said(1, None, "user", "Hi", "said", "", at),))
              for number in range(1000)
              for at in [(datetime.now(UTC) - timedelta(hours=number)).isoformat(timespec="microseconds")]]  # fmt: skip
    history.add(wholes)
    app = Host(history, None)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.press("escape")
        await wait_until(lambda: app.chosen == [None])
        await app.push_screen(HistoryScreen(history, None))
        assert len(rows(app)) > 1000


# The search


async def test_what_is_typed_is_searched_and_marked(history: History) -> None:
    said(history, "Rome", "Where to drink?", "At the Café Greco.")
    said(history, "Oslo", "Where to drink?", "At home.")
    async with opened(history) as (app, pilot):
        await pilot.press("slash", *"cafe")
        await wait_until(lambda: rows(app)[0] == "1 conversation")
        assert "At the Café Greco." in rows(app)[1]
        prompt = app.screen.query_one(Conversations).options[1].prompt
        spans = [str(prompt)[span.start : span.end] for span in prompt.spans if "underline" in str(span.style)]  # type: ignore[union-attr]
        assert spans == ["Café"]
        await pilot.press("escape")
        await wait_until(lambda: shown(app, "Oslo"))
        assert app.chosen == []
        await pilot.press("escape")
        await wait_until(lambda: app.chosen == [None])


async def test_enter_in_the_search_opens_what_is_marked(history: History) -> None:
    for title in ("Rain one", "Rain two", "Rain three", "Sun"):
        number = said(history, title)
    del number
    async with opened(history) as (app, pilot):
        await pilot.press("ctrl+f", *"rain")
        await wait_until(lambda: rows(app)[0] == "3 conversations")
        assert marked(app) == "Rain three"
        await pilot.press("down", "down", "up", "enter")
        await wait_until(lambda: len(app.chosen) == 1)
        heading = history.heading(app.chosen[0] or 0)
        assert heading is not None
        assert heading.title == "Rain two"


async def test_a_hit_on_another_branch_opens_on_that_branch(history: History) -> None:
    number = said(history, "Trip", "Where to?", "To Rome.")
    history.ask(number, "What to eat?", instead_of=history.messages(number)[0].id)
    async with opened(history) as (app, pilot):
        await pilot.press("slash", *"rome")
        await wait_until(lambda: rows(app)[0] == "1 conversation")
        await pilot.press("enter")
        await wait_until(lambda: app.chosen == [number])
    assert [message.text for message in history.messages(number)] == ["Where to?", "To Rome."]


async def test_nothing_found_says_so_and_letters_are_typed(history: History) -> None:
    said(history, "Rome")
    async with opened(history) as (app, pilot):
        await pilot.press("slash", *"repudiE?")
        await wait_until(lambda: "Nothing was found." in str(app.screen.query_one(".empty", Static).content))
        assert app.screen.query_one(Search).value == "repudiE?"
        assert rows(app) == []
        await pilot.press("enter")
        assert app.chosen == []
    assert [heading.title for heading in history.conversations()] == ["Rome"]


async def test_a_search_that_fails_is_told(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    said(history, "Rome")

    def fail(*_: object) -> None:
        raise LocalchatError("the history cannot be used: disk", "check it")

    monkeypatch.setattr(history, "search", fail)
    async with opened(history) as (app, pilot):
        await pilot.press("slash", "x")
        await wait_until(lambda: "cannot be used" in str(app.screen.query_one(".empty", Static).content))


async def test_a_list_that_cannot_be_read_any_more_is_told(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    said(history, "Rome")

    def fail() -> None:
        raise LocalchatError("the history cannot be used: disk", "check it")

    async with opened(history) as (app, pilot):
        await pilot.press("slash", "x")
        await wait_until(lambda: "Nothing was found." in str(app.screen.query_one(".empty", Static).content))
        monkeypatch.setattr(history, "conversations", fail)
        await pilot.press("backspace")
        await wait_until(lambda: "cannot be used" in str(app.screen.query_one(".empty", Static).content))


# The page beside the list


async def test_the_marked_conversation_can_be_read_where_there_is_room(history: History) -> None:
    said(history, "Long", *(f"message {number} " + "x" * 2000 for number in range(40)))
    said(history, "Short", "Hello", "needle in here")
    async with opened(history, size=WIDE) as (app, pilot):
        page = app.screen.query_one(".page", Static)
        await wait_until(lambda: "needle" in str(page.content))
        await pilot.press("down")
        await wait_until(lambda: "message 0" in str(page.content))
        assert "… 26 more" in str(page.content)
        await pilot.press("slash", *"message 30")
        await wait_until(lambda: "… 30 earlier" in str(page.content))


async def test_a_narrow_terminal_has_the_list_alone(history: History) -> None:
    said(history, "Rome")
    async with opened(history) as (app, pilot):
        assert not app.screen.query_one("VerticalScroll").display
        await pilot.resize_terminal(*WIDE)
        await wait_until(lambda: app.screen.query_one("VerticalScroll").display)


# What can be done with one


async def test_a_conversation_is_renamed(history: History) -> None:
    said(history, "Rome")
    async with opened(history) as (app, pilot):
        await pilot.press("r", *"Oslo", "escape")
        assert marked(app) == "Rome"
        await pilot.press("r", *"New name", "enter")
        await wait_until(lambda: marked(app) == "New name")
        await pilot.press("r", "backspace", "enter")
        await wait_until(lambda: any("needs a title" in words for words in toasts(app)))
        assert marked(app) == "New name"
        await pilot.press("enter")
        await wait_until(lambda: len(app.chosen) == 1)


async def test_a_conversation_is_pinned_and_stays_marked(history: History) -> None:
    said(history, "First", days=1)
    said(history, "Second")
    async with opened(history) as (app, pilot):
        await pilot.press("down", "p")
        await wait_until(lambda: rows(app)[0] == "Pinned")
        assert marked(app) == "First"
        await pilot.press("p")
        await wait_until(lambda: rows(app)[0] == "Today")
        assert marked(app) == "First"


async def test_deleting_is_undone(history: History) -> None:
    for title in ("First", "Second", "Third"):
        said(history, title)
    async with opened(history) as (app, pilot):
        assert "undo" not in keys(app)
        await pilot.press("down", "d")
        await wait_until(lambda: not shown(app, "Second"))
        assert marked(app) == "First"
        assert "“Second” is deleted. U brings it back." in toasts(app)
        await pilot.press("delete")
        await wait_until(lambda: not shown(app, "First"))
        assert marked(app) == "Third"
        assert "undo" in keys(app)
        await pilot.press("u")
        await wait_until(lambda: marked(app) == "First")
        await pilot.press("u")
        await wait_until(lambda: marked(app) == "Second")
        assert "undo" not in keys(app)
    assert len(history.conversations()) == 3


async def test_what_is_found_can_be_deleted(history: History) -> None:
    for title in ("Rain one", "Rain two", "Sun"):
        said(history, title)
    async with opened(history) as (app, pilot):
        await pilot.press("slash", *"rain", "tab")
        await wait_until(lambda: rows(app)[0] == "2 conversations")
        await pilot.press("d")
        await wait_until(lambda: rows(app)[0] == "1 conversation")
        assert marked(app) == "Rain one"
        await pilot.press("u")
        await wait_until(lambda: rows(app)[0] == "2 conversations")


async def test_the_last_one_can_be_deleted_and_brought_back(history: History) -> None:
    said(history, "Only")
    async with opened(history) as (app, pilot):
        await pilot.press("d")
        await wait_until(lambda: rows(app) == [])
        await pilot.press("u")
        await wait_until(lambda: marked(app) == "Only")
        await pilot.press("enter")
        await wait_until(lambda: len(app.chosen) == 1)


async def test_what_another_window_did_is_told_and_not_a_crash(history: History) -> None:
    number = said(history, "Rome")
    async with opened(history) as (app, pilot):
        history.erase(number)
        await pilot.press("p")
        await wait_until(lambda: any("was deleted" in words for words in toasts(app)))
        await wait_until(lambda: rows(app) == [])


# Files


@pytest.mark.parametrize(
    ("key", "name", "begins"), [("e", "localchat-rome.md", "# Rome"), ("E", "localchat-rome.json", "{")]
)
async def test_export_says_where_and_never_overwrites(
    history: History, folder: Path, key: str, name: str, begins: str
) -> None:
    said(history, "Rome")
    async with opened(history) as (app, pilot):
        await pilot.press(key)
        await wait_until(lambda: f"Written to {folder / name}" in toasts(app))
        await pilot.press(key)
        await wait_until(lambda: len(list(folder.iterdir())) == 2)
    assert (folder / name).read_text().startswith(begins)


async def test_export_goes_home_where_the_folder_cannot_be_written(
    history: History, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    said(history, "Rome")
    async with opened(history) as (app, pilot):
        folder.rmdir()
        await pilot.press("e")
        await wait_until(lambda: f"Written to {tmp_path / 'localchat-rome.md'}" in toasts(app))


async def test_conversations_are_imported_from_a_path(history: History, folder: Path) -> None:
    number = said(history, "Rome")
    (folder / "old.json").write_text(exported(history, [number], "json"))
    history.rename(number, "Oslo")
    async with opened(history) as (app, pilot):
        await pilot.press("i", *"old.json", "enter")
        await wait_until(lambda: marked(app) == "Rome")
        assert "1 conversation added. Nothing that was there has changed." in toasts(app)
        assert shown(app, "Oslo")


@pytest.mark.parametrize("typed", ["missing.json", "bad.json", "~nobody-of-this-name/x", "."])
async def test_a_file_that_cannot_be_imported_is_one_sentence(history: History, folder: Path, typed: str) -> None:
    said(history, "Rome")
    (folder / "bad.json").write_text(json.dumps({"format": "localchat-history", "version": 1, "conversations": [1]}))
    async with opened(history) as (app, pilot):
        await pilot.press("i", *typed, "enter")
        await wait_until(lambda: toasts(app))
        assert len(history.conversations()) == 1
        await pilot.press("i", "enter", "escape")
        await wait_until(lambda: app.chosen == [None])


# The end of the app


def test_at_the_end_what_was_deleted_leaves_the_disk_with_what_was_read_of_it() -> None:
    history = History(history_file())
    kept, gone = begun(history, "Bread"), begun(history, "Wine")
    session = sessions_folder() / "0.kv"
    session.write_bytes(b"tokens")
    erase_deleted(history)
    assert session.exists(), "nothing was deleted"
    history.delete(gone)
    erase_deleted(history)
    assert not session.exists()
    assert [heading.id for heading in history.conversations()] == [kept]
    with pytest.raises(LocalchatError, match="for good"):
        history.restore(gone)
    history.close()


def begun(history: History, question: str) -> int:
    number = history.begin(question, "parrot")
    history.ask(number, question)
    return number
