"""The first run, driven by keys over scripted pulls; and which three models it suggests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from desk import PLAN, FakeServices, endless_download, install_fake, offer, wait_until
from fakes import ScriptedEngine
from shelf import Shelf, rows, text
from textual.pilot import Pilot
from textual.widgets import Input

from localchat.errors import LocalchatError
from localchat.library import Installed
from localchat.pull.events import Chosen, Progress, Pull, Ready
from localchat.pull.offers import Offer
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.picker_screen import PickerScreen
from localchat.tui.suggestions import three

CHOSEN = Chosen("smollm2", "a source", PLAN, 0, 1 << 30)
SMALL, LARGE = offer("smollm2", is_local=True), offer("zephyr-7b-beta")


def shelf(found: Sequence[Offer] = (SMALL, LARGE), **services: object) -> tuple[Shelf, FakeServices]:
    fake = FakeServices(offers=found)
    fake.services = replace(fake.services, **services)
    return Shelf(fake), fake


async def looked(pilot: Pilot[None], app: Shelf) -> None:
    """The suggestions are there."""
    app.open_picker()
    await wait_until(lambda: "more …" in rows(pilot) and "Looking" not in rows(pilot))


def names(chosen: Sequence[Installed | None]) -> list[str | None]:
    return [model and model.name for model in chosen]


async def test_a_digit_begins_with_what_needs_no_download() -> None:
    app, fake = shelf()
    fake.pulls = [CHOSEN, Progress("check", "x.gguf", 1, 2), Ready(install_fake("smollm2"))]
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("2")
        await wait_until(lambda: names(app.chosen) == ["smollm2"])
        assert fake.pulled == ["smollm2"]


async def test_enter_begins_with_the_best() -> None:
    app, fake = shelf()
    fake.pulls = endless_download()
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("enter")
        await wait_until(lambda: fake.pulled == ["zephyr-7b-beta"])


async def test_each_choice_says_why_and_what_it_takes() -> None:
    app, _ = shelf((SMALL, replace(LARGE, plan=replace(PLAN, tokens_per_second=9.3))))
    async with app.run_test(size=(120, 40)) as pilot:
        await looked(pilot, app)
        assert " 1  zephyr-7b-beta\n    The best that runs fast on this machine." in rows(pilot)
        assert "13.5 GiB to download · Q4_K_M, 4.0 GiB · about 9 tokens/s" in rows(pilot)
        assert " 2  smollm2\n    Ready in seconds without a download" in rows(pilot)


async def test_the_screen_is_there_before_the_machine_is_looked_at() -> None:
    gate = threading.Event()

    def offers() -> list[Offer]:
        assert gate.wait(60)
        return [LARGE]

    app, _ = shelf(offers=offers)
    async with app.run_test() as pilot:
        app.open_picker()
        await wait_until(lambda: "Looking at what this machine can run" in rows(pilot))
        gate.set()
        await wait_until(lambda: "zephyr-7b-beta" in rows(pilot))


async def test_while_a_large_one_is_downloaded_one_can_chat_with_the_small_one() -> None:
    model = install_fake("smollm2")

    def pull(source: str) -> Pull:
        if source == "smollm2":
            yield CHOSEN
            yield Ready(model)
        else:
            yield from endless_download()

    app, _ = shelf(pull=pull)
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("1")
        await wait_until(lambda: "Chat with it while the other one is downloaded" in rows(pilot))
        assert "zephyr" not in rows(pilot)
        await pilot.press("enter")
        await wait_until(lambda: names(app.chosen) == ["smollm2"])
        assert [(one.name, one.state) for one in app.downloads.all] == [
            ("zephyr-7b-beta", "downloading"),
            ("smollm2", "done"),
        ]


async def test_a_typed_source_is_pulled_and_used() -> None:
    app, fake = shelf()
    fake.pulls = [CHOSEN, Ready(install_fake("mine"))]
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("tab", *"a/b2", "enter")
        await wait_until(lambda: names(app.chosen) == ["mine"])
        assert fake.pulled == ["a/b2"]


async def test_a_download_shows_how_far_it_is_and_can_be_stopped() -> None:
    app, fake = shelf((LARGE,))
    fake.pulls = endless_download()
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("1")
        await wait_until(lambda: "of 1.0 TiB" in text(pilot))
        await pilot.press("s")
        await wait_until(lambda: fake.pull_closed)
        await wait_until(lambda: "What was downloaded is kept" in text(pilot))
        assert "The best that fits this machine" in rows(pilot)


async def test_closing_leaves_the_download_running() -> None:
    app, fake = shelf((LARGE,))
    fake.pulls = endless_download()
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("1")
        await wait_until(lambda: "downloading" in text(pilot))
        await pilot.press("escape")
        await wait_until(lambda: app.chosen == [None])
        assert not fake.pull_closed
        assert app.downloads.words.startswith("↓ zephyr-7b-beta")


async def test_a_failed_pull_says_why_and_what_to_do_and_the_choices_are_back() -> None:
    app, fake = shelf()
    fake.pulls = [LocalchatError("the Hub has no \x1b[31mrepository a/b", "check the spelling")]
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("tab", *"a/b", "enter")
        await wait_until(lambda: "The Hub has no ␛[31mrepository a/b.\n  Check the spelling." in text(pilot))
        assert " 1  zephyr-7b-beta" in rows(pilot)


async def test_m_opens_the_library_and_what_is_chosen_there_is_chosen() -> None:
    install_fake("parrot")
    app, _ = shelf()
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("m")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))
        await pilot.press("1")
        await wait_until(lambda: "parrot" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: names(app.chosen) == ["parrot"])


async def test_what_is_ready_while_the_library_is_open_is_used_when_that_is_closed() -> None:
    gate, model = threading.Event(), install_fake("zephyr-7b-beta")

    def pull(source: str) -> Pull:
        yield replace(CHOSEN, name=source)
        assert gate.wait(60)
        yield Ready(model)

    app, _ = shelf((LARGE,), pull=pull)
    async with app.run_test() as pilot:
        await looked(pilot, app)
        await pilot.press("1", "m")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))
        gate.set()
        await wait_until(lambda: app.downloads.all[0].state == "done")
        assert app.chosen == []
        await pilot.press("escape")
        await wait_until(lambda: names(app.chosen) == ["zephyr-7b-beta"])


async def test_where_nothing_fits_the_library_says_why() -> None:
    app, _ = shelf((replace(LARGE, plan=None, problem="too large"),))
    async with app.run_test() as pilot:
        app.open_picker()
        await wait_until(lambda: "No model of the catalog fits this machine" in text(pilot))
        assert isinstance(pilot.app.screen, PickerScreen)
        await pilot.press("1", "tab")
        assert isinstance(pilot.app.focused, Input)


# Which three


def fitting(name: str, rate: float | None, billions: float = 7, bits: float = 4.8, **facts: object) -> Offer:
    plan = replace(
        PLAN, tokens_per_second=rate, bits_per_weight=bits, weights_bytes=int(billions * 1e9 * bits / 8)
    )  # fmt: skip
    return replace(offer(name), plan=plan, **facts)


MIXTRAL, ZEPHYR, HERMES = "mixtral-8x7b-instruct-v0.1", "zephyr-7b-beta", "openhermes-2.5-mistral-7b"
GATED, DOLPHIN, PLATYPUS = "mistral-7b-instruct-v0.3", "dolphin-2.6-mistral-7b", "open-platypus-mistral-7b"


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ([], []),
        ([fitting(DOLPHIN, 20), fitting(ZEPHYR, 20)], [ZEPHYR, DOLPHIN]),
        ([fitting(MIXTRAL, 12, 47), fitting(ZEPHYR, 40), fitting(HERMES, 40)], [MIXTRAL, ZEPHYR, HERMES]),
        ([fitting(MIXTRAL, 2, 47), fitting(ZEPHYR, 9), fitting(HERMES, 9)], [ZEPHYR, HERMES]),
        ([fitting(MIXTRAL, 12, 47, bits=2.6), fitting(ZEPHYR, 40)], [ZEPHYR]),
        ([fitting(MIXTRAL, 1, 47), fitting(ZEPHYR, 3)], [ZEPHYR]),
        ([fitting(ZEPHYR, None), SMALL], [ZEPHYR, "smollm2"]),
        ([SMALL], ["smollm2"]),
        ([SMALL, *(fitting(name, 9) for name in (ZEPHYR, HERMES, PLATYPUS))], [ZEPHYR, HERMES, "smollm2"]),
        ([fitting(GATED, 9), fitting(HERMES, 9, is_installed=True)], []),
    ],
)
def test_three_that_fit_are_suggested_the_best_first(offers: list[Offer], expected: list[str]) -> None:
    assert [one.offer.entry.name for one in three(offers)] == expected


def test_each_suggestion_has_its_reason() -> None:
    assert [
        one.why for one in three([fitting(MIXTRAL, 12, 47), fitting(ZEPHYR, 40), fitting(DOLPHIN, 40, 47), SMALL])
    ] == [
        "The best that runs fast on this machine.",
        "Smaller and faster, for quick answers.",
        "Ready in seconds without a download, but it knows little.",
    ]
    assert three([fitting(ZEPHYR, 3.0)])[0].why.startswith("The fastest that fits here; it writes more slowly")
    assert three([fitting(ZEPHYR, None)])[0].why == "The best that fits this machine."
    assert three([fitting(ZEPHYR, 9), fitting(DOLPHIN, 9)])[1].why == "As large, tuned without refusals."


async def test_a_download_that_ends_when_the_picker_is_closed_is_loaded_where_there_is_no_model() -> None:
    go_on = threading.Event()

    def slow() -> Pull:
        yield CHOSEN
        while not go_on.wait(0.01):
            yield Progress("download", "x", 1, 2)
        yield Ready(install_fake("zephyr"))

    fake = FakeServices([ScriptedEngine([])], offers=(LARGE,))
    fake.services = replace(fake.services, pull=lambda _: slow())
    app = fake.app(None)
    async with app.run_test() as pilot:
        await wait_until(lambda: isinstance(app.screen, PickerScreen))
        app.downloads.begin("zephyr-7b-beta")
        await pilot.press("escape")
        await wait_until(lambda: not isinstance(app.screen, PickerScreen))
        assert fake.loads == []
        go_on.set()
        await wait_until(lambda: fake.loads == ["zephyr"])
