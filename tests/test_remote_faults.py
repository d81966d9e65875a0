"""What servers do wrong becomes one sentence and a next step; nothing hostile passes, and the token never."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from remote_server import END, RemoteServer, Said, as_json, delta, event, serving

from localchat.conversation import Message
from localchat.engine.events import Event, Piece
from localchat.engine.openai import asking, stream
from localchat.engine.openai.address import address_of
from localchat.engine.openai.fields import complaint, parsed
from localchat.engine.openai.refusal import explained
from localchat.engine.openai.stream import EventStream
from localchat.engine.remote import RemoteEngine
from localchat.errors import LocalchatError
from localchat.sampling import Sampling
from localchat.text import one_line

CERTIFICATE = Path(__file__).parent / "data" / "loopback.pem"  # self-signed, of 127.0.0.1, with its key
HELLO = [Message("user", "Hi")]
PLAIN = Sampling(top_k=0, min_p=0)
TOKEN = "sesame-1234"


@pytest.fixture
def server() -> Iterator[RemoteServer]:
    with serving() as server:
        yield server


def ask(server: RemoteServer, seen: list[Event] | None = None) -> LocalchatError:
    """What a question fails with; the events before it go to `seen`."""
    engine = RemoteEngine(server.url, token=TOKEN)
    with pytest.raises(LocalchatError) as raised:  # noqa: PT012
        for event in engine.answer(HELLO, PLAIN, []):
            if seen is not None:
                seen.append(event)
    return checked(raised.value)


def connect(url: str) -> LocalchatError:
    """What a connection fails with."""
    with pytest.raises(LocalchatError) as raised:
        RemoteEngine(url, token=TOKEN)
    return checked(raised.value)


def checked(error: LocalchatError) -> LocalchatError:
    """Every error is a short clean sentence with a next step, and has no token in it."""
    for text in (str(error), error.hint):
        assert text
        assert text == one_line(text, 500)
        assert TOKEN not in text
    return error


# Addresses


ADDRESSES = [
    ("", "begins with http"),
    ("localhost:8000/v1", "begins with http"),
    ("ftp://host/v1", "begins with http"),
    ("file:///etc/passwd", "begins with http"),
    ("http://", "no host"),
    ("http:///v1", "no host"),
    ("http://a b/v1", "no host"),
    ("http://a\\b/v1", "no host"),
    ("http://host:99999/v1", "no host"),
    ("http://" + "a" * 64, "no host"),
    ("http://a..b", "no host"),
    ("http://.", "no host"),
    ("http://" + "ü" * 64, "no address"),
    ("http://ho\nst/v1", "no address"),
    ("http://[::1/v1", "no address"),
    ("http://host/v1?key=secret", "has a ?"),
    ("http://host/v1#secret", "has a ?"),
    ("http://user:secret@host/v1", "name or password"),
    ("http://secret@host/v1", "name or password"),
    ("http://secret\\@host/v1", "name or password"),
    ("ftp://secret@host/v1", "name or password"),
]


@pytest.mark.parametrize(("url", "words"), ADDRESSES)
def test_what_is_no_address_is_refused_and_never_repeated(url: str, words: str) -> None:
    with pytest.raises(LocalchatError, match=words) as raised:
        address_of(url)
    assert "secret" not in str(raised.value) + raised.value.hint


def test_credentials_in_the_address_are_refused_with_the_way_to_give_a_token() -> None:
    assert "LOCALCHAT_REMOTE_TOKEN" in connect("http://user:secret@127.0.0.1/v1").hint


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://localhost:1/v1", True), ("http://LOCALHOST./v1", True), ("http://a.localhost", True),
        ("http://127.8.9.1:1", True), ("http://[::1]:1", True), ("http://0.0.0.0:1", True),
        ("http://localhost.example.org", False), ("http://notlocalhost", False), ("http://10.0.0.1", False),
    ],
)  # fmt: skip
def test_it_is_known_which_addresses_are_of_this_machine(url: str, is_here: bool) -> None:
    assert address_of(url).is_here == is_here


def test_no_proxy_hears_what_is_said_to_this_machine(server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert RemoteEngine(server.url).model == "parrot"


# The connection


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_server_that_does_not_run_is_said_to_be_unreachable() -> None:
    port = free_port()
    error = connect(f"http://127.0.0.1:{port}/v1")
    assert str(error).startswith(f"127.0.0.1:{port} cannot be reached: ")
    assert "is the server running" in error.hint


def test_a_host_that_does_not_exist_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert f"cannot be reached: [Errno {socket.EAI_NONAME}] Name or service not known" in str(
        connect("http://nowhere.invalid/v1")
    )


def test_https_to_a_server_without_it_says_so(server: RemoteServer) -> None:
    assert "TLS" in str(connect(server.url.replace("http:", "https:")))


def test_a_certificate_that_nobody_vouches_for_is_refused_and_can_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(CERTIFICATE) as server:
        error = connect(server.url)
        assert f"the certificate of {server.host} cannot be trusted" in str(error)
        assert "SSL_CERT_FILE" in error.hint
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        events = list(RemoteEngine(server.url).answer(HELLO, PLAIN, []))
    assert Piece("Hello ", 1) in events


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FACTS_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "did not answer in time" in str(connect(f"http://127.0.0.1:{silent.getsockname()[1]}"))


def test_a_reply_that_does_not_begin_is_given_up(monkeypatch: pytest.MonkeyPatch, server: RemoteServer) -> None:
    monkeypatch.setattr(asking, "SILENCE_SECONDS", 0.05)
    server.pages["/v1/models"] = as_json({"data": [{"id": "parrot"}]})
    engine = RemoteEngine(server.url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine._root = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LocalchatError, match="did not answer in time"):
            list(engine.answer(HELLO, PLAIN, []))


@pytest.mark.parametrize("noise", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_something_that_is_no_web_server_is_one_sentence(noise: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(20)

        def url() -> str:
            return f"http://127.0.0.1:{other.getsockname()[1]}"

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(noise)

        thread = threading.Thread(target=answer)
        thread.start()
        assert "broke off" in str(connect(url()))
        thread.join()


def test_errors_of_the_client_do_not_pass_as_they_are() -> None:
    address = address_of("http://host/v1")
    for error in (httpx2.PoolTimeout("p"), httpx2.UnsupportedProtocol("u"), httpx2.InvalidURL("i")):
        with pytest.raises(LocalchatError), explained(address):
            raise error


# Statuses


STATUSES = [
    (401, "refuses access (401): go away", "LOCALCHAT_REMOTE_TOKEN"),
    (403, "refuses access (403): go away", "LOCALCHAT_REMOTE_TOKEN"),
    (404, "does not have what was asked for (404): go away", "name of the model"),
    (413, "finds the conversation too long (413): go away", "shorten"),
    (429, "asks for a pause: too many requests (429): go away", "wait"),
    (400, "refuses the request (400): go away", "options"),
    (418, "refuses the request (418): go away", "options"),
    (500, "failed (500): go away", "later"),
    (503, "failed (503): go away", "later"),
    (204, "refuses the request (204)", "options"),
]


@pytest.mark.parametrize(("status", "message", "hint"), STATUSES)
def test_a_status_is_a_sentence_with_the_words_of_the_server(
    server: RemoteServer, status: int, message: str, hint: str
) -> None:
    server.answers = [as_json({"error": {"message": "go away", "code": 9}}, status)]
    error = ask(server)
    assert str(error).startswith(f"{server.host} {message}")
    assert hint in error.hint


def test_a_conversation_that_outgrew_the_servers_context_is_said_to_be_too_long(server: RemoteServer) -> None:
    server.answers = [as_json({"error": {"message": "5031 tokens exceed the Context size"}}, 400)]
    error = ask(server)
    assert "finds the conversation too long (400): 5031" in str(error)
    assert "begin a new one" in error.hint


@pytest.mark.parametrize("status", [401, 500])
def test_a_list_of_models_that_is_refused_says_why(server: RemoteServer, status: int) -> None:
    server.pages["/v1/models"] = as_json({"detail": "closed"}, status)
    assert f"({status}): closed" in str(connect(server.url))
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed_wherever_it_points(server: RemoteServer) -> None:
    with serving() as other:
        away = Said([], 307, {"Location": f"{other.url}/v1/chat/completions?\x1b[2J"})
        server.answers = [away]
        assert str(ask(server)).startswith(f"{server.host} sends to another address: {other.url}/v1/")
        server.pages["/v1/models"] = Said([], 302, {"Location": f"{other.url}/v1/models"})
        assert "sends to another address" in str(connect(server.url))
        assert other.asked == []


WORDS = [
    ({"error": {"message": "m"}}, "m"),
    ({"error": "m"}, "m"),
    ({"object": "error", "message": "m"}, "m"),
    ({"detail": "m"}, "m"),
    ({"detail": [{"loc": ["body", "top_k"], "msg": "m"}]}, "top_k: m"),
    ({"error": {"code": 7}}, "7"),
    ({"error": {"message": {"a": "b"}}}, ""),
    ({"error": [[[[]]]]}, ""),
    ({}, ""),
    ([], ""),
    (None, ""),
]


@pytest.mark.parametrize(("body", "words"), WORDS)
def test_the_words_of_a_server_are_found_wherever_servers_put_them(body: object, words: str) -> None:
    assert complaint(body) == words


def test_the_words_of_a_server_are_cleaned_and_cut(server: RemoteServer) -> None:
    server.answers = [as_json({"error": {"message": "\x1b]0;owned\x07\u202e bad\nline " * 1000}}, 500)]
    assert len(str(ask(server))) < 350
    server.answers = [Said([b"\xff\x00<html>" * 100_000], 502)]
    assert str(ask(server)) == f"{server.host} failed (502)"


def test_a_server_that_repeats_the_token_does_not_make_it_known(server: RemoteServer) -> None:
    server.answers = [as_json({"error": {"message": f"bad key {TOKEN}!"}}, 401)]
    assert "bad key …!" in str(ask(server))
    server.say(event({"error": {"message": f"bad key {TOKEN}!"}}))
    assert "bad key …!" in str(ask(server))
    server.answers = [Said([], 307, {"Location": f"http://elsewhere/?key={TOKEN}"})]
    assert "elsewhere" in str(ask(server))


# The stream


def test_a_reply_that_breaks_off_keeps_what_was_shown(server: RemoteServer) -> None:
    for last, is_cut in ((b"", True), (b"", False), (b'data: {"choi', True), (b'data: {"choi', False)):
        seen: list[Event] = []
        server.say(delta("Half a"), last, is_cut=is_cut)
        assert "the server broke off" in str(ask(server, seen))
        assert Piece("Half a", 1) in seen


ERRORS = [
    event({"error": {"message": "out of memory"}}),
    event({"error": "out of memory"}),
    event({"object": "error", "message": "out of memory", "code": 500}),
    b'error: {"error": {"message": "out of memory"}}\n\n',
]


@pytest.mark.parametrize("last", ERRORS)
def test_an_error_in_the_middle_of_a_reply_is_told(server: RemoteServer, last: bytes) -> None:
    seen: list[Event] = []
    server.say(delta("Half a"), last, END)
    assert str(ask(server, seen)) == f"{server.host} stopped the reply: out of memory"
    assert Piece("Half a", 1) in seen


NONSENSE = [
    b"data: <html>\n\n",
    b"data: [1]\n\n",
    b"data: 3\n\n",
    b"data: null\n\n",
    b"data: " + b"[" * 100_000 + b"\n\n",
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_in_a_stream_is_one_sentence(server: RemoteServer, nonsense: bytes) -> None:
    server.say(nonsense)
    assert ask(server).hint == "check what runs there"


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe", b"[" * 100_000, b'{"data": [' + b"9" * 5000 + b"]}"])
def test_nonsense_in_the_list_of_models_is_one_sentence(server: RemoteServer, body: bytes) -> None:
    server.pages["/v1/models"] = Said([body], headers={"Content-Type": "text/html"})
    connect(server.url)


def test_a_list_of_models_without_end_is_cut_off(server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FACTS_LIMIT_BYTES", 1000)
    server.pages["/v1/models"] = Said([b" " * 600] * 2)
    assert "far too much" in str(connect(server.url))


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", ""])
def test_what_is_no_stream_is_not_read_as_one(server: RemoteServer, kind: str) -> None:
    server.answers = [Said([delta("a", "stop"), END], headers={"Content-Type": kind})]
    assert "does not answer with a stream" in str(ask(server))


def test_a_compressed_stream_is_not_unpacked(server: RemoteServer) -> None:
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    server.answers = [Said([b"\x1f\x8b" * 100], headers=headers)]
    assert "does not answer with a stream" in str(ask(server))


def test_an_error_that_pretends_to_be_good_is_told(server: RemoteServer) -> None:
    server.answers = [as_json({"error": {"message": "no such model"}})]
    assert "refuses the request: no such model" in str(ask(server))
    server.answers = [as_json({"choices": [{"message": {"content": "a"}}]})]
    assert "does not answer with a stream" in str(ask(server))


LONG = [
    [b"data: " + b"x" * (1 << 20)],
    [b"data: " + b"x" * (1 << 20) + b"\n"],
    [b"data: " + b"x" * 1000 + b"\n"] * 1100,
    [b": " + b"x" * 1000 + b"\n"] * 1100,
    [b"x" * (1 << 19)] * 3,
]


@pytest.mark.parametrize("pieces", LONG)
def test_a_line_or_an_event_without_end_is_cut_off(server: RemoteServer, pieces: list[bytes]) -> None:
    server.say(*pieces)
    assert "longer than any piece of a reply" in str(ask(server))


def test_a_reply_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch, server: RemoteServer) -> None:
    monkeypatch.setattr(stream, "TOTAL_LIMIT_BYTES", 10_000)
    server.say(*[delta("again ")] * 1000)
    seen: list[Event] = []
    assert "does not end" in str(ask(server, seen))
    assert Piece("again ", 1) in seen


def test_hostile_text_of_a_reply_is_passed_on_as_it_is(server: RemoteServer) -> None:
    """What shows it cleans it, as with every model."""
    server.say(delta("\x1b]0;owned\x07"), delta("\x00", "stop"), END)
    found = [event for event in RemoteEngine(server.url).answer(HELLO, PLAIN, []) if isinstance(event, Piece)]
    assert found == [Piece("\x1b]0;owned\x07", 1), Piece("\x00", 2)]


def test_an_event_of_many_lines_is_one_text() -> None:
    assert list(EventStream().feed(b"data: a\ndata\ndata:  b\n\n\n\ndata: c")) == ["a\n\n b"]


def test_numbers_that_python_would_not_read_are_nonsense() -> None:
    with pytest.raises(LocalchatError, match="no JSON"):
        parsed("9" * 10_000)
    assert parsed(json.dumps({"a": 1})) == {"a": 1}
    assert issubclass(ssl.SSLCertVerificationError, ssl.SSLError)
