"""A Hugging Face Hub on loopback: a folder of repositories, served as the real `huggingface_hub` reads models.

ROOT/OWNER/REPO/... is one repository. Point the client at it with HF_ENDPOINT and no network is needed.
Tests use `LocalHub` as a context manager and can make it fail or lie.
"""

import argparse
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import SHUT_RDWR
from socketserver import ThreadingTCPServer
from sys import exception
from typing import Any, Literal, NamedTuple, Self

from local_answers import Answer, Asked, Headers, HubError, Part, Site, answer
from local_repos import Repository, StoredFile, read_repository, repository_ids

CHUNK_BYTES = 64 * 1024
ETAGS = ("ETag", "X-Linked-Etag")

Lie = Literal["wrong-hash", "short-body", "200-for-206", "changed-etag"]


class Served(NamedTuple):
    """One request that was answered; `range` is what its Range header asked."""

    method: str
    path: str
    status: int
    range: str | None


class LocalHub:
    """The running Hub: `url` is what HF_ENDPOINT takes, `requests` what was asked so far."""

    def __init__(
        self,
        root: Path,
        *,
        port: int = 0,
        gated: Collection[str] = (),
        private: Collection[str] = (),
        token: str | None = None,
        moved: Mapping[str, str] | None = None,
        rate: float | None = None,
        page_size: int = 1000,
    ) -> None:
        self.lie: Lie | None = None
        self._root, self._rate = root, rate
        self._served: list[Served] = []
        self._failures: list[tuple[int, str]] = []
        self._cut_bytes: int | None = None
        self._blobs: dict[str, StoredFile] = {}
        self._free_at_seconds = 0.0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        # The CDN must be another origin, as in life: a redirect within one origin huggingface_hub 2.4 follows in its
        # HEAD too, token and all, and then it misses X-Repo-Commit in the CDN's answer. Another port is enough.
        self._servers = (_Server(self, port), _Server(self, 0))
        self.url, self.cdn_url = (server.url for server in self._servers)
        rights = (gated, private, token, moved or {})
        self._site = Site(self.url, self.cdn_url, self._ids, self._repository, self._blobs.get, *rights, page_size)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def requests(self) -> list[Served]:
        return list(self._served)

    def fail_next(self, times: int, status: int, within: str = "") -> None:
        """Answer the next requests for files (HEAD too), or else those with `within` in their path, with `status`."""
        with self._lock:
            self._failures += [(status, within)] * times

    def forgive(self) -> None:
        """Fail no more."""
        with self._lock:
            self._failures.clear()

    def cut_after(self, size: int) -> None:
        """Close the connection after `size` bytes of the next file body that is longer than that."""
        self._cut_bytes = size

    def warm(self) -> None:
        """Hash everything now, so that no client waits for it: they give up after 10 seconds."""
        for repo in repository_ids(self._root):
            self._repository(repo)

    def answer(self, asked: Asked) -> Answer:
        """What this request gets, faults and lies included."""
        status = self._planned_failure(asked.path)
        honest = _failure(status) if status else answer(self._site, _misheard(asked, self.lie))
        given = _distorted(asked, honest, self.lie)
        self._served.append(Served(asked.method, asked.target, given.status, asked.headers.get("range")))
        return given

    def body(self, given: Answer) -> Iterator[bytes]:
        """The bytes to send, no faster than `rate`, which all connections share."""
        for chunk in self._chunks(given.body):
            if self._rate:
                self._closing.wait(self._delay_seconds(len(chunk) / self._rate))
            yield chunk

    def _chunks(self, body: bytes | Part) -> Iterator[bytes]:
        if isinstance(body, bytes):
            return iter((body,))
        size = CHUNK_BYTES if self._rate is None else max(1, min(CHUNK_BYTES, int(self._rate / 20)))
        content = _content(body.file.path, body.span[: self._take_cut(len(body))], size)
        return map(_spoiled, content) if self.lie == "wrong-hash" else content

    def _ids(self) -> list[str]:
        return repository_ids(self._root)

    def _repository(self, repo: str) -> Repository | None:
        with self._lock:
            repository = read_repository(self._root, repo)
            files = repository.files.values() if repository else ()
            self._blobs.update({file.sha256: file for file in files if file.sha256})
        return repository

    def _planned_failure(self, path: str) -> int | None:
        is_file = "/resolve/" in path or path.startswith("/cdn/")
        with self._lock:
            for number, (status, within) in enumerate(self._failures):
                if within in path if within else is_file:
                    del self._failures[number]
                    return status
        return None

    def _take_cut(self, size: int) -> int | None:
        with self._lock:
            if self._cut_bytes is None or self._cut_bytes >= size:
                return None
            cut_bytes, self._cut_bytes = self._cut_bytes, None
            return cut_bytes

    def _delay_seconds(self, duration_seconds: float) -> float:
        with self._lock:
            now = time.monotonic()
            self._free_at_seconds = max(now, self._free_at_seconds) + duration_seconds
            return self._free_at_seconds - now


class _Server(ThreadingTCPServer):
    """Knows its connections, so that closing the hub ends them as a dead machine would."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, hub: LocalHub, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that stops reading (Ctrl-C, or a test of it) is no news.
        if not isinstance(exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def reply(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        given = self.server.hub.answer(Asked(self.command, self.path, headers, body))
        self._start(given.status, given.headers | {"Content-Length": str(len(given.body))})
        if self.command != "HEAD":
            self._send(given)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _start(self, status: int, headers: Headers) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, given: Answer) -> None:
        sent_bytes = 0
        for chunk in self.server.hub.body(given):
            self.wfile.write(chunk)
            sent_bytes += len(chunk)
        if sent_bytes < len(given.body):
            self.close_connection = True


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.reply)


def _failure(status: int) -> Answer:
    # The client waits a second more than it is told.
    return HubError(status, message="Planned failure", headers={"Retry-After": "0"}).answer


def _misheard(asked: Asked, lie: Lie | None) -> Asked:
    """The request as a lying Hub takes it."""
    headers = dict(asked.headers)
    if lie == "200-for-206":
        headers.pop("range", None)
    if lie == "changed-etag" and "if-range" in headers:
        headers["if-range"] = _reversed(headers["if-range"])
    return replace(asked, headers=headers)


def _distorted(asked: Asked, honest: Answer, lie: Lie | None) -> Answer:
    """The answer as a lying Hub gives it; that the bytes are altered is seen to when they are read."""
    if lie == "changed-etag":
        changed = {name: _reversed(value) for name, value in honest.headers.items() if name in ETAGS}
        return replace(honest, headers=honest.headers | changed)
    if lie == "short-body" and asked.method == "GET" and isinstance(honest.body, Part):
        return replace(honest, body=Part(honest.body.file, honest.body.span[: len(honest.body) // 2]))
    return honest


def _reversed(etag: str) -> str:
    return etag[::-1]


def _content(path: Path, span: range, chunk_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as content:
        content.seek(span.start)
        for start in range(0, len(span), chunk_bytes):
            yield content.read(min(chunk_bytes, len(span) - start))


def _spoiled(chunk: bytes) -> bytes:
    return bytes([chunk[0] ^ 0xFF]) + chunk[1:]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description="Serve a folder of model repositories as a Hugging Face Hub.")
    options.add_argument("root", type=Path, metavar="ROOT", help="folder with OWNER/REPO/...files")
    options.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    options.add_argument("--gated", nargs="+", action="extend", default=[], metavar="OWNER/REPO")
    options.add_argument("--private", nargs="+", action="extend", default=[], metavar="OWNER/REPO")
    options.add_argument("--token", help="the token that may read gated and private repositories")
    options.add_argument("--moved", nargs="+", action="extend", default=[], metavar="OLD=NEW", help="renamed ids")
    options.add_argument("--rate", type=float, metavar="BYTES_PER_SECOND", help="of all downloads together")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = vars(parser().parse_args(arguments))
    if not options["root"].is_dir():
        parser().error(f"{options['root']} is not a folder")
    moved = dict(pair.split("=", 1) for pair in options.pop("moved"))
    # A shell that starts us in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with LocalHub(**options, moved=moved) as hub:
        hub.warm()
        with suppress(KeyboardInterrupt):
            print(hub.url, flush=True)
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
