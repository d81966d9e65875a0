"""How long a reply may take, and its reader; how many grammars are tried at once."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving import Live, Scripted, events, question, serving, until

from localchat.engine.events import Event, Piece, Reading
from localchat.llama import grammar
from localchat.server.limits import Limits

ENDLESS: list[Event | Exception] = [Piece("x", number) for number in range(1, 100_000)]
SHORT = Limits(reply_seconds=0.3, grace_seconds=0.3)
PATIENCE_SECONDS = 60.0
ENDS = [
    ("/v1/chat/completions", '"finish_reason":"length"'),
    ("/v1/messages", '"stop_reason":"max_tokens"'),
    ("/v1/responses", '"reason":"max_output_tokens"'),
]


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(("path", "end"), ENDS)
def test_a_reply_whose_time_is_over_ends_as_one_that_is_too_long(path: str, end: str, is_stream: bool) -> None:
    engine = Scripted(ENDLESS, seconds_each=0.005)
    body = question(stream=is_stream, max_tokens=100_000)
    if path == "/v1/responses":
        body = {"model": "parrot", "input": "Hello", "stream": is_stream}
    with serving(engine, SHORT) as live:
        answer = live.ask(path, body)
        assert answer.status_code == 200
        assert end in answer.text.replace('": "', '":"')
        assert "xxxxx" in answer.text or answer.text.count('"x"') > 5  # what was written until then is there
        assert engine.closed.wait(PATIENCE_SECONDS)


def test_what_was_written_until_then_is_counted() -> None:
    with serving(Scripted(ENDLESS, seconds_each=0.005), SHORT) as live:
        answer = live.ask(body=question()).json()
    assert answer["usage"]["completion_tokens"] == len(answer["choices"][0]["message"]["content"]) > 1
    assert answer["usage"]["prompt_tokens"] > 1


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_reply_that_has_not_begun_when_its_time_is_over_is_refused(is_stream: bool) -> None:
    engine = Scripted([Reading(number, 100_000) for number in range(100_000)], seconds_each=0.005)
    with serving(engine, SHORT) as live:
        answer = live.ask(body=question(stream=is_stream))
        error = events(answer.text)[-1]["error"] if answer.status_code == 200 else answer.json()["error"]
        assert error["code"] == "reply_timeout"
        assert engine.closed.wait(PATIENCE_SECONDS)
        until(lambda: live.server.answering.turns.writing == 0)


def test_a_prompt_that_nobody_waits_for_any_more_is_not_read_on() -> None:
    engine = Scripted([Reading(number, 100_000) for number in range(100_000)], seconds_each=0.005)
    body = json.dumps(question()).encode()
    with serving(engine) as live, live.connected() as connection:
        connection.sendall(live.head(len(body)) + body)
        assert engine.started.wait(PATIENCE_SECONDS)
        connection.close()
        assert engine.closed.wait(PATIENCE_SECONDS)


def _slowly(live: Live) -> socket.socket:
    """A connection with little room, on which an endless stream was asked for and its beginning has come."""
    body = json.dumps(question(stream=True)).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", live.port))
    connection.sendall(live.head(len(body)) + body)
    assert connection.recv(16).startswith(b"HTTP/1.1 200")
    return connection


def test_a_reader_who_reads_a_little_at_a_time_is_cut_off() -> None:
    engine = Scripted([Piece("x" * 20_000)] * 100_000)
    with serving(engine, SHORT) as live, _slowly(live) as connection:
        until(lambda: connection.recv(16_000) and not live.listener.server_state.connections, PATIENCE_SECONDS)
        assert engine.closed.is_set()


def test_a_rest_that_nobody_reads_keeps_no_connection() -> None:
    """It is shorter than what a connection may have before it counts as full, and more than the system takes."""
    engine = Scripted([Piece("x" * 50_000)] * 100)
    with serving(engine, Limits(write_seconds=0.3, idle_seconds=1)) as live, _slowly(live):
        until(lambda: not live.listener.server_state.connections, PATIENCE_SECONDS)


# Grammars


def test_few_grammars_are_tried_at_once_and_the_same_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, tried = 0, 0, list[str]()
    lock = threading.Lock()

    def ask(_module: str, question: Mapping[str, Any], *_others: Any) -> dict[str, Any]:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
            tried.append(question["text"])
        time.sleep(0.02)
        with lock:
            now -= 1
        return {"grammar": question["text"]}

    monkeypatch.setattr(grammar, "ask", ask)
    monkeypatch.setattr(grammar, "_known", {})
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(grammar.check_grammar, [f'root ::= "{number % 8}"' for number in range(32)]))
    assert most == grammar.AT_ONCE
    assert len(tried) <= 8 * grammar.AT_ONCE  # those of them that begin at the very same moment
    monkeypatch.setattr(grammar, "KNOWN", 8)
    for number in range(20):
        grammar.check_grammar(f'root ::= "new {number}"')
    assert len(grammar._known) == 8
