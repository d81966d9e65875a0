"""A live server on a free port of loopback, and engines for it that say what they are told to say."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fakes import ScriptedEngine

from localchat.catalog import lookup
from localchat.engine.events import Done, Event, Piece, Usage
from localchat.engine.process import EngineProcess
from localchat.llama.placement import Placement
from localchat.sampling import Sampling
from localchat.server.access import access
from localchat.server.app import Server
from localchat.server.limits import Limits
from localchat.server.listen import Listener, listening
from localchat.server.models import Held, Models, Served

TOKEN = "a-token-that-only-tests-know"
PATIENCE_SECONDS = 60.0
USAGE = Usage(40, 30, 3, 0.1, 0.1, 0.2)
HELLO: list[Event | Exception] = [Piece("Hello ", 1), Piece("**you**", 2), Done("stop", USAGE)]
SMOLLM2 = "smollm2"


class Scripted(ScriptedEngine):
    """One that is in memory until it is put away, and waits within its script where it is told to."""

    def __init__(
        self, script: Sequence[Event | Exception] = HELLO, *, seconds_each: float = 0, context: int = 512
    ) -> None:
        super().__init__(script, seconds_each=seconds_each, context=context)
        self.is_loaded = True
        self.replies = 0
        self.ended = 0

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        self.replies += 1
        try:
            yield from super().reply(tokens, sampling, stops)
        finally:
            self.ended += 1


class Real(EngineProcess):
    """A real one, in memory for as long as it is not closed."""

    @property
    def is_loaded(self) -> bool:
        return self.is_alive


@dataclass(frozen=True)
class Live:
    """A server that runs."""

    server: Server
    host: str
    token: str
    listener: Listener

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])

    def ask(self, path: str = "/v1/chat/completions", body: Any = None, **headers: str) -> httpx2.Response:
        """A request with a body, by POST; without one, by GET. A header that is empty is left out."""
        known = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        sent = _sent(known, headers)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        return httpx2.request(
            method, self.url + path, content=content, headers=sent, timeout=PATIENCE_SECONDS, trust_env=False
        )

    def call(self, what: Callable[[], None]) -> None:
        """Do something within the server's loop."""
        self.listener.servers[0].get_loop().call_soon_threadsafe(what)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A connection on which anything can be said."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as connection:
            yield connection

    def head(self, length: int | str, **headers: str) -> bytes:
        """The head of a question in bytes; a header that is empty is left out."""
        known = {
            "host": self.host, "authorization": f"Bearer {self.token}", "content-type": "application/json",
            "content-length": str(length),
        }  # fmt: skip
        told = (f"{name}: {value}" for name, value in _sent(known, headers).items())
        lines = ["POST /v1/chat/completions HTTP/1.1", *told, "", ""]
        return "\r\n".join(lines).encode()


def _sent(known: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Headers with changes; an empty one is left out."""
    changed = {**known, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value}


def question(text: str = "Hello", **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": "parrot", "messages": [{"role": "user", "content": text}], **more}


def events(body: str) -> list[Any]:
    """The data of a stream's events, its end too."""
    datas = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


@contextmanager
def serving(
    engine: Held | None = None, limits: Limits | None = None, *, models: Models | None = None, token: str = TOKEN,
) -> Iterator[Live]:  # fmt: skip
    """A server while it is needed. The model is called `parrot`, if there are no `models`."""
    one = engine or Scripted()
    server = Server(
        models or Models(lambda: [Served("parrot")], lambda _served: one), lambda: rules, limits or Limits()
    )
    listener = Listener(server.app, limits or Limits(), server.answering.end)
    with listening("127.0.0.1", 0) as endpoint:
        port = endpoint.getsockname()[1]
        rules = access("127.0.0.1", port, token)
        thread = threading.Thread(target=listener.run, args=([endpoint],))
        thread.start()
        try:
            until(lambda: listener.started)
            yield Live(server, f"127.0.0.1:{port}", token, listener)
        finally:
            listener.should_exit = True
            server.answering.close()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


@contextmanager
def smollm2(path: Path, folder: Path, limits: Limits | None = None) -> Iterator[Live]:
    """A server of the real small model."""
    entry = lookup(SMOLLM2)
    assert entry is not None
    served = Served(SMOLLM2, path=path)

    def load(_served: Served) -> Held:
        return Real(path, Placement(2048, 1, 256, "f16"), folder / "engine.log")

    with serving(limits=limits, models=Models(lambda: [served], load)) as live:
        yield live


def until(is_so: Any, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a fact."""
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, "it did not become so in time"
        time.sleep(0.01)


def said_back(connection: socket.socket) -> bytes:
    """All that comes until the other side is done with the connection."""
    found = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found
