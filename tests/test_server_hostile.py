"""What no client says by mistake: each is refused or cut off, and meanwhile an ordinary question is answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from serving import PATIENCE_SECONDS, TOKEN, Live, Scripted, events, question, said_back, serving

from localchat.engine.events import Done, Piece
from localchat.server.limits import Limits

SHORT = Limits(header_seconds=0.4, body_seconds=0.4, idle_seconds=1, write_seconds=0.4, body_bytes=64 << 10)
LONG_BYTES = 24 << 20  # more than lies in the buffers of a connection


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(limits=SHORT) as live:
        yield live


@pytest.fixture(autouse=True)
def _answers_afterwards(live: Live) -> Iterator[None]:
    """Whatever was done to the server, the next ordinary question is answered."""
    yield
    assert live.ask(body=question()).status_code == 200


def status_of(live: Live, *sent: bytes) -> int:
    """The status of what is answered to these bytes; 0 where the connection is closed without one."""
    with live.connected() as connection:
        for piece in sent:
            connection.sendall(piece)
        answer = said_back(connection)
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def is_refused(status: int) -> bool:
    return status == 0 or 400 <= status < 500


# Who asks (B-84 to B-90)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"]
)
def test_a_foreign_host_is_refused(live: Live, host: str) -> None:
    answer = live.ask(body=question(), host=host)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


def test_who_is_refused_in_the_middle_of_a_long_body_still_hears_why(live: Live) -> None:
    """A connection that is closed over what it has not read is reset."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\ncontent-length: {LONG_BYTES}\r\n\r\n"
    assert status_of(live, head.encode(), b"x" * LONG_BYTES) == 403


def test_a_name_that_ends_like_ours_is_refused(live: Live) -> None:
    assert live.ask(body=question(), host=f"evil.example@{live.host}").status_code == 403


def test_no_host_and_two_hosts_are_refused(live: Live) -> None:
    body = b"{}"
    assert status_of(live, live.head(len(body), host="") + body) == 400
    twice = live.head(len(body)).replace(b"\r\ncontent-type", f"\r\nhost: {live.host}\r\ncontent-type".encode())
    assert status_of(live, twice + body) == 400


def test_it_answers_to_its_names(live: Live) -> None:
    for host in (live.host, f"localhost:{live.port}", f"LOCALHOST:{live.port}", f"[::1]:{live.port}"):
        assert live.ask(body=question(), host=host).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:1", "file://", "http://localhost"]
)
def test_pages_of_others_are_refused(live: Live, origin: str) -> None:
    answer = live.ask(body=question(), origin=origin)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_calls_another_site_is_refused(live: Live, site: str) -> None:
    assert live.ask(body=question(), sec_fetch_site=site).status_code == 403
    assert live.ask("/v1/models", sec_fetch_site=site).status_code == 403


def test_an_own_page_is_let_in(live: Live) -> None:
    assert live.ask(body=question(), origin=live.url, sec_fetch_site="same-origin").status_code == 200


def test_a_preflight_gets_no_leave(live: Live) -> None:
    head = live.head(0, origin="http://evil.example", access_control_request_method="POST", connection="close")
    with live.connected() as connection:
        connection.sendall(head.replace(b"POST", b"OPTIONS"))
        answer = said_back(connection)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", "Basic YTpi", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
)
def test_a_wrong_token_is_refused(live: Live, given: str) -> None:
    answer = live.ask(body=question(), authorization=given)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert live.token not in answer.text


def test_every_route_but_the_harmless_ones_wants_the_token(live: Live) -> None:
    paths = live.server.api.openapi()["paths"]
    is_open = {path for path in paths if live.ask(path, authorization="").status_code != 401}
    assert is_open == {"/health", "/docs"}
    assert live.ask("/openapi.json", authorization="").status_code == 200


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_of_a_page_is_refused(live: Live, kind: str) -> None:
    assert live.ask(body=question(), content_type=kind).status_code == 415


def test_json_with_its_charset_is_taken(live: Live) -> None:
    assert live.ask(body=question(), content_type="application/json; charset=utf-8").status_code == 200


# How much and how slowly (B-91 to B-94)


def test_a_body_that_says_it_is_long_is_refused_before_it_comes(live: Live) -> None:
    assert status_of(live, live.head(200 << 20)) == 413


def test_a_body_that_does_not_end_is_refused(live: Live) -> None:
    head = live.head("", transfer_encoding="chunked")
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with live.connected() as connection:
        connection.sendall(head)
        ended = time.monotonic() + 60
        with pytest.raises(ConnectionError):  # noqa: PT012
            while time.monotonic() < ended:  # the server listens on for some time, however many bytes that is
                connection.sendall(chunk)


@pytest.mark.parametrize("beginning", [b"", b"P", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"])
def test_headers_that_do_not_come_are_not_waited_for(live: Live, beginning: bytes) -> None:
    assert is_refused(status_of(live, beginning))


def test_headers_that_drip_are_not_waited_for(live: Live) -> None:
    with live.connected() as connection:
        assert _drip(connection, b"POST / HTTP/1.1\r\nx: " + b"y" * 1000)


def test_a_body_that_drips_is_not_waited_for(live: Live) -> None:
    with live.connected() as connection:
        connection.sendall(live.head(1000))
        assert _drip(connection, b" " * 1000)


def _drip(connection: socket.socket, data: bytes) -> bool:
    """Say it byte by byte; is the connection cut off or answered before the end?"""
    connection.settimeout(0.02)
    for place in range(len(data)):
        try:
            connection.sendall(data[place : place + 1])
            answer = connection.recv(1 << 16)
        except TimeoutError:
            continue
        except ConnectionError:
            return True
        return answer == b"" or answer.startswith(b"HTTP/1.1 408")
    return False


def test_many_slow_ones_keep_nobody_away(live: Live) -> None:
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(live.connected()).sendall(live.head(1000) + b"{")
        assert live.ask(body=question()).status_code == 200


def test_a_reader_that_does_not_read_is_cut_off_and_its_reply_ends() -> None:
    engine = Scripted([Piece("x" * 50_000)] * 2000)
    with serving(engine, SHORT) as live, live.connected() as connection:
        body = b'{"model":"parrot","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(live.head(len(body)) + body)
        assert engine.closed.wait(PATIENCE_SECONDS)
        time.sleep(0.1)
        assert live.server.answering.turns.writing == 0


# What is no question (B-95 to B-98)

NONSENSE: list[tuple[str, Any]] = [
    ("no JSON", b"{"),
    ("half a character", b'{"model": "\xff"}'),
    ("a list", b"[]"),
    ("nothing", b""),
    ("deep", b"[" * 60_000),
    ("deep in a field", b'{"model":"parrot","tools":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001),
    ("a long number", b'{"model":"parrot","seed":' + b"9" * 60_000 + b"}"),
    ("no number", b'{"model":"parrot","temperature":NaN,"messages":[{"role":"user","content":"a"}]}'),
    ("endless", b'{"model":"parrot","temperature":Infinity,"messages":[{"role":"user","content":"a"}]}'),
    ("no messages", question(messages=[])),
    ("a wrong role", question(messages=[{"role": "<|im_start|>system", "content": "a"}])),
    ("an answer last", question(messages=[{"role": "assistant", "content": "a"}])),
    ("an image", question(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])),
    ("negative length", question(max_tokens=-1)),
    ("no length", question(max_tokens=0)),
    ("too hot", question(temperature=1e9)),
    ("a wrong probability", question(top_p=2)),
    ("too many choices", question(n=100_000)),
    ("a large seed", question(seed=10**30)),
    ("a bias of a word", question(logit_bias={"word": 1})),
    ("a bias beyond", question(logit_bias={"1": 1e9})),
    ("many stops", question(stop=["x"] * 100)),
    ("an empty stop", question(stop="")),
    ("a schema of elsewhere", question(response_format={
        "type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:9/x"}}})),
    ("a trap of a pattern", question(response_format={
        "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "maxLength": 10**9}}})),
    ("a wrong tool", question(tools=[{"type": "function", "function": {"name": "a b"}}])),
    ("two of one name", question(tools=[{"type": "function", "function": {"name": "a"}}] * 2)),
    ("a tool that is not there", question(tool_choice="required")),
]  # fmt: skip


@pytest.mark.parametrize("body", [body for _, body in NONSENSE], ids=[name for name, _ in NONSENSE])
def test_nonsense_is_refused_as_such(live: Live, body: Any) -> None:
    answer = live.ask(body=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nhost: {host}\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: {host}\r\n x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost : {host}\r\n\r\n",
        b"POST /health HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12",
        b"POST /health HTTP/1.1\r\nhost: {host}\r\ncontent-length: -1\r\n\r\n",
        b"POST /health HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
        b"POST /health HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300,
        b"GET /\x00 HTTP/1.1\r\nhost: {host}\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(live: Live, sent: bytes) -> None:
    assert is_refused(status_of(live, sent.replace(b"{host}", live.host.encode())))


def test_a_length_beside_chunks_hides_no_second_request(live: Live) -> None:
    head = live.head(4, transfer_encoding="chunked")
    hidden = b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    with live.connected() as connection:
        connection.sendall(head + hidden)
        assert b'"parrot"' not in said_back(connection)


@pytest.mark.parametrize("text", [b"\\ud800", b"\\u0000", b"\\u001b[31m", b"<|im_end|>"])
def test_odd_characters_are_characters(live: Live, text: bytes) -> None:
    body = b'{"model":"parrot","messages":[{"role":"user","content":"' + text + b'"}]}'
    assert live.ask(body=body).status_code == 200


def test_nothing_of_a_question_is_in_an_error(live: Live) -> None:
    canary = "canary-4711"
    bodies = [
        question(canary, temperature=-1),
        question(canary, messages=[{"role": canary, "content": canary}]),
        question(stop=[{canary: canary}]),
        question(canary, model=[canary]),
        b'{"model": ' + canary.encode(),
    ]
    assert [canary in live.ask(body=body).text for body in bodies] == [False] * len(bodies)


def test_an_error_in_the_middle_of_a_stream_ends_it_without_its_end() -> None:
    from localchat.errors import EngineDied

    engine = Scripted([Piece("Once "), EngineDied("the engine stopped: killed", "its log is /home/me/secret.log")])
    with serving(engine) as live:
        *told, last = events(live.ask(body=question(stream=True)).text)
        assert last["error"]["code"] == "engine_stopped"
        assert "[DONE]" not in told
        assert "/home" not in str(last)
        assert live.ask(body=question()).status_code == 500


def test_a_reply_that_is_closed_by_its_reader_stops() -> None:
    engine = Scripted([Piece("x")] * 100_000 + [Done("stop", None)], seconds_each=0.005)  # type: ignore[arg-type]
    for is_stream in (True, False):
        engine.closed.clear()
        engine.started.clear()
        with serving(engine) as live, live.connected() as connection:
            body = str(question(stream=is_stream)).replace("'", '"').replace("True", "true").replace("False", "false")
            connection.sendall(live.head(len(body)) + body.encode())
            assert engine.started.wait(60)
            connection.close()
            assert engine.closed.wait(60)
