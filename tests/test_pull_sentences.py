"""What is said when the Hub or the network does not give what it should: one sentence and a next step each."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants
from local_answers import Answer, Asked
from local_hub import LocalHub
from tiny import refused

from localchat.errors import LocalchatError
from localchat.pull import ranges
from localchat.pull.hub import LISTING_LIMIT_BYTES, read_repo
from localchat.pull.hub_errors import http_error, offline_error, token_place, wait_seconds
from localchat.pull.search import search

REPO = "acme/tiny"
TOKEN = "hf_secret"
MIB = 1 << 20


class OddHub(LocalHub):
    """Gives this answer to whatever has these words in its path."""

    within, said = "", Answer(200)

    def answer(self, asked: Asked) -> Answer:
        given = super().answer(asked)
        self.tokens = [*getattr(self, "tokens", []), (asked.path, asked.token)]
        return self.said if self.within and self.within in asked.path else given


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddHub]:
    for name in (REPO, "acme/tinier", "acme/gated", "acme/private"):
        (tmp_path / "hub" / name).mkdir(parents=True)
        (tmp_path / "hub" / name / "model.safetensors").write_bytes(bytes(3 * MIB))
    with OddHub(tmp_path / "hub", gated=["acme/gated"], private=["acme/private"], token=TOKEN) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def begin(repo: str, revision: str) -> None:
    found = read_repo(repo, revision)
    ranges.read(found, found.files["model.safetensors"], 0, 10)


def refusal(repo: str = REPO, revision: str = "main") -> LocalchatError:
    """Why the repository cannot be read, or the first bytes of its weights."""
    with pytest.raises(LocalchatError) as caught:
        begin(repo, revision)
    assert str(caught.value)
    assert caught.value.hint
    assert TOKEN not in f"{caught.value} {caught.value.hint}"
    return caught.value


# Who may read


def test_a_gated_repository_says_which_page_and_how_to_get_a_token(hub: OddHub) -> None:
    error = refusal("acme/gated")
    assert token_place() is None
    assert "is gated" in str(error)
    assert f"accept them on {hub.url}/acme/gated" in error.hint
    assert f"{hub.url}/settings/tokens" in error.hint
    assert "hf auth login" in error.hint


@pytest.mark.parametrize("place", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "login"])
def test_the_token_that_was_sent_is_named_by_its_place(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if place == "login":
        (tmp_path / "token").write_text("hf_other")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    else:
        monkeypatch.setenv(place, "hf_other")
    expected = f"of the login saved in {tmp_path / 'token'}" if place == "login" else f"in {place}"
    assert token_place() == expected
    for repo in ("acme/gated", "acme/private"):
        error = refusal(repo)
        assert expected in error.hint
        assert "hf_other" not in f"{error} {error.hint}"


def test_a_token_that_the_hub_does_not_know_is_said(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.within = "/api/models/"
    hub.said = Answer(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
    error = refusal()
    assert "does not accept the token in HF_TOKEN" in str(error)
    assert "settings/tokens" in error.hint


def test_a_token_that_must_not_be_sent_is_not_sent(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert "unset HF_HUB_DISABLE_IMPLICIT_TOKEN" in refusal("acme/gated").hint
    begin(REPO, "main")
    search("model")
    assert {token for _, token in hub.tokens} == {""}
    assert len(hub.tokens) > 4


def test_the_token_goes_nowhere_but_to_the_hub(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    repo = read_repo("acme/gated", "main")
    assert ranges.read(repo, repo.files["model.safetensors"], MIB, MIB + 10) == bytes(10)
    assert {token for path, token in hub.tokens if path.startswith("/cdn/")} == {""}
    assert {token for path, token in hub.tokens if not path.startswith("/cdn/")} == {TOKEN}


# What there is not


def test_near_names_of_the_hub_and_the_catalog_are_offered() -> None:
    assert "did you mean acme/tiny" in refusal("acme/tinyy").hint
    assert "HuggingFaceH4/zephyr-7b-beta" in refusal("HuggingFaceH4/zephir-7b-beta").hint
    assert "did you mean" not in refusal("nobody/nothing-of-the-kind").hint


def test_near_names_need_no_search(hub: OddHub) -> None:
    hub.fail_next(1, 500, within="/api/models?")
    assert "no repository acme/tinyy" in str(refusal("acme/tinyy"))


def test_a_revision_that_there_is_not_is_one_sentence(hub: OddHub) -> None:
    error = refusal(revision="../../api/whoami")
    assert "has no such revision" in str(error)
    assert f"{hub.url}/acme/tiny/commits/main" in error.hint


def test_a_repository_that_was_closed_is_one_sentence(hub: OddHub) -> None:
    hub.within, hub.said = "/api/models/", Answer(403, {"X-Error-Message": "Access to this resource is disabled."})
    assert "has closed acme/tiny" in str(refusal())


# Too often


WAITS = [
    ("30", 30), ("0", 0), ("-5", 0), ("soon", 0), ("", 0), ("nan", 0), ("1e99", 86400), ("inf", 86400), ("Mon, 99", 0),
]  # fmt: skip


@pytest.mark.parametrize(("header", "seconds"), WAITS)
def test_a_pause_is_what_the_header_says(header: str, seconds: float) -> None:
    assert wait_seconds(header) == seconds


@pytest.mark.parametrize(("minutes", "least", "most"), [(10, 500, 600), (-10, 0, 0)])
def test_a_pause_until_a_date_is_what_is_left_of_it(minutes: int, least: float, most: float) -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes))
    assert least <= wait_seconds(header) <= most


def test_the_pause_and_a_token_that_would_help_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = http_error(429, REPO, "90")
    assert "too many requests" in str(error)
    assert error.hint == "wait 1 min 30 s and try again; with a token of your account more is allowed"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert http_error(429, REPO).hint == "wait some minutes and try again"


def test_a_busy_cdn_is_waited_for_as_long_as_it_says(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ranges, "time", SimpleNamespace(sleep=pauses.append))
    hub.within, hub.said = "/cdn/", Answer(429, {"Retry-After": "7"})
    assert "too many requests" in str(refusal())
    assert pauses == [7, 7, 7, 8]


# The network


def failed(cause: BaseException | None, kind: type[httpx2.RequestError] = httpx2.ConnectError) -> LocalchatError:
    """What is said of an error of the client with this cause."""
    request = httpx2.Request("GET", "https://huggingface.co/api/models/x?token=1")
    try:
        raise kind("failed", request=request) from cause
    except httpx2.RequestError as error:
        return offline_error(error)


def not_trusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_message = "self-signed certificate \x1b[31m"
    return error


FAILURES = [
    (
        failed(socket.gaierror(-3, "Temporary failure")),
        "https://huggingface.co cannot be reached: its name is not known",
    ),
    (failed(ConnectionRefusedError()), "https://huggingface.co cannot be reached"),
    (failed(None, httpx2.ConnectTimeout), "https://huggingface.co did not answer in time"),
    (failed(not_trusted()), "the certificate of https://huggingface.co is not accepted: self-signed certificate"),
    (failed(ssl.SSLError("wrong version number")), "no safe connection to https://huggingface.co"),
    (failed(None, httpx2.ProxyError), "the proxy does not let https://huggingface.co be reached"),
    (failed(None, httpx2.RemoteProtocolError), "the connection to https://huggingface.co was cut"),
    (failed(None, httpx2.TooManyRedirects), "does not answer as a Hub does"),
]


@pytest.mark.parametrize(("error", "words"), FAILURES, ids=[words[:40] for _, words in FAILURES])
def test_each_way_to_be_offline_has_its_sentence(error: LocalchatError, words: str) -> None:
    assert words in str(error)
    assert error.hint
    assert "\x1b" not in str(error)
    assert "token=1" not in str(error)


def test_a_name_that_nobody_knows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert "http://hub.invalid cannot be reached: its name is not known" in str(refusal())


def test_an_endpoint_that_speaks_no_tls_is_found_out(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("http:", "https:"))
    assert "no safe connection" in str(refusal())


def test_an_endpoint_that_is_no_address_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[")
    assert refusal()


def test_a_network_that_is_forbidden_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refusal()
    assert "HF_HUB_OFFLINE is set" in str(error)
    assert "unset it" in error.hint


PORTAL = Answer(200, {"Content-Type": "text/html"}, b"<html><h1>Welcome to the hotel</h1></html>")


@pytest.mark.parametrize("within", ["/api/models/", "/resolve/"])
def test_the_page_of_a_captive_portal_is_no_hub(hub: OddHub, within: str) -> None:
    hub.within, hub.said = within, PORTAL
    error = refusal()
    assert "does not answer as a Hub does" in str(error)
    assert "sign in" in error.hint


# Ranges


LIES = [
    ({"Content-Range": "bytes 5-14/3145728"}, b"x" * 10, "sent other bytes"),
    ({}, b"x" * 10, "sent other bytes"),
    ({"Content-Range": "bytes 0-9/3145728"}, b"x" * 20, "sent more of"),
]


@pytest.mark.parametrize(("headers", "body", "words"), LIES)
def test_a_wrong_answer_to_a_range_is_refused(hub: OddHub, headers: dict[str, str], body: bytes, words: str) -> None:
    hub.within, hub.said = "/cdn/", Answer(206, headers, body)
    assert words in str(refusal())


def test_a_server_without_ranges_gives_the_right_bytes_all_the_same(hub: OddHub) -> None:
    repo = read_repo(REPO, "main")
    hub.lie = "200-for-206"
    assert ranges.read(repo, repo.files["model.safetensors"], MIB + 5, MIB + 9) == bytes(4)


def test_where_a_file_lies_is_asked_once_and_again_when_the_address_has_expired(
    hub: OddHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ranges, "time", SimpleNamespace(sleep=pauses.append))
    repo = read_repo(REPO, "main")
    for start in range(5):
        ranges.read(repo, repo.files["model.safetensors"], start, start + 10)
    asked = [served.method for served in hub.requests if "/resolve/" in served.path]
    assert asked == ["HEAD"]
    hub.fail_next(1, 403, within="/cdn/")
    assert ranges.read(repo, repo.files["model.safetensors"], 0, 10) == bytes(10)
    assert len([served for served in hub.requests if "/resolve/" in served.path]) == 2
    assert pauses == [1]


def test_a_file_of_another_length_or_commit_is_refused() -> None:
    repo = read_repo(REPO, "main")
    file = repo.files["model.safetensors"]
    with refused("not as long as the Hub says"):
        ranges.read(repo, replace(file, bytes=file.bytes + 1), 0, 10)
    with refused():
        ranges.read(replace(repo, commit="f" * 40), file, 0, 10)


def test_a_listing_without_end_is_not_read_to_its_end(hub: OddHub) -> None:
    hub.within, hub.said = "/api/models/", Answer(200, {}, bytes(LISTING_LIMIT_BYTES + 1))
    assert "lists more files than any model has" in str(refusal())
