"""The pulls of the app, which go on whatever screen is open: one after the other, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from threading import Event, Thread
from typing import Any

from textual.app import App
from textual.signal import Signal

from localchat.errors import LocalchatError
from localchat.library import Installed
from localchat.pull.events import Progress, Pull, PullEvent, Ready
from localchat.pull.pace import Pace, Rate
from localchat.text import one_line
from localchat.tui.download import Download, after, begun, title_words
from localchat.tui.pace import seldom

PAINT_SECONDS = 0.25
TOAST_SECONDS = 15


class Downloads:
    """What is pulled, was pulled, and waits. Belongs to the app; used on its thread only.

    When the app ends, a running pull has a moment to close; what it downloaded is used by the next one of that source.
    """

    def __init__(self, app: App[Any], pull: Callable[[str], Pull]) -> None:
        self._app, self._pull = app, pull
        self._threads: dict[int, tuple[Thread, Event]] = {}
        self.all: tuple[Download, ...] = ()
        """In the order in which they were asked for."""
        self.changed: Signal[Downloads] = Signal(app, "downloads-changed")
        """Something about a download is new; many times a second while one is running."""
        self.finished: Signal[Installed] = Signal(app, "download-finished")
        """A model was installed."""

    @property
    def words(self) -> str:
        """What is going on, for the title line; empty when nothing is."""
        return title_words(self.all)

    def find(self, number: int) -> Download | None:
        """The download of this number."""
        return next((one for one in self.all if one.number == number), None)

    def begin(self, source: str, *, is_quick: bool = False) -> int:
        """Pull a source, when those before it are done; returns the number of the download.

        What is asked for twice is pulled once. `is_quick` is for what is on this disk already: it does not wait.
        """
        known = next((one for one in self.all if one.source == source and one.state != "done"), None)
        if known is None:
            known = Download(max((one.number for one in self.all), default=0) + 1, source, is_quick)
            self.all = (*self.all, known)
        self.again(known.number)
        self._start_next()
        return known.number

    def again(self, number: int) -> None:
        """Go on with one that failed or was stopped."""
        known = self.find(number)
        if known is not None and known.can_go_on:
            self._put(Download(number, known.source, known.is_quick))
            self._start_next()

    def stop(self, number: int) -> None:
        """Stop a download; what arrived is kept for the next time."""
        known = self.find(number)
        if known is None or not known.can_be_stopped:
            return
        if (running := self._threads.get(number)) is not None:
            running[1].set()
        self._put(replace(known, state="stopping" if running else "stopped"))

    def close(self, seconds: float) -> None:
        """Stop all, and wait so long at most: what stands still in the network is left behind."""
        for _, halt in self._threads.values():
            halt.set()
        for thread, _ in list(self._threads.values()):
            thread.join(seconds)

    def _put(self, download: Download) -> None:
        self.all = tuple(download if one.number == download.number else one for one in self.all)
        self.changed.publish(self)

    def _start_next(self) -> None:
        """Start what need not wait, and of the others the first if none of them is running."""
        waiting = [one for one in self.all if one.state == "waiting"]
        due = [one for one in waiting if one.is_quick]
        if not any(one.is_running and not one.is_quick for one in self.all):
            due += [one for one in waiting if not one.is_quick][:1]
        for one in due:
            self._put(begun(one))
            halt = Event()
            # A worker of Textual would be waited for when the app ends, through all attempts of a stalled download.
            thread = Thread(target=self._work, args=(one.number, one.source, halt), daemon=True, name="pull")
            self._threads[one.number] = thread, halt
            thread.start()
        self.changed.publish(self)

    def _work(self, number: int, source: str, halt: Event) -> None:
        """In the thread: the pull is read, and told to the app."""
        pace = Pace()
        failure: LocalchatError | None = LocalchatError("the pull broke off by a fault of localchat", "try it again")
        try:
            with closing(self._pull(source)) as events:
                for event in seldom(events, PAINT_SECONDS):
                    rate = pace.rate(event) if isinstance(event, Progress) else None
                    if not self._app.call_later(self._hear, number, event, rate) or halt.is_set():
                        break
            failure = None
        except LocalchatError as error:
            failure = error
        finally:
            self._app.call_later(self._end, number, failure)

    def _hear(self, number: int, event: PullEvent, rate: Rate | None) -> None:
        if (known := self.find(number)) is None:
            return
        self._put(after(known, event, rate))
        if isinstance(event, Ready):
            if not known.is_quick:
                self._say(f"{event.model.name} is ready; the library has it.")
            self.finished.publish(event.model)

    def _end(self, number: int, error: LocalchatError | None) -> None:
        self._threads.pop(number, None)
        known = self.find(number)
        if known is not None and error is not None and known.state != "stopping":
            self._put(replace(known, state="failed", error=error))
            self._app.notify(
                one_line(f"{known.name} is not installed: {error.sentences}", 500),
                severity="error", timeout=TOAST_SECONDS, markup=False,
            )  # fmt: skip
        elif known is not None and known.state != "done":
            self._put(replace(known, state="stopped"))
        self._start_next()

    def _say(self, text: str) -> None:
        self._app.notify(one_line(text, 200), timeout=TOAST_SECONDS, markup=False)
