"""A server on loopback that speaks OpenAI's API as far as a script says, and also as badly."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60.0
MODELS = {"object": "list", "data": [{"id": "parrot", "object": "model", "max_model_len": 4096}]}
USAGE = {"prompt_tokens": 40, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 30}}


class Hold:
    """A place in a script where the server says nothing until it is released, or until the client is gone."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its body is sent in these pieces; one that is cut ends without saying that it ends."""

    pieces: Sequence[bytes | Hold] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    is_cut: bool = False


def event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def delta(text: str | None = None, reason: str | None = None, **more: Any) -> bytes:
    """A piece of a reply as vLLM writes it."""
    content = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": {**content, **more}, "finish_reason": reason}
    return event({"object": "chat.completion.chunk", "choices": [choice]})


def usage(**counts: Any) -> bytes:
    return event({"choices": [], "usage": counts or USAGE})


END = b"data: [DONE]\n\n"
HELLO = [delta("", role="assistant"), delta("Hello "), delta("**you**"), delta(reason="stop"), usage(), END]


def as_json(value: Any, status: int = 200, **headers: str) -> Said:
    return Said([json.dumps(value).encode()], status, {"Content-Type": "application/json", **headers})


class RemoteServer:
    """What it answers can be changed at any time; what it was asked is remembered."""

    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.host = f"127.0.0.1:{port}"
        self.pages: dict[str, Said] = {"/v1/models": as_json(MODELS)}
        self.answers: list[Said] = [Said(HELLO)]
        """The last one for good."""
        self.asked: list[Asked] = []
        self.client_left = threading.Event()

    @property
    def bodies(self) -> list[Any]:
        """The questions."""
        return [asked.body for asked in self.asked if asked.method == "POST"]

    def say(self, *pieces: bytes | Hold, is_cut: bool = False) -> None:
        """Answer every question like this."""
        self.answers = [Said(pieces, is_cut=is_cut)]

    def answer(self, asked: Asked) -> Said:
        self.asked.append(asked)
        if asked.method == "POST" and asked.path == "/v1/chat/completions":
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return self.pages.get(asked.path, as_json({"detail": "Not Found"}, 404))


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[RemoteServer]:
    """A server while it is needed; with a certificate and its key, over TLS."""

    class Handler(_Handler):
        def say(self, asked: Asked) -> Said:
            return server.answer(asked)

        def leave(self) -> None:
            server.client_left.set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        server = RemoteServer(http.server_address[1], "https" if certificate else "http")
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    say: Callable[..., Said]
    leave: Callable[..., None]

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def handle(self) -> None:
        with suppress(ssl.SSLError, ConnectionError):  # a client that does not trust the certificate
            super().handle()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        said = self.say(Asked(self.command, self.path, dict(self.headers.items()), body))
        self.close_connection = True
        try:
            self._send(said)
        except OSError:
            self.leave()

    do_POST = do_GET  # noqa: N815

    def _send(self, said: Said) -> None:
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in said.pieces:
            if isinstance(piece, Hold):
                self._hold(piece)
            elif piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if not said.is_cut:
            self.wfile.write(b"0\r\n\r\n")

    def _hold(self, hold: Hold) -> None:
        """Wait as long as the client does: one that is gone sends its end."""
        hold.reached.set()
        self.connection.settimeout(0.02)
        for _ in range(int(PATIENCE_SECONDS / 0.02)):
            if hold.released.is_set():
                break
            try:
                if not self.connection.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                continue
        self.connection.settimeout(None)
