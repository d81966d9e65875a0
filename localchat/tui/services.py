"""What the app stands on, given to it from outside, so that tests and screenshots can give it something else.

What takes long to import is imported when it is used, which is after the first screen is there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from localchat.engine.events import Engine, Loading, Remote
from localchat.engine.remote_model import RemoteModel
from localchat.history.store import History
from localchat.library import Installed, remove
from localchat.paths import history_file, models_folder
from localchat.plan.places import place, threads
from localchat.plan.plan import Plan
from localchat.settings import Settings
from localchat.tui.chosen import Chosen

if TYPE_CHECKING:
    from localchat.doctor.finding import Finding
    from localchat.launching import Launch
    from localchat.plan.hardware import Hardware
    from localchat.pull.events import Pull
    from localchat.pull.offers import Offer
    from localchat.pull.search import Found
    from localchat.pull.verify import Verifying


class ClosableEngine(Engine, Protocol):
    """An engine that holds memory until it is closed."""

    def close(self) -> None:
        """Give it back."""


class ClosableRemote(Remote, Protocol):
    """The same for one that runs elsewhere."""

    def close(self) -> None:
        """Leave the server."""


@dataclass(frozen=True, slots=True)
class Running:
    """A model with the engine that runs it and how it was planned."""

    model: Chosen
    engine: ClosableEngine | ClosableRemote
    plan: Plan | None
    """None where a server runs it."""
    notes: tuple[str, ...] = ()
    """What the user should know of how it was loaded."""
    place: str = ""
    """The server, where it is one."""

    @property
    def title(self) -> str:
        """The model, and where it runs."""
        where = (self.plan.quant, place(self.plan)) if self.plan else (self.place,)
        return " · ".join((self.model.name, *where))

    @property
    def detail(self) -> str:
        """What is said of the place where there is room."""
        return threads(self.plan) if self.plan else ""

    def wake(self) -> Generator[Loading]:
        """Wait until the engine is loaded, which may have died or been put away. Raises LocalchatError, EngineDied."""
        from localchat.keeper import Kept

        if isinstance(self.engine, Kept):
            yield from self.engine.wake()

    def renewed(self) -> Running:
        """The same as it runs by now; its notes are those that nobody has seen."""
        from localchat.keeper import Kept

        if not isinstance(self.engine, Kept):
            return replace(self, notes=())
        return replace(self, plan=self.engine.plan, notes=self.engine.take_notes())


def _machine() -> Hardware:
    from localchat.plan.here import this_machine

    return this_machine(models_folder()).hardware


def _examine() -> list[Finding]:
    from localchat.doctor.examine import examine

    return examine()


def _offers() -> list[Offer]:
    from localchat.pull.offers import offers

    return offers()


def _search(text: str) -> list[Found]:
    from localchat.pull.search import search

    return search(text)


def _verify(model: Installed) -> Verifying:
    from localchat.pull.verify import verify

    return verify(model)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything with an effect that the app uses."""

    history: History
    settings: Settings
    launch: Callable[[Chosen, Callable[[float], None]], Running]
    """Loads a model; blocks, reports fractions, raises LocalchatError."""
    offers: Callable[[], list[Offer]]
    pull: Callable[[str], Pull]
    """Installs a source as the user typed it."""
    machine: Callable[[], Hardware] = _machine
    """The machine as it is now; blocks, raises LocalchatError."""
    examine: Callable[[], list[Finding]] = _examine
    """Is the installation sound? Blocks for seconds."""
    search: Callable[[str], list[Found]] = _search
    """Asks the Hub; blocks, raises LocalchatError."""
    verify: Callable[[Installed], Verifying] = _verify
    remove: Callable[[str], int] = remove
    """Deletes a model; blocks, returns the bytes of its file, raises LocalchatError."""


def real_services(settings: Settings, how: Launch, now: Callable[[], Settings] | None = None) -> Services:
    """The real ones. `how` is what was asked for on the command line; `now` tells the settings, where they change."""
    current = now or (lambda: settings)

    def start(model: Chosen, progress: Callable[[float], None]) -> Running:
        if isinstance(model, RemoteModel):
            return connected(model)
        from localchat.keeper import keep

        kept = keep(model, current(), progress, how)
        return Running(model, kept, kept.plan, kept.take_notes())

    def install(source: str) -> Pull:
        from localchat.plan.wish import Wish
        from localchat.pull.install import pull
        from localchat.pull.source import parse

        return pull(parse(source), Wish(context=how.context, threads=current().threads))

    return Services(History(history_file()), settings, start, _offers, install)


def connected(model: RemoteModel) -> Running:
    """A server's model, asked for. Raises LocalchatError."""
    from localchat.engine.remote import RemoteEngine

    engine = RemoteEngine(model.url, model.name, model.token)
    return Running(replace(model, name=engine.model), engine, None, place=engine.address.host)
