"""What the app stands on, given to it from outside, so that tests and screenshots can give it something else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Protocol

from localchat.engine.events import Engine, Loading, Remote
from localchat.engine.remote import RemoteEngine, RemoteModel
from localchat.history.store import History
from localchat.keeper import Kept, keep
from localchat.launch import Launch
from localchat.paths import history_file
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.pull.events import Pull
from localchat.pull.install import pull
from localchat.pull.offers import Offer, offers
from localchat.pull.source import parse
from localchat.settings import Settings
from localchat.tui.chosen import Chosen

PLACES = {"gpu": "GPU", "memory": "CPU", "partial": "GPU and CPU"}


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
        where = (self.plan.quant, PLACES[self.plan.fits]) if self.plan else (self.place,)
        return " · ".join((self.model.name, *where))

    def wake(self) -> Generator[Loading]:
        """Wait until the engine is loaded, which may have died or been put away. Raises LocalchatError, EngineDied."""
        if isinstance(self.engine, Kept):
            yield from self.engine.wake()

    def renewed(self) -> Running:
        """The same as it runs by now; its notes are those that nobody has seen."""
        if not isinstance(self.engine, Kept):
            return replace(self, notes=())
        return replace(self, plan=self.engine.plan, notes=self.engine.take_notes())


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


def real_services(settings: Settings, how: Launch) -> Services:
    """The real ones. `how` is what was asked for on the command line."""

    def start(model: Chosen, progress: Callable[[float], None]) -> Running:
        if isinstance(model, RemoteModel):
            return connected(model)
        kept = keep(model, settings, progress, how)
        return Running(model, kept, kept.plan, kept.take_notes())

    def install(source: str) -> Pull:
        return pull(parse(source), Wish(context=how.context, threads=settings.threads))

    return Services(History(history_file()), settings, start, offers, install)


def connected(model: RemoteModel) -> Running:
    """A server's model, asked for. Raises LocalchatError."""
    engine = RemoteEngine(model.url, model.name, model.token)
    return Running(replace(model, name=engine.model), engine, None, place=engine.address.host)
