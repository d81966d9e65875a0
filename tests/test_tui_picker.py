"""The model picker, driven by keys over scripted pulls."""

from __future__ import annotations

from desk import PLAN, FakeServices, endless_download, install_fake, offer, wait_until
from fakes import ScriptedEngine
from textual.pilot import Pilot
from textual.widgets import OptionList

from localchat.errors import LocalchatError
from localchat.pull.events import Chosen, Progress, PullEvent, Ready
from localchat.tui.chat_screen import ChatScreen
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.pull_panel import PullPanel

CHOSEN = Chosen("smollm2", "a source", PLAN, 0, 1 << 30)


def options(pilot: Pilot[None]) -> list[str]:
    return [str(option.prompt) for option in pilot.app.screen.query_one(OptionList).options]


async def looked(pilot: Pilot[None]) -> None:
    """The catalog is there."""
    await wait_until(lambda: isinstance(pilot.app.screen, PickerScreen))
    await wait_until(lambda: not any("Looking at" in option for option in options(pilot)))


def panel(pilot: Pilot[None]) -> PullPanel:
    return pilot.app.screen.query_one(PullPanel)


def facts(pilot: Pilot[None]) -> str:
    return str(panel(pilot).query_one(".facts").render())


async def test_enter_installs_what_needs_no_download_and_begins_to_chat() -> None:
    model = install_fake("smollm2")
    pulls: list[PullEvent | LocalchatError] = [CHOSEN, Progress("check", "x.gguf", 1, 2), Ready(model)]
    fake = FakeServices([ScriptedEngine([])], offers=[offer("smollm2", is_local=True)], pulls=pulls)
    async with fake.app(None).run_test() as pilot:
        await looked(pilot)
        pilot.app.screen.query_one(OptionList).highlighted = 4
        await pilot.press("enter")
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen))
        assert fake.pulled == ["smollm2"]
        await wait_until(lambda: fake.loads == ["smollm2"])


async def test_an_installed_model_is_loaded_without_a_pull() -> None:
    install_fake("parrot")
    fake = FakeServices([ScriptedEngine([])])
    async with fake.app(None).run_test() as pilot:
        await looked(pilot)
        await pilot.press("down", "enter")
        await wait_until(lambda: fake.loads == ["parrot"])
        assert fake.pulled == []


async def test_the_catalog_says_what_would_run_here_and_what_it_takes() -> None:
    fake = FakeServices(offers=[offer("smollm2", is_local=True), offer("zephyr-7b-beta")])
    async with fake.app(None).run_test(size=(120, 40)) as pilot:
        await looked(pilot)
        text = "\n".join(options(pilot))
        assert "Ready at once, without a download" in text
        assert "Q4_K_M here, 4.0 GiB · 13.5 GiB to download · Zephyr · mit" in text


async def test_a_typed_source_is_pulled_with_words_and_a_bar() -> None:
    pulls: list[PullEvent | LocalchatError] = [CHOSEN, Progress("convert", "blk.0.attn_q.weight", 512, 1024)]
    fake = FakeServices(pulls=pulls)
    async with fake.app(None).run_test(size=(120, 40)) as pilot:
        await looked(pilot)
        await pilot.press("tab", *"a/b", "enter")
        await wait_until(lambda: "Stopped" in facts(pilot))
        assert fake.pulled == ["a/b"]
        assert "because it fits" in str(panel(pilot).query_one(".what").render())


async def test_escape_cancels_the_pull_first_and_then_closes() -> None:
    fake = FakeServices(pulls=endless_download())
    async with fake.app(None).run_test() as pilot:
        await looked(pilot)
        await pilot.press("tab", *"a/b", "enter")
        await wait_until(lambda: "Downloading" in facts(pilot))
        await pilot.press("escape")
        await wait_until(lambda: fake.pull_closed)
        await wait_until(lambda: "kept for the next time" in facts(pilot))
        await pilot.press("escape")
        await wait_until(lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_a_failed_pull_says_why_and_what_to_do() -> None:
    fake = FakeServices(pulls=[LocalchatError("the Hub has no repository a/b", "check the spelling")])
    async with fake.app(None).run_test(size=(120, 40)) as pilot:
        await looked(pilot)
        await pilot.press("tab", *"a/b", "enter")
        await wait_until(lambda: panel(pilot).has_class("-failed"))
        assert "no repository a/b" in str(panel(pilot).query_one(".what").render())
        assert "check the spelling" in facts(pilot)
