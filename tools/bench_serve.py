"""Clients of our server beside those of llama-server: the same model, threads, slots, questions, and way to ask.

`bench_serve.py MODEL PORT THREADS SLOTS` is our server as it is measured: with this model alone, and without a token.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_clients import free_port, server_ready
from bench_engine import Where, engine_with
from bench_rows import Row, in_turn, paired

from localchat.chat import prompt_for
from localchat.conversation import Conversation
from localchat.engine.events import Piece
from localchat.engine.process import EngineProcess
from localchat.llama.placement import Placement
from localchat.sampling import Sampling
from localchat.server.access import access
from localchat.server.app import Server
from localchat.server.limits import Limits
from localchat.server.listen import Listener, listening
from localchat.server.models import Models, Served

CLIENTS = (1, 4, 8, 16)
SLOTS = max(CLIENTS)
CONTEXT_TOKENS, BATCH_TOKENS, WRITTEN_TOKENS = 8192, 512, 64
FIRST_TOKENS = 200  # single ones differ by several milliseconds either way
REST_SECONDS = 0.05  # in which the threads of the other engine stop spinning
TEXT = "The whale swam on and the ship followed it. " * 6
ANSWER_SECONDS = 300.0
NAME = "model"
LOCAL = "127.0.0.1"
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a question."""

    tokens: int
    first_seconds: float


def serve_rows(model: Path, llama_server: Path | None, threads: int, runs: int) -> Iterator[Row]:
    """Tokens a second for so many clients together, and what the way over HTTP adds to the first token."""
    with (
        _ours(model, threads) as ours,
        _theirs(llama_server, model, threads) as theirs,
        engine_with(model, CONTEXT_TOKENS, Where(threads), SLOTS) as engine,
    ):
        end = engine.loaded.special_tokens.get(engine.loaded.eos)
        asking = _Asking(end)
        for clients in CLIENTS:
            yield _throughput(asking, ours, theirs, clients, runs)
        yield _overhead(asking, ours, engine)


class _Asking:
    """Questions that nobody has asked before."""

    def __init__(self, end: int | None) -> None:
        """`end` is the token that ends a reply: it is forbidden, so that all are of the same length."""
        self._bias = {} if end is None else {"logit_bias": {str(end): -100}}
        self._number = 0

    def text(self) -> str:
        """The next one."""
        self._number += 1
        return f"{self._number}. {TEXT}"

    def short(self) -> str:
        """One that is read so fast that the time of all else shows."""
        self._number += 1
        return f"What is {self._number}?"

    def ask(self, port: int, text: str) -> Heard:
        """Ask for a stream by a connection of its own."""
        with connected(port) as connection:
            return self.ask_on(connection, text, WRITTEN_TOKENS)

    def ask_on(self, connection: socket.socket, text: str, tokens: int) -> Heard:
        """Ask for a stream, and read it with as little work as can be: the cores are the servers'."""
        body = {
            "model": NAME, "messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": tokens,
            "temperature": 0, "stream_options": {"include_usage": True}, "cache_prompt": False, **self._bias,
        }  # fmt: skip
        data = json.dumps(body).encode()
        host, port = connection.getpeername()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        asked = time.perf_counter()
        connection.sendall(head.encode() + data)
        return _heard(connection, asked)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection for one question after the other, as clients keep them."""
    with socket.create_connection((LOCAL, port), ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _heard(connection: socket.socket, asked: float) -> Heard:
    found, first = bytearray(), 0.0
    while not found.endswith(LAST_CHUNK) and (piece := connection.recv(1 << 16)):
        found += piece
        if not first and b'"content":"' in found.replace(b'"content":""', b"").replace(b'"content": ', b'"content":'):
            first = time.perf_counter() - asked
    [counts] = [line for line in found.split(b"\n") if b'"total_tokens"' in line]
    return Heard(int(json.loads(counts.removeprefix(b"data: "))["usage"]["completion_tokens"]), first)


def _throughput(asking: _Asking, ours: int, theirs: int, clients: int, runs: int) -> Row:
    rounds = [[asking.text() for _ in range(clients)] for _ in range(runs + 1)]
    ways = [lambda run, port=port: _rate(asking, port, rounds[run]) for port in (ours, theirs) if port]
    # the first round pages the weights in
    our_rates, their_rates, *_ = [*(found[1:] for found in in_turn(ways, runs + 1, REST_SECONDS)), []]
    return paired(f"serve {WRITTEN_TOKENS} tokens to each of {clients}", "tokens/s", our_rates, their_rates)


def _rate(asking: _Asking, port: int, texts: Sequence[str]) -> float:
    with ThreadPoolExecutor(len(texts)) as pool:
        started = time.perf_counter()
        written = sum(heard.tokens for heard in pool.map(lambda text: asking.ask(port, text), texts))
    return written / (time.perf_counter() - started)


def _overhead(asking: _Asking, port: int, engine: EngineProcess) -> Row:
    """The first token over HTTP less the same from an engine that is asked directly, with its prompt made already."""
    texts = [asking.short() for _ in range(FIRST_TOKENS)]
    with connected(port) as connection:
        by_http, bare = in_turn(
            [
                lambda run: asking.ask_on(connection, texts[run], 1).first_seconds,
                lambda run: _bare_seconds(engine, texts[run]),
            ],
            FIRST_TOKENS,
            REST_SECONDS,
        )
    more = [one - other for one, other in zip(by_http, bare, strict=True)]
    return Row("first token by HTTP, beyond the engine's own", "ms", 1000 * statistics.median(more))


def _bare_seconds(engine: EngineProcess, text: str) -> float:
    sampling = Sampling(temperature=0, max_tokens=1)
    prompt = prompt_for(engine, Conversation().ask(text), sampling)
    asked = time.perf_counter()
    for event in engine.reply(prompt.tokens, sampling, ()):
        if isinstance(event, Piece):
            found = time.perf_counter() - asked
    return found


@contextmanager
def _ours(model: Path, threads: int) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, __file__, str(model), str(port), str(threads), str(SLOTS)]
    with _running(command, port):
        yield port


@contextmanager
def _theirs(program: Path | None, model: Path, threads: int) -> Iterator[int]:
    """The port of a llama-server; 0 where there is no such program."""
    if program is None:
        yield 0
        return
    port = free_port()
    command = [
        str(program), "-m", str(model), "--port", str(port), "-np", str(SLOTS), "-t", str(threads),
        "-c", str(CONTEXT_TOKENS), "--kv-unified", "--no-webui",
    ]  # fmt: skip
    with _running(command, port):
        yield port


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            server_ready(f"http://{LOCAL}:{port}")
            yield
        finally:
            process.terminate()


class StayingEngine(EngineProcess):
    """One that stays in memory."""

    @property
    def is_loaded(self) -> bool:
        """It is never put away."""
        return True


def main(model: Path, port: int, threads: int, slots: int) -> None:
    """Serve until a signal comes."""
    with tempfile.TemporaryDirectory() as folder, listening(LOCAL, port) as endpoint:
        placement = Placement(CONTEXT_TOKENS, threads, BATCH_TOKENS, "f16", slots=slots)
        engine = StayingEngine(model, placement, Path(folder) / "engine.log")
        rules = access(LOCAL, port, "")
        server = Server(Models(lambda: [Served(NAME)], lambda _served: engine), lambda: rules, Limits(replies=slots))
        Listener(server.app, Limits(stop_seconds=0), server.answering.end).run([endpoint])
        server.answering.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
