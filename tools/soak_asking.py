"""A client of a server under load: requests of all its protocols over plain connections, and what the answers say."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

LOCAL, NAME, TOKEN = "127.0.0.1", "model", "a-token-of-more-than-16"
PATHS = {
    "chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses",
    "completions": "/v1/completions", "embeddings": "/v1/embeddings",
}  # fmt: skip
WRITTEN_TOKENS, LIKELIEST = 24, 5
LATE_SECONDS = 60.0
TRIES = 12
NEW_CONNECTIONS = 0.3  # of all requests; the others come over one that was used already
IDLE_SECONDS = 20.0  # after which it is not used again: the server ends it after 30
BREAK = struct.pack("ii", 1, 0)  # a close that says so at once, in the middle of whatever is sent
LAST_EVENTS = {
    "chat": "[DONE]", "completions": "[DONE]", "messages": "message_stop",
    "responses": "response.incomplete response.completed",
}  # fmt: skip

Body = dict[str, Any]
Talk = tuple[tuple[str, str], ...]
"""Roles and texts."""


class Fault(Exception):
    """An answer that a client should never see."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def value(self) -> Any:
        """As JSON. Raises Fault."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Fault(f"no JSON: {self.body[:80]!r}") from error


@dataclass(slots=True)
class Client:
    """One that is patient when it is asked to be."""

    port: int
    chance: random.Random
    turned_away: int = 0
    _connection: HTTPConnection | None = field(default=None, repr=False)
    _used_at: float = 0.0

    def ask(self, path: str, body: Body | bytes | None = None, method: str = "", **headers: str) -> Answer:
        """The answer, after as much patience as the server asks for. Raises Fault, OSError, HTTPException."""
        for _ in range(TRIES):
            started = time.monotonic()
            answer, wait = self._once(path, body, method, headers)
            if time.monotonic() - started > LATE_SECONDS:
                raise Fault(f"late: {path}")
            if answer.status != 429:
                return answer
            if not wait.isdecimal() or not 0 < int(wait) <= LATE_SECONDS:
                raise Fault(f"a 429 that asks to wait {wait!r} seconds")
            self.turned_away += 1
            self.close()
            time.sleep(int(wait))
        raise Fault(f"turned away {TRIES} times")

    def get(self, path: str, body: Body | bytes | None = None) -> Any:
        """The JSON of an answer that must be one. Raises as `ask` does."""
        answer = self.ask(path, body)
        if answer.status != 200:
            raise Fault(f"{answer.status}: {answer.body[:120]!r}")
        return answer.value

    def leave(self, path: str, body: Body, after_bytes: int) -> bytes:
        """Ask, and go when so many bytes have come, which are returned; below 0 in the middle of the question."""
        data = json.dumps(body).encode()
        head = "".join(f"{key}: {value}\r\n" for key, value in _headers({"content-length": str(len(data))}).items())
        asked = f"POST {path} HTTP/1.1\r\nhost: {LOCAL}:{self.port}\r\n{head}\r\n".encode() + data
        found = bytearray()
        with socket.create_connection((LOCAL, self.port), LATE_SECONDS) as connection:
            connection.sendall(asked[:after_bytes] if after_bytes < 0 else asked)
            while len(found) < after_bytes and (piece := connection.recv(after_bytes - len(found))):
                found += piece
            if not found:
                time.sleep(self.chance.choice([0, 0, 0.02, 0.3]))
            if self.chance.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, BREAK)
        return bytes(found)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _once(
        self, path: str, body: Body | bytes | None, method: str, headers: Mapping[str, str]
    ) -> tuple[Answer, str]:
        is_old = time.monotonic() - self._used_at > IDLE_SECONDS
        if self._connection is None or is_old or self.chance.random() < NEW_CONNECTIONS:
            self.close()
            self._connection = HTTPConnection(LOCAL, self.port, timeout=LATE_SECONDS)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        try:
            self._connection.request(method or ("GET" if body is None else "POST"), path, data, _headers(headers))
            response = self._connection.getresponse()
            answer = Answer(response.status, response.read())
            self._used_at = time.monotonic()
            return answer, response.headers.get("retry-after", "")
        except (OSError, HTTPException):
            self.close()
            raise


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    given = {name.replace("_", "-"): value for name, value in more.items()}
    return {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", **given}


# The same question in each protocol


def body_of(protocol: str, talk: Talk, *, is_stream: bool = False, **more: Any) -> Body:
    """The body that asks this; completions are asked to go on with the last text."""
    limit = "max_output_tokens" if protocol == "responses" else "max_tokens"
    body = {"model": NAME, "temperature": 0, limit: WRITTEN_TOKENS, "stream": is_stream, **more}
    messages = [{"role": role, "content": text} for role, text in talk]
    if protocol == "completions":
        return {**body, "prompt": talk[-1][1]}
    return {**body, ("input" if protocol == "responses" else "messages"): messages}


def text_of(protocol: str, answer: Any) -> str:
    """What a whole answer says."""
    match protocol:
        case "chat":
            return str(answer["choices"][0]["message"]["content"])
        case "completions":
            return str(answer["choices"][0]["text"])
        case "messages":
            return "".join(block["text"] for block in answer["content"])
    return "".join(part["text"] for item in answer["output"] for part in item["content"])


def text_in(protocol: str, stream: bytes) -> str:
    """What a stream says. Raises Fault for one that is broken off, or tells of an error."""
    lines = [line.removeprefix("data: ") for line in stream.decode().split("\n") if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    last = lines[-1] if protocol in ("chat", "completions") else events[-1]["type"] if events else ""
    if not lines or last not in LAST_EVENTS[protocol].split() or any(event.get("error") for event in events):
        raise Fault(f"a stream of {protocol} that ends with {lines[-1:]}")
    return "".join(_piece(protocol, event) for event in events)


def _piece(protocol: str, event: Any) -> str:
    match protocol, event.get("type"):
        case "chat", _:
            return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        case "completions", _:
            return "".join(choice["text"] for choice in event["choices"])
        case "messages", "content_block_delta":
            return str(event["delta"]["text"])
        case "responses", "response.output_text.delta":
            return str(event["delta"])
    return ""


def vector_of(answer: Any) -> list[float]:
    """The vector, in either form."""
    found = answer["data"][0]["embedding"]
    if isinstance(found, str):
        data = b64decode(found)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return [float(value) for value in found]


def say(client: Client, protocol: str, talk: Talk, *, is_stream: bool = False, **more: Any) -> str:
    """The text that answers this. Raises Fault, OSError, HTTPException."""
    answer = client.ask(PATHS[protocol], body_of(protocol, talk, is_stream=is_stream, **more))
    if answer.status != 200:
        raise Fault(f"{answer.status}: {answer.body[:120]!r}")
    with suppress(KeyError, TypeError, IndexError, ValueError):
        return text_in(protocol, answer.body) if is_stream else text_of(protocol, answer.value)
    raise Fault(f"no answer of {protocol}: {answer.body[:120]!r}")


def numbers_of(client: Client) -> dict[str, float]:
    """The server's own counts that have no labels. Raises as `ask` does."""
    lines = client.ask("/metrics").body.decode().splitlines()
    pairs: Sequence[tuple[str, str, str]] = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name.removeprefix("localchat_"): float(value) for name, _, value in pairs}
