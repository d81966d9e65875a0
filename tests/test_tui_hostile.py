"""Hostile text from everywhere that it can come from is shown harmlessly, and the app goes on answering."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from desk import FakeServices, install_fake, wait_until
from fakes import ScriptedEngine
from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from localchat.engine.events import Done, Piece, Usage
from localchat.engine.remote_model import RemoteModel
from localchat.errors import LocalchatError
from localchat.history.store import History
from localchat.library import record
from localchat.paths import history_file
from localchat.pull.search import Found
from localchat.settings import Settings
from localchat.tui.app import LocalchatApp, make_app
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.chosen import Chosen
from localchat.tui.keys_screen import KeysScreen
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.prompt import Prompt
from localchat.tui.services import Services

TEXTS = {
    "escapes": "\x1b[31m\x1b]52;c;eA==\x07\x9b2J\x00\u202ex\u2066\u200b\x85\ufeff\U000e0041q",
    "markup": "[red]x[/] [@click=app.quit]q[/] [link=x]l[/link] $primary",
    "long": "x" * 300_000,
    "marks": "a" + "\u0301" * 10_000,
}
SEEN = {"escapes": "[31m", "markup": "[red]x", "long": "xxxx", "marks": "a\u0301"}
ACTED_ON = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\U000e0000-\U000e007f]")
USAGE = Usage(
    prompt_tokens=1, cached_tokens=0, completion_tokens=1, first_token_seconds=1, reading_seconds=1, writing_seconds=1
)


def screen_text(app: App[None]) -> str:
    """All that is on the screen, as it goes to the terminal."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def links(app: App[None]) -> list[str]:
    """What a click on some text would do."""
    strips = app.screen._compositor.render_strips()
    styles = [segment.style for strip in strips for segment in strip if segment.style is not None]
    return [str(value) for style in styles for name, value in style.meta.items() if name.startswith("@")] + [
        style.link for style in styles if style.link
    ]


@asynccontextmanager
async def opened(services: Services, model: Chosen | None = None) -> AsyncIterator[Pilot[None]]:
    app = make_app(services, model or install_fake())
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await wait_until(lambda: isinstance(app.screen, ChatScreen) and app.screen.query(Prompt))
        yield pilot


def fake(script: str = "", **more: object) -> FakeServices:
    return FakeServices([ScriptedEngine([Piece(script), Done("stop", USAGE)])], **more)  # type: ignore[arg-type]


def conversation(question: str, reply: str, title: str = "", model: str = "parrot", system: str = "") -> None:
    """Something that was said earlier."""
    history = History(history_file())
    number = history.begin(question, model, system)
    history.ask(number, question)
    history.draft(number, model).finish(reply, "stop")
    if title:
        history.rename(number, title)
    history.close()


async def a_reply(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    async with opened(fake(f"Look: {text}").services) as pilot:
        await wait_until(lambda: "ready" in screen_text(pilot.app))
        await pilot.press(*"hi", "enter")
        yield pilot


async def a_block_of_code(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    conversation("code?", f"```python\n{text}\n```\n\n| a | b |\n|---|---|\n| c | d |\n")
    async with opened(fake().services) as pilot:
        yield pilot


async def an_earlier_question(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    conversation(text, "I see.")
    async with opened(fake().services) as pilot:
        yield pilot


async def a_title(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    conversation("hi", "hello", title=text)
    async with opened(fake().services) as pilot:
        yield pilot


async def the_history(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    conversation("hi", "hello", title=text, model=text)
    async with opened(fake().services) as pilot:
        await pilot.press("ctrl+o")
        await wait_until(lambda: pilot.app.screen.query(OptionList))
        yield pilot


async def a_models_name(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    async with opened(fake().services, RemoteModel("http://127.0.0.1:9", text)) as pilot:
        yield pilot


async def a_receipt(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    receipt = install_fake().receipt
    told = record(replace(receipt, source=text, commit=text, quant=text, checks=(text[:1000],)))
    async with opened(fake().services, told) as pilot:
        await pilot.press("ctrl+l")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))
        yield pilot


async def an_error(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    services = FakeServices([LocalchatError(f"Look: {text}", text)]).services
    async with opened(services) as pilot:
        yield pilot


async def a_toast(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    services = fake(pulls=[LocalchatError(text, text)]).services
    async with opened(services) as pilot:
        assert isinstance(pilot.app, LocalchatApp)
        pilot.app.downloads.begin(text)
        await wait_until(lambda: pilot.app._notifications)
        yield pilot


async def a_setting(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    async with opened(fake(settings=Settings(system=text)).services) as pilot:
        await pilot.press("f2")
        yield pilot


async def a_key(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    async with opened(fake(settings=Settings(keys={text: "f9", "new": text})).services) as pilot:
        await wait_until(lambda: pilot.app._notifications)
        yield pilot


async def a_pasted_text(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    async with opened(fake().services) as pilot:
        pilot.app.screen.query_one(Prompt).post_message(events.Paste(text))
        yield pilot


async def a_file_name(text: str, folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    name = text.replace("/", "-").replace("\x00", "")[:60]
    (folder / name).write_text("x")
    patch.chdir(folder)
    async with opened(fake().services) as pilot:
        await pilot.press("ctrl+t")
        await wait_until(lambda: pilot.app.screen.query(OptionList))
        yield pilot


async def a_system_prompt(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    conversation("hi", "hello", system=text)
    async with opened(fake().services) as pilot:
        await pilot.press("f4")
        yield pilot


async def the_hub(text: str, _folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Pilot[None]]:
    services = replace(fake().services, search=lambda _: [Found(text, tags=(text,))])
    async with opened(services) as pilot:
        assert isinstance(pilot.app, LocalchatApp)
        await pilot.app.push_screen(LibraryScreen(services, pilot.app.downloads, None, "hub"))
        pilot.app.screen.query_one("HubPane Input", Input).focus()
        await pilot.press("x", "enter")
        yield pilot


PLACES: dict[str, Callable[[str, Path, pytest.MonkeyPatch], AsyncIterator[Pilot[None]]]] = {
    place.__name__: place
    for place in (
        a_reply, a_block_of_code, an_earlier_question, a_title, the_history, a_models_name, a_receipt, an_error,
        a_toast, a_setting, a_key, a_pasted_text, a_file_name, a_system_prompt, the_hub,
    )
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", PLACES)
async def test_hostile_text_is_shown_harmlessly(
    place: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asynccontextmanager(PLACES[place])(TEXTS[text], tmp_path, monkeypatch) as pilot:
        app = pilot.app
        await wait_until(lambda: SEEN[text] in screen_text(app) or (place, text) in KEPT_OUT)
        await _stays_harmless(pilot)
        await _answers(pilot)


KEPT_OUT = {("a_pasted_text", "long"), ("a_pasted_text", "marks"), ("a_file_name", "escapes")}
"""What is large becomes an attachment, and its text is not shown; nor is the name of a file that cannot be typed."""


async def _stays_harmless(pilot: Pilot[None]) -> None:
    for _ in range(3):
        await pilot.pause()
        assert ACTED_ON.findall(screen_text(pilot.app)) == []
        assert [link for link in links(pilot.app) if "quit" in link or link == "x"] == []


async def _answers(pilot: Pilot[None]) -> None:
    await pilot.press("f1")
    await wait_until(lambda: isinstance(pilot.app.screen, KeysScreen))
    await pilot.press("escape")
    await wait_until(lambda: not isinstance(pilot.app.screen, KeysScreen))


@pytest.mark.parametrize("sign", ["\x1b", "\x9b", "\x07", "\x00", "\x85", "\u202e", "\u2066", "\U000e0041"])
def test_the_check_finds_what_a_terminal_would_act_on(sign: str) -> None:
    assert sign in TEXTS["escapes"]
    assert ACTED_ON.search(sign)
