"""The library screen, driven by keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace

import pytest
from desk import PLAN, FakeServices, endless_download, install_fake, offer, wait_until
from shelf import Shelf, page, rows, text
from textual.pilot import Pilot
from textual.widgets import Input, TabbedContent

from localchat import library
from localchat.errors import LocalchatError
from localchat.library import Check, Installed, record, remember_use
from localchat.pull.events import Chosen, Progress, Ready
from localchat.pull.offers import Offer
from localchat.pull.search import Found
from localchat.pull.verify import Verifying
from localchat.text import size
from localchat.tui.ask_screen import AskScreen
from localchat.tui.hub_pane import HubRows
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.page_screen import PageScreen
from localchat.tui.rows import Rows
from localchat.tui.verify_screen import VerifyScreen

NARROW, WIDE = (80, 24), (140, 40)
CHOSEN = Chosen("zephyr-7b-beta", "HuggingFaceH4/zephyr-7b-beta", PLAN, 12 << 30, 4 << 30)
ZEPHYR = Found("HuggingFaceH4/zephyr-7b-beta", 153_422, 1_663, False, "2024-10-16", ("safetensors", "mistral"))


def misfit(name: str) -> Offer:
    return replace(offer(name), plan=None, problem="it needs at least 15.6 GiB of memory")


def shelf(found: Sequence[Offer] = (), **services: object) -> tuple[Shelf, FakeServices]:
    fake = FakeServices(offers=found)
    fake.services = replace(fake.services, **services)
    return Shelf(fake), fake


def tab(pilot: Pilot[None]) -> str:
    return "".join(tabs.active for tabs in pilot.app.screen.query(TabbedContent))


def keys(pilot: Pilot[None]) -> set[str]:
    """What the last line offers."""
    return {active.binding.description for active in pilot.app.screen.active_bindings.values() if active.binding.show}


# Installed


async def test_installed_models_are_told_with_their_type_size_speed_and_last_use() -> None:
    remember_use(install_fake("parrot"), 9.31)
    install_fake("other")
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot, library.find("parrot"))
        await wait_until(lambda: "parrot" in rows(pilot))
        assert "▸ parrot  loaded\n  Q4_K_M, 4 B · 9.3 tokens/s here · used 2" in rows(pilot)
        assert "  other\n  Q4_K_M, 4 B · not used yet" in rows(pilot)


async def test_enter_uses_a_model() -> None:
    install_fake("parrot")
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "parrot" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: [model and model.name for model in app.chosen] == ["parrot"])


async def test_what_is_loaded_already_is_not_loaded_again() -> None:
    model = install_fake("parrot")
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot, model)
        await wait_until(lambda: "parrot" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: app.chosen == [None])


async def test_escape_closes_the_library() -> None:
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.pause()
        assert "No model is installed yet" in text(pilot)
        await pilot.press("escape")
        await wait_until(lambda: app.chosen == [None])


async def test_a_click_marks_a_row_and_a_second_one_chooses_it() -> None:
    for name in ("first", "second"):
        install_fake(name)
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "first" in rows(pilot))
        shown = pilot.app.screen.query(Rows).first()
        other = str(shown.options[1].prompt).split()[0]
        await pilot.click(shown, offset=(5, 2))
        assert shown.highlighted == 1
        assert app.chosen == []
        await pilot.click(shown, offset=(5, 2))
        await wait_until(lambda: [model and model.name for model in app.chosen] == [other])


async def test_remove_asks_first_and_says_what_comes_free() -> None:
    model = install_fake("parrot")
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot, model)
        await wait_until(lambda: "Remove" in keys(pilot))
        await pilot.press("d")
        await wait_until(lambda: isinstance(pilot.app.screen, AskScreen))
        assert "Remove parrot? 4 B of disk come free. It is the model that is loaded now" in text(pilot)
        await pilot.press("enter")  # the button that keeps it has the focus
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))
        assert library.find("parrot")
        await pilot.press("d", "y")
        await wait_until(lambda: library.installed() == [])
        await wait_until(lambda: "No model is installed yet" in text(pilot))


async def test_of_a_linked_file_nothing_comes_free() -> None:
    model = install_fake("parrot")
    elsewhere = model.folder.parent / "elsewhere.gguf"
    model.path.rename(elsewhere)
    model.path.symlink_to(elsewhere)
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "Remove" in keys(pilot))
        await pilot.press("d")
        await wait_until(lambda: isinstance(pilot.app.screen, AskScreen))
        assert "stays where it came from, and nothing comes free" in text(pilot)
        assert "loaded" not in text(pilot)


async def test_a_model_that_cannot_be_removed_says_why() -> None:
    def stuck(name: str) -> int:
        raise LocalchatError(f"{name} is in use", "close it")

    install_fake("parrot")
    app, _ = shelf(remove=stuck)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "Remove" in keys(pilot))
        await pilot.press("d", "y")
        await wait_until(lambda: [toast.message for toast in app._notifications] == ["parrot is in use. Close it."])


CHECKS = (Check("sha256", "passed", "as it was installed"), Check("rows", "noted", "not compared"))


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        (CHECKS, "parrot is sound: 2 checks, none failed."),
        ((*CHECKS, Check("stop", "failed", "[b]no\x1b[31m end")), "parrot is not sound: 1 of 3 checks failed."),
    ],
)
async def test_verify_shows_its_progress_and_then_every_check_in_words(checks: tuple[Check, ...], words: str) -> None:
    gate = threading.Event()

    def verify(model: Installed) -> Verifying:
        yield Progress("check", model.receipt.file, 1, 2)
        assert gate.wait(60)
        return checks

    install_fake("parrot")
    app, _ = shelf(verify=verify)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "Verify" in keys(pilot))
        await pilot.press("v")
        await wait_until(lambda: "Checking 1 B of 2 B · parrot.gguf" in text(pilot))
        gate.set()
        await wait_until(lambda: words in text(pilot))
        assert "✓ sha256  as it was installed\n· rows  noted: not compared" in text(pilot)
        assert "failed: [b]no␛[31m end" in text(pilot) or checks == CHECKS
        await pilot.press("escape")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))


async def test_verify_that_is_left_is_stopped() -> None:
    closed = threading.Event()

    def verify(_model: Installed) -> Verifying:
        try:
            while True:
                time.sleep(0.005)
                yield Progress("check", "x", 1, 2)
        finally:
            closed.set()
        return ()

    install_fake("parrot")
    app, _ = shelf(verify=verify)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "Verify" in keys(pilot))
        await pilot.press("v")
        await wait_until(lambda: isinstance(pilot.app.screen, VerifyScreen))
        await pilot.press("escape")
        await wait_until(closed.is_set)


async def test_the_receipt_has_the_source_the_hashes_the_recipe_the_checks_and_the_notes() -> None:
    receipt = install_fake("parrot").receipt
    recipe = {"a": "Q4_K", "b": "Q4_K", "c": "F32"}
    record(
        replace(
            receipt, source="acme/\x1b[31mparrot", commit="c0ffee", file_sha256="f" * 64, inputs={"in.bin": "e" * 64},
            recipe=recipe, checks=CHECKS, notes=("the [red]loop[/red] was mended",),
        )
    )  # fmt: skip
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await wait_until(lambda: "Receipt" in keys(pilot))
        await pilot.press("i")
        await wait_until(lambda: isinstance(pilot.app.screen, PageScreen))
        shown = text(pilot)
        for words in (
            "acme/␛[31mparrot", "c0ffee", "f" * 64, f"in.bin\n  {'e' * 64}", "2 of Q4_K, 1 of F32",
            "✓ sha256  as it was installed", "the [red]loop[/red] was mended",
        ):  # fmt: skip
            assert words in shown
        await pilot.press("end", "escape")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))


# The catalog


async def test_the_screen_opens_at_once_and_the_catalog_comes_when_it_is_planned() -> None:
    gate = threading.Event()

    def offers() -> list[Offer]:
        assert gate.wait(60)
        return [offer("zephyr-7b-beta")]

    app, _ = shelf(offers=offers)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "Looking at what this machine can run" in text(pilot))
        gate.set()
        await wait_until(lambda: "zephyr" in rows(pilot))


async def test_the_catalog_says_what_would_run_here_and_last_what_does_not_fit_and_why() -> None:
    found = [misfit("dolphin-2.5-mixtral-8x7b"), offer("zephyr-7b-beta"), offer("smollm2", is_local=True)]
    app, _ = shelf(found)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("right")
        await wait_until(lambda: "zephyr" in rows(pilot))
        assert rows(pilot).split("\n") == [
            "Ready at once, without a download",
            "  smollm2", "  Q4_K_M · 5.5 GiB memory · 512 tokens",
            "To download",
            "  zephyr-7b-beta", "  Q4_K_M · 5.5 GiB memory · 13.5 GiB to get · 512 tokens",
            "Does not fit this machine",
            "  dolphin-2.5-mixtral-8x7b  uncensored", "  it needs at least 15.6 GiB of memory",
        ]  # fmt: skip


async def test_beside_the_list_is_a_page_where_there_is_room() -> None:
    app, _ = shelf([replace(offer("zephyr-7b-beta"), plan=replace(PLAN, tokens_per_second=9.3))])
    async with app.run_test(size=WIDE) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "MT-Bench: 7.34, says model card" in page(pilot))
        for words in ("about 9 tokens/s are predicted", "Zephyr", "mit", "13.5 GiB", "because it fits"):
            assert words in page(pilot)
        (disk,) = (line.split() for line in page(pilot).split("\n") if line.strip().startswith("Disk"))
        assert " ".join(disk) == f"Disk {size(PLAN.weights_bytes)}", "what is made while it arrives takes no more"
        assert "Details" not in keys(pilot)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dolphin-2.6-mistral-7b", "Uncensored: it was tuned to answer without refusals."),
        ("mistral-7b-instruct-v0.3", "Gated: its authors want you to accept their terms"),
    ],
)
async def test_without_room_space_opens_the_page(name: str, words: str) -> None:
    app, _ = shelf([offer(name)])
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "Details" in keys(pilot))
        await pilot.press("space")
        await wait_until(lambda: isinstance(pilot.app.screen, PageScreen))
        assert words in text(pilot)


async def test_a_catalog_that_cannot_be_planned_says_why() -> None:
    def offers() -> list[Offer]:
        raise LocalchatError("llama.cpp does not answer", "run localchat doctor")

    app, _ = shelf(offers=offers)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "llama.cpp does not answer. Run localchat doctor." in text(pilot))


async def test_enter_pulls_and_the_pull_goes_on_when_the_library_is_closed() -> None:
    app, fake = shelf([offer("zephyr-7b-beta")])
    fake.pulls = endless_download()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "zephyr" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: tab(pilot) == "downloads")
        await wait_until(lambda: "downloading" in rows(pilot))
        await pilot.press("escape")
        await wait_until(lambda: app.chosen == [None])
        seen = app.downloads.all[0].steps[-1].done_bytes
        await wait_until(lambda: app.downloads.all[0].steps[-1].done_bytes > seen)
        assert fake.pulled == ["zephyr-7b-beta"]
        await app.open_library(pilot)
        await pilot.press("4")
        await wait_until(lambda: "downloading" in rows(pilot))


async def test_what_does_not_fit_is_not_pulled() -> None:
    app, fake = shelf([misfit("zephyr-7b-beta")])
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "zephyr" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: len(app._notifications) == 1)
        assert fake.pulled == []


async def test_what_is_installed_is_used_and_not_pulled() -> None:
    install_fake("zephyr-7b-beta")
    app, fake = shelf([replace(offer("zephyr-7b-beta"), is_installed=True)])
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("2")
        await wait_until(lambda: "zephyr-7b-beta  installed" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: [model and model.name for model in app.chosen] == ["zephyr-7b-beta"])
        assert fake.pulled == []


# The Hub


async def test_the_hub_is_searched_and_what_is_found_is_pulled() -> None:
    asked: list[str] = []
    app, fake = shelf(
        search=lambda words: asked.append(words) or [ZEPHYR, Found("a/quants", gated=True, tags=("gguf",))]
    )
    fake.pulls = endless_download()
    async with app.run_test(size=WIDE) as pilot:
        await app.open_library(pilot)
        await pilot.press("slash")
        await pilot.press(*"zep hyr/", "enter")
        await wait_until(lambda: "153,422 downloads · 1,663 likes · 2024-10-16" in rows(pilot))
        assert asked == ["zep hyr/"]
        assert "a/quants  gated  GGUF only" in rows(pilot)
        assert "safetensors, mistral" in page(pilot)
        await pilot.press("enter")
        await wait_until(lambda: fake.pulled == [ZEPHYR.id])


async def test_an_exact_name_can_be_pulled_though_the_search_does_not_list_it() -> None:
    app, fake = shelf(search=lambda _words: [])
    fake.pulls = endless_download()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("slash", *"me/mine", "enter")
        await wait_until(lambda: "me/mine" in rows(pilot))
        await pilot.press("enter")
        await wait_until(lambda: fake.pulled == ["me/mine"])


async def test_without_a_network_a_search_says_so() -> None:
    def search(_words: str) -> list[Found]:
        raise LocalchatError("the Hub cannot be reached", "check the network")

    app, _ = shelf(search=search)
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("3")
        await pilot.pause()
        assert "nothing is sent before" in text(pilot)
        await pilot.press(*"zep", "enter")
        await wait_until(lambda: "The Hub cannot be reached. Check the network." in text(pilot))
        assert isinstance(pilot.app.focused, Input)


# Downloads


async def test_a_download_has_a_bar_and_is_stopped_and_goes_on_by_keys() -> None:
    def pull() -> Generator[object]:
        yield CHOSEN
        yield from endless_download()

    app, fake = shelf()
    fake.pulls = pull()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        app.downloads.begin("zephyr-7b-beta")
        await pilot.press("4")
        await wait_until(lambda: "downloading" in rows(pilot))
        assert "zephyr-7b-beta · Q4_K_M  downloading\n  Download" in rows(pilot)
        await wait_until(lambda: "Stop" in keys(pilot))
        assert "Use" not in keys(pilot)
        await pilot.press("s")
        await wait_until(lambda: fake.pull_closed)
        await wait_until(lambda: "What was downloaded is kept" in rows(pilot))
        await wait_until(lambda: "Go on" in keys(pilot))
        fake.pulls = [CHOSEN, Ready(install_fake("zephyr-7b-beta"))]
        await pilot.press("r")
        await wait_until(lambda: "Installed: Q4_K_M" in rows(pilot))
        await wait_until(lambda: "Use" in keys(pilot))
        await pilot.press("enter")
        await wait_until(lambda: [model and model.name for model in app.chosen] == ["zephyr-7b-beta"])


async def test_a_failed_download_says_why_and_what_to_do() -> None:
    app, fake = shelf()
    fake.pulls = [CHOSEN, LocalchatError("this needs 17 GiB of disk and \x1b[2J9 are free", "free some")]
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        app.downloads.begin("zephyr-7b-beta")
        await pilot.press("4")
        await wait_until(lambda: "failed" in rows(pilot))
        assert "This needs 17 GiB of disk and ␛[2J9 are free.\n  Free some." in rows(pilot)


async def test_the_tabs_go_round_by_arrows() -> None:
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("left")
        await wait_until(lambda: tab(pilot) == "downloads")
        assert "Nothing was pulled" in text(pilot)
        await pilot.press("right")
        await wait_until(lambda: tab(pilot) == "installed")


async def test_the_arrows_lead_through_all_tabs_and_out_of_the_search_field_at_its_ends() -> None:
    app, _ = shelf()
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        for name in ("catalog", "hub", "downloads", "hub"):
            await pilot.press("left" if name == "hub" and tab(pilot) == "downloads" else "right")
            await wait_until(lambda name=name: tab(pilot) == name)
        await pilot.press(*"ab", "left", "left")
        assert tab(pilot) == "hub"
        await pilot.press("left")
        await wait_until(lambda: tab(pilot) == "catalog")


async def test_a_repository_that_a_hub_names_twice_is_listed_once() -> None:
    app, _ = shelf(search=lambda _: [ZEPHYR, ZEPHYR])
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("3", *"zephyr", "enter")
        await wait_until(lambda: rows(pilot).count("zephyr-7b-beta") == 1)


async def test_who_types_on_while_the_hub_is_asked_gets_the_answer_and_keeps_the_field() -> None:
    gate = threading.Event()
    app, _ = shelf(search=lambda _: [ZEPHYR] if gate.wait(60) else [])
    async with app.run_test(size=NARROW) as pilot:
        await app.open_library(pilot)
        await pilot.press("3", *"zeph", "enter", "y")
        gate.set()
        await wait_until(lambda: pilot.app.screen.query_one(HubRows).option_count == 1)
        await pilot.press("r")
        assert pilot.app.screen.query_one(Input).value == "zephyr"
