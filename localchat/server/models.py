"""The models that can be asked for, and the engines of those that are: loaded when asked for, two where both fit."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from localchat.chat import Sleeper
from localchat.engine.events import Engine, Event
from localchat.errors import EngineDied, LocalchatError, NoMemory
from localchat.lifetime import GivenUp
from localchat.server.refusal import Refusal, left, refusal_of

NAMES_SHOWN = 8
RETRY_SECONDS = 30
LOOK_SECONDS = 0.5  # so often whoever waits looks whether the client is still there

LOG = logging.getLogger("localchat.server")


@dataclass(frozen=True, slots=True)
class Served:
    """A model that can be asked for."""

    name: str
    made_at: int = 0
    """Seconds of the epoch."""
    stops: tuple[str, ...] = ()
    """Texts that end a reply besides the model's own tokens."""
    system: str = ""
    """What it is told where the request says nothing."""
    sampling: Mapping[str, float] = field(default_factory=dict)
    """What its authors recommend."""
    path: Path | None = None
    """The model file, where grammars are tried with its vocabulary."""


class Held(Engine, Protocol):
    """An engine that may be put away meanwhile, and comes back by itself."""

    @property
    def is_loaded(self) -> bool:
        """Is it in memory?"""

    def embed(self, tokens: Sequence[int]) -> Generator[Event]:
        """The vector of a text: the last event is Embedded. Raises as `reply` does."""

    def close(self) -> None:
        """Give everything back, for good."""


@dataclass(eq=False, slots=True)
class _Place:
    """An engine, and how many use it."""

    engine: Held
    uses: int = 0
    used_at: int = 0
    """Larger for those that were used later."""


class Models:
    """Any thread may call it. Close it to end all engines."""

    def __init__(
        self, shelf: Callable[[], Sequence[Served]], load: Callable[[Served], Held],
        fits_beside: Callable[[Served], bool] = lambda _served: False,
    ) -> None:  # fmt: skip
        """`load` makes the engine of a model; `fits_beside` says whether that goes without others leaving."""
        self._shelf, self._load, self._fits_beside = shelf, load, fits_beside
        self._changed = threading.Condition()  # guards all that follows
        self._places: dict[str, _Place] = {}
        self._line: deque[object] = deque()
        """Those who need a model that is not in memory; the first of them sees to that."""
        self._is_making_room = False
        self._is_closed = False
        self._count = 0

    def offered(self) -> Sequence[Served]:
        """All of them."""
        return self._shelf()

    def served(self, name: str) -> Served:
        """The one of this name. Raises Refusal with the names that there are."""
        known = self._shelf()
        for served in known:
            if served.name == name:
                return served
        names = ", ".join(served.name for served in known[:NAMES_SHOWN]) or "none; install one with localchat pull"
        raise Refusal(404, "model_not_found", "there is no model of that name here", f"the models are: {names}",
                      param="model")  # fmt: skip

    def loaded(self) -> dict[str, Held]:
        """The engines of those that are in memory."""
        with self._changed:
            return {name: place.engine for name, place in self._places.items() if place.engine.is_loaded}

    @contextmanager
    def using(self, served: Served, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[Held]:
        """Its engine, loaded if need be. Raises Refusal where that cannot be, or is not wanted any more."""
        place = self._take(served, is_wanted)
        try:
            yield place.engine
        except EngineDied as death:
            _tell(served, death)
            raise
        finally:
            with self._changed:
                place.uses -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """End all engines, whatever they do."""
        with self._changed:
            self._is_closed = True
            places = list(self._places.values())
            self._changed.notify_all()
        for place in places:
            place.engine.close()

    def _take(self, served: Served, is_wanted: Callable[[], bool]) -> _Place:
        ticket = object()
        try:
            with self._changed:
                self._wait_for(lambda: self._is_first(ticket, served), is_wanted)
                if place := self._ready(served):
                    return self._begin(place)
            self._make_room(served, is_wanted)
            return self._bring(served)
        finally:
            with self._changed:
                self._leave(ticket)

    def _is_first(self, ticket: object, served: Served) -> bool:
        """May this one go on: to use what is there, or to load it?"""
        if self._ready(served) and not self._is_making_room:
            return True  # who only uses what is there does not wait for those who load
        if ticket not in self._line:
            self._line.append(ticket)
        return self._line[0] is ticket

    def _wait_for(self, is_so: Callable[[], bool], is_wanted: Callable[[], bool]) -> None:
        """Raises Refusal where all ends before, or nobody waits for it any more."""
        self._check_open()
        while not is_so():
            self._changed.wait(LOOK_SECONDS)
            self._check_open()
            if not is_wanted():
                raise left()

    def _ready(self, served: Served) -> _Place | None:
        place = self._places.get(served.name)
        return place if place is not None and place.engine.is_loaded else None

    def _leave(self, ticket: object) -> None:
        if ticket in self._line:
            self._line.remove(ticket)
            self._changed.notify_all()

    def _begin(self, place: _Place) -> _Place:
        self._count += 1
        place.uses, place.used_at = place.uses + 1, self._count
        return place

    # What only the first of the line does

    def _make_room(self, served: Served, is_wanted: Callable[[], bool]) -> None:
        """Put others away, those that were not used for the longest time first, until it fits."""
        while (others := self._others(served)) and not self._fits_beside(served):
            with self._changed:
                self._is_making_room = True
                try:
                    self._wait_for(lambda: any(not place.uses for place in others.values()), is_wanted)
                    idle = [name for name, place in others.items() if not place.uses]
                    first = min(idle, key=lambda name: others[name].used_at)
                    gone = self._places.pop(first)
                finally:
                    self._is_making_room = False
            gone.engine.close()

    def _others(self, served: Served) -> dict[str, _Place]:
        """Those that are not in memory too: they may be on their way back."""
        with self._changed:
            return {name: place for name, place in self._places.items() if name != served.name}

    def _bring(self, served: Served) -> _Place:
        """It in memory. Why that cannot be is for the log; the client has nothing to do with files of this machine."""
        try:
            place = self._woken(served) or _Place(self._load(served))
        except LocalchatError as error:
            _tell(served, error)
            if isinstance(error, NoMemory):
                raise refusal_of(error) from error
            raise Refusal(
                503, "model_not_loaded", "the model could not be loaded", wait_seconds=RETRY_SECONDS
            ) from error
        with self._changed:
            if self._is_closed:
                place.engine.close()
            self._check_open()
            self._places[served.name] = place
            return self._begin(place)

    def _woken(self, served: Served) -> _Place | None:
        """The one that was put away, or has died; None where there is none that comes back."""
        with self._changed:
            place = self._places.get(served.name)
        if place is None:
            return None
        try:
            awake(place.engine)
        except GivenUp:  # for itself; it is tried once again for whoever asks
            with self._changed:
                self._places.pop(served.name, None)
            place.engine.close()
            return None
        return place

    def _check_open(self) -> None:
        if self._is_closed:
            raise Refusal(503, "stopping", "the server is stopping")


def awake(engine: Engine) -> Engine:
    """The same, in memory. Raises LocalchatError."""
    if isinstance(engine, Sleeper):
        for _ in engine.wake():
            pass
    return engine


def _tell(served: Served, error: LocalchatError) -> None:
    LOG.warning("%s: %s; %s", served.name, error, error.hint)
