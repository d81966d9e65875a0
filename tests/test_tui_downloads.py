"""Downloads: they go on under every screen, one after the other, can be stopped and go on, and say what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace

import pytest
from desk import PLAN, FakeServices, endless_download, install_fake, wait_until
from shelf import Shelf

from localchat.errors import LocalchatError
from localchat.library import Installed
from localchat.pull.events import Chosen, Progress, Pull, PullEvent, Ready
from localchat.pull.pace import Rate
from localchat.tui.download import Bar, Download, after, bars, begun, facts, title_words
from localchat.tui.downloads import Downloads

GIB = 1 << 30
CHOSEN = Chosen("zephyr", "acme/zephyr", PLAN, 12 * GIB, 4 * GIB)
LINKED = Chosen("smollm2", "a package", PLAN, 0, 0)
FAILURE = LocalchatError("the Hub has no repository a/b", "check the spelling")
Script = Callable[[], Iterable[PullEvent | LocalchatError]]


class Pulls:
    """Pulls by their sources, each with a script that is read anew; knows what was begun and closed."""

    def __init__(self, **scripts: Script) -> None:
        self.scripts = scripts
        self.begun: list[str] = []
        self.closed: list[str] = []

    def __call__(self, source: str) -> Pull:
        self.begun.append(source)
        return self._events(source)

    def _events(self, source: str) -> Generator[PullEvent]:
        try:
            for event in self.scripts[source]():
                if isinstance(event, LocalchatError):
                    raise event
                yield event
        finally:
            self.closed.append(source)


class Yard(Shelf):
    """An app with downloads and no screen that shows them."""

    def __init__(self, pulls: Pulls) -> None:
        super().__init__(FakeServices())
        self.downloads = Downloads(self, pulls)

    @property
    def states(self) -> list[str]:
        return [one.state for one in self.downloads.all]

    @property
    def toasts(self) -> list[str]:
        return [toast.message for toast in self._notifications]


def ready(name: str) -> Script:
    return lambda: [CHOSEN, Progress("convert", "x", 1, 2), Ready(install_fake(name))]


# What the app does


async def test_a_download_needs_no_screen_and_tells_when_it_is_done() -> None:
    app = Yard(Pulls(zephyr=ready("zephyr")))
    finished: list[Installed] = []
    async with app.run_test():
        app.downloads.finished.subscribe(app, finished.append)
        app.downloads.begin("zephyr")
        await wait_until(lambda: app.states == ["done"])
        await wait_until(lambda: [model.name for model in finished] == ["zephyr"])
        assert app.toasts == ["zephyr is ready; the library has it."]
        assert app.downloads.words == ""


async def test_downloads_run_one_after_the_other() -> None:
    pulls = Pulls(first=endless_download, second=ready("second"), third=ready("third"))
    app = Yard(pulls)
    async with app.run_test():
        numbers = [app.downloads.begin(source) for source in ("first", "second", "third")]
        await wait_until(lambda: app.states == ["downloading", "waiting", "waiting"])
        assert pulls.begun == ["first"]
        app.downloads.stop(numbers[0])
        await wait_until(lambda: app.states == ["stopped", "done", "done"])
        assert pulls.begun == ["first", "second", "third"]


async def test_what_is_on_this_disk_does_not_wait_and_makes_no_noise() -> None:
    app = Yard(Pulls(large=endless_download, small=ready("small")))
    async with app.run_test():
        app.downloads.begin("large")
        app.downloads.begin("small", is_quick=True)
        await wait_until(lambda: app.states == ["downloading", "done"])
        assert app.toasts == []


async def test_what_is_stopped_is_closed_and_goes_on_when_it_is_asked_for_again() -> None:
    pulls = Pulls(large=endless_download)
    app = Yard(pulls)
    async with app.run_test():
        number = app.downloads.begin("large")
        await wait_until(lambda: app.states == ["downloading"])
        app.downloads.stop(number)
        assert app.states == ["stopping"]
        await wait_until(lambda: app.states == ["stopped"])
        assert pulls.closed == ["large"]
        assert app.toasts == []
        app.downloads.again(number)
        await wait_until(lambda: app.states == ["downloading"])
        assert pulls.begun == ["large", "large"]


async def test_what_waits_can_be_stopped_before_it_begins() -> None:
    pulls = Pulls(first=endless_download, second=endless_download)
    app = Yard(pulls)
    async with app.run_test():
        app.downloads.begin("first")
        app.downloads.stop(app.downloads.begin("second"))
        assert app.states[1] == "stopped"
        await wait_until(lambda: app.states[0] == "downloading")
        assert pulls.begun == ["first"]


async def test_what_is_asked_for_twice_is_pulled_once() -> None:
    app = Yard(Pulls(large=endless_download))
    async with app.run_test():
        assert app.downloads.begin("large") == app.downloads.begin("large")
        assert len(app.downloads.all) == 1


async def test_a_failure_is_told_and_the_next_one_begins() -> None:
    app = Yard(Pulls(bad=lambda: [CHOSEN, FAILURE], good=ready("good")))
    async with app.run_test():
        app.downloads.begin("bad")
        app.downloads.begin("good")
        await wait_until(lambda: app.states == ["failed", "done"])
        assert app.downloads.all[0].error is FAILURE
        assert "zephyr is not installed: the Hub has no repository a/b. Check the spelling." in app.toasts


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is told as Python tells it
async def test_a_fault_of_the_program_ends_a_download_like_a_failure() -> None:
    app = Yard(Pulls())  # KeyError
    async with app.run_test():
        app.downloads.begin("anything")
        await wait_until(lambda: app.states == ["failed"])
        assert "by a fault of localchat" in str(app.downloads.all[0].error)


async def test_hostile_words_of_a_failure_are_shown_harmlessly() -> None:
    app = Yard(Pulls(bad=lambda: [LocalchatError("\x1b[2J[red]no[/red]\x9b", "\u202ehint")]))
    async with app.run_test():
        app.downloads.begin("bad")
        await wait_until(lambda: app.states == ["failed"])
        assert app.toasts == ["bad is not installed: ␛[2J[red]no[/red]. hint."]


async def test_when_the_app_ends_the_pull_is_closed() -> None:
    pulls = Pulls(large=endless_download)
    app = Yard(pulls)
    async with app.run_test() as pilot:
        app.downloads.begin("large")
        await wait_until(lambda: app.states == ["downloading"])
        await pilot.press("ctrl+q")
    await wait_until(lambda: pulls.closed == ["large"])


async def test_a_stop_during_a_request_that_fails_is_a_stop() -> None:
    def stuck() -> Generator[PullEvent | LocalchatError]:
        yield CHOSEN
        while app.states != ["stopping"]:
            time.sleep(0.005)
        yield FAILURE

    app = Yard(Pulls(slow=stuck))
    async with app.run_test():
        number = app.downloads.begin("slow")
        await wait_until(lambda: app.downloads.all[0].chosen is not None)
        app.downloads.stop(number)
        await wait_until(lambda: app.states == ["stopped"])
        assert app.toasts == []


# What a download says


def going(*events: PullEvent, rate: Rate | None = None) -> Download:
    download = begun(Download(1, "acme/zephyr"))
    for event in events:
        download = after(download, event, rate)
    return download


HALF = Progress("download", "model-1.safetensors", 6 * GIB, 12 * GIB)


def test_the_name_is_that_of_the_source_until_it_is_known() -> None:
    assert going().name == "zephyr"
    assert Download(1, "https://huggingface.co/acme/other/").name == "other"
    assert going(replace(CHOSEN, name="mine")).name == "mine"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), ()),
        ((CHOSEN,), (Bar("Download", 0.0),)),
        ((CHOSEN, HALF), (Bar("Download", 0.5),)),
        ((replace(CHOSEN, download_bytes=0),), (Bar("Quantize", 0.0),)),
        ((CHOSEN, HALF, Progress("convert", "x", 1, 4)), (Bar("Download", 1.0), Bar("Quantize", 0.25))),
        ((LINKED, Progress("check", "x", 1, 2)), (Bar("Check", 0.5),)),
        ((CHOSEN, Progress("download", "x", 0, 0)), (Bar("Download", 1.0),)),
    ],
)
def test_each_step_has_a_bar(events: tuple[PullEvent, ...], expected: tuple[Bar, ...]) -> None:
    assert bars(going(*events)) == expected


def test_progress_is_told_with_its_rate_and_what_is_left_and_the_item_where_there_is_room() -> None:
    download = going(CHOSEN, HALF, rate=Rate(50 * (1 << 20), 123.0))
    words = "6.0 GiB of 12.0 GiB · 50.0 MiB/s · 2 min 03 s left"
    assert facts(download, 60) == words
    assert facts(download, 100) == f"{words} · model-1.safetensors"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(12.4, "12 s"), (89, "89 s"), (91, "2 min"), (740, "12 min"), (7500, "2 h 05 min")],
)
def test_the_title_line_says_what_is_going_on(seconds: float, words: str) -> None:
    assert title_words([going(CHOSEN, HALF, rate=Rate(1.0, seconds))]) == f"↓ zephyr 50 %, {words} left"


def test_the_title_line_counts_what_waits_and_names_what_is_not_a_download() -> None:
    running = going(CHOSEN, Progress("convert", "x", 1, 4))
    assert title_words([running, Download(2, "a/b")]) == "↓ zephyr quantizing 25 % (+1)"
    assert title_words([going()]) == "↓ zephyr looking"
    assert title_words([replace(running, state="stopped")]) == ""
    assert title_words([]) == ""


def test_progress_after_a_stop_was_asked_for_does_not_undo_it() -> None:
    assert after(replace(going(CHOSEN), state="stopping"), HALF).state == "stopping"


async def test_what_is_stopped_before_it_began_to_run_does_not_keep_the_others_waiting() -> None:
    app = Yard(Pulls(large=endless_download, small=ready("small")))
    async with app.run_test():
        app.downloads.stop(app.downloads.begin("large"))
        app.downloads.begin("small")
        await wait_until(lambda: app.states == ["stopped", "done"])


async def test_the_app_ends_beside_a_download_that_stands_still() -> None:
    goes_on = threading.Event()

    def stalled() -> Generator[PullEvent]:
        yield CHOSEN
        yield Progress("download", "x", 1, 3)
        goes_on.wait()
        yield Progress("download", "x", 2, 3)

    pulls = Pulls(large=stalled)
    app = Yard(pulls)
    async with app.run_test():
        app.downloads.begin("large")
        await wait_until(lambda: app.states == ["downloading"])
    app.downloads.close(0.01)
    assert pulls.closed == [], "it was left behind"
    goes_on.set()
    await wait_until(lambda: pulls.closed == ["large"])
