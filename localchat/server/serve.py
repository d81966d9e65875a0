"""`localchat serve`: the installed models behind a socket, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from localchat.errors import LocalchatError
from localchat.keeper import Kept, keep
from localchat.launch import plan_now
from localchat.launching import AS_SET, Launch
from localchat.library import Installed, find, installed, remember_use
from localchat.server.access import HOST_NAME, access, is_loopback
from localchat.server.app import Server
from localchat.server.limits import Limits
from localchat.server.listen import Listener, listening
from localchat.server.models import Held, Models, Served
from localchat.server.running import Running, alone, forget, record
from localchat.settings import Settings
from localchat.text import one_line

ENGINES_KNOWN = 16
LOOK_SECONDS = 1.0  # receipts are not read again for every request


@dataclass(frozen=True, slots=True)
class Wanted:
    """What server is wanted."""

    host: str
    port: int
    token: str
    """Empty asks for none."""
    has_own_token: bool
    names: tuple[str, ...] = ()
    """Of the models that may be asked for; none are all."""
    how: Launch = AS_SET
    allowed: tuple[str, ...] = ()
    """Other names by which clients may ask it."""


def serve(wanted: Wanted, settings: Settings, ready: Callable[[Running, Sequence[Served]], None]) -> None:
    """Serve until a signal ends it; `ready` hears when it can be asked. Raises LocalchatError where it cannot be."""
    check(wanted)
    shelf = Shelf(settings, wanted.names, wanted.how)
    models, limits = Models(shelf.served, shelf.load, shelf.fits_beside), Limits()
    with _ended_in_order(), alone(), listening(wanted.host, wanted.port) as endpoint:
        port = endpoint.getsockname()[1]
        rules = access(wanted.host, port, wanted.token, wanted.allowed)
        server = Server(models, lambda: rules, limits)
        _log()
        try:
            running = record(wanted.host, port, has_own_token=wanted.has_own_token)
            ready(running, models.offered())
            Listener(server.app, limits, server.answering.end).run([endpoint])
        finally:
            forget()
            shelf.close()
            server.answering.close()


def check(wanted: Wanted) -> None:
    """Raises LocalchatError for a server that everybody could use, and for names that no host has."""
    for name in wanted.allowed:
        if not HOST_NAME.match(name):
            raise LocalchatError(
                f"{one_line(name, 80)!r} is no name of a host", "give the name alone, without http:// and the port"
            )
    if not wanted.token and not is_loopback(wanted.host):
        raise LocalchatError(
            f"without a token, a server at {wanted.host} could be used by everybody who reaches this machine",
            "leave out --no-token, or --host",
        )


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A signal to end ends the process by way of its `finally`s, also before the listener hears signals itself."""
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Shelf:
    """The installed models, as the server offers and loads them."""

    def __init__(self, settings: Settings, names: Sequence[str], how: Launch) -> None:
        """`names` are those that may be asked for; none are all."""
        self._settings, self._names, self._how = settings, names, how
        self._is_closed = threading.Event()
        self._engines: deque[Kept] = deque(maxlen=ENGINES_KNOWN)
        self._known: list[Served] = []
        self._looked_at = -LOOK_SECONDS

    def served(self) -> list[Served]:
        """All that may be asked for; what was installed or removed a moment ago may be missed."""
        if (now := time.monotonic()) - self._looked_at >= LOOK_SECONDS:
            self._known = [_served(model) for model in installed() if not self._names or model.name in self._names]
            self._looked_at = now
        return self._known

    def load(self, served: Served) -> Held:
        """Its engine. Raises LocalchatError."""
        model = find(served.name)
        kept = keep(model, self._settings, self._hear, self._how)
        remember_use(model, 0)
        self._engines.append(kept)
        return kept

    def close(self) -> None:
        """A load that is under way is given up."""
        self._is_closed.set()

    def fits_beside(self, served: Served) -> bool:
        """Is there room for it as things are? Where others are on a GPU, there, or else they leave it to this one."""
        wanted = ("gpu",) if any(one.is_loaded and one.plan.gpu_layers for one in self._engines) else ("gpu", "memory")
        try:
            return plan_now(find(served.name), self._settings, self._how).fits in wanted
        except LocalchatError:
            return False

    def _hear(self, _fraction: float) -> None:
        if self._is_closed.is_set():
            raise LocalchatError("the server is stopping", "start it again")


def _served(model: Installed) -> Served:
    receipt, made_at = model.receipt, 0
    with suppress(ValueError):
        made_at = int(datetime.fromisoformat(receipt.installed_at).timestamp())
    return Served(model.name, made_at, receipt.stops, receipt.system, receipt.sampling, model.path)


def _log() -> None:
    """One line for each request on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("localchat.server")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
