"""The app over fakes: what its tests share."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fakes import ScriptedEngine
from made_up import GIB, hardware, plan

from localchat.catalog import lookup
from localchat.doctor.finding import Finding
from localchat.errors import LocalchatError
from localchat.history.store import History
from localchat.keeper import Kept
from localchat.launch import Launched
from localchat.library import Installed, Receipt, folder_for, record
from localchat.paths import history_file
from localchat.plan.hardware import Hardware
from localchat.pull.events import Progress, Pull, PullEvent
from localchat.pull.offers import Offer
from localchat.settings import Settings
from localchat.tui.app import LocalchatApp, make_app
from localchat.tui.services import Running, Services

PLAN = plan(4 * GIB, "because it fits")
PATIENCE_SECONDS = 60.0


async def wait_until(fact: Callable[[], object]) -> None:
    """Wait for a fact, not for a time; the limit is only there to fail instead of hanging."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while not fact():
        assert time.monotonic() < limit, "this never became true"
        await asyncio.sleep(0.01)


def install_fake(name: str = "parrot", system: str = "") -> Installed:
    """A model in the library whose file is of no use but there."""
    (folder_for(name) / f"{name}.gguf").write_bytes(b"GGUF")
    return record(
        Receipt(
            name=name,
            file=f"{name}.gguf",
            file_bytes=4,
            file_sha256="",
            quant="Q4_K_M",
            source="a test",
            commit=None,
            inputs={},
            recipe={},
            versions={},
            checks=(),
            system=system,
        )
    )


def endless_download() -> Iterator[PullEvent]:
    """A download that goes on until it is stopped."""
    for number in itertools.count():
        time.sleep(0.005)
        yield Progress("download", "model", number, 1 << 40)


def offer(name: str, *, is_local: bool = False) -> Offer:
    """An offer of the real catalog."""
    entry = lookup(name)
    assert entry is not None
    return Offer(entry, PLAN, "", is_installed=False, is_local=is_local)


class FakeServices:
    """The app's services over scripted engines and pulls. One engine is taken for each load, the last one for good."""

    def __init__(
        self,
        engines: Sequence[ScriptedEngine | LocalchatError] = (),
        *,
        offers: Sequence[Offer] = (),
        pulls: Iterable[PullEvent | LocalchatError] = (),
        settings: Settings | None = None,
        notes: Sequence[str] = (),
        machine: Callable[[], Hardware] = hardware,
        examine: Callable[[], list[Finding]] = list,
    ) -> None:
        """`notes` are those of all loads but the first."""
        self.engines, self.pulls, self.notes = list(engines), pulls, tuple(notes)
        self.gate = threading.Event()
        """All loads but the first wait for it, half done."""
        self.gate.set()
        self.pulled: list[str] = []
        self.loads: list[str] = []
        self.pull_closed = False
        self.services = Services(
            History(history_file()), settings or Settings(titles=False), self._launch, lambda: list(offers), self._pull,
            machine=machine, examine=examine,
        )  # fmt: skip

    def app(self, model: Installed | None) -> LocalchatApp:
        return make_app(self.services, model)

    def _launch(self, model: Installed, progress: Callable[[float], None]) -> Running:
        kept = Kept(lambda hear: self._start(model, hear), progress)
        return Running(model, kept, kept.plan, kept.take_notes())

    def _start(self, model: Installed, progress: Callable[[float], None]) -> Launched:
        self.loads.append(model.name)
        is_first = len(self.loads) == 1
        progress(0.5)
        assert is_first or self.gate.wait(PATIENCE_SECONDS)
        engine: Any = self.engines.pop(0) if len(self.engines) > 1 else self.engines[0]
        if isinstance(engine, LocalchatError):
            raise engine
        return Launched(engine, PLAN, () if is_first else self.notes)

    def _pull(self, source: str) -> Pull:
        self.pulled.append(source)
        return self._events()

    def _events(self) -> Generator[PullEvent]:
        try:
            for event in self.pulls:
                if isinstance(event, LocalchatError):
                    raise event
                yield event
        finally:
            self.pull_closed = True


def saved_texts() -> list[tuple[str, str, str]]:
    """Role, text and state of everything in the latest conversation, read from the file as another program would."""
    assert Path(history_file()).exists()
    history = History(history_file())
    try:
        headings = history.conversations()
        messages = history.messages(headings[0].id) if headings else []
    finally:
        history.close()
    return [(message.role, message.text, message.state) for message in messages]
