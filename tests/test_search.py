"""Search of the Hub, by the real client over a Hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from local_answers import Answer, Asked
from local_hub import LocalHub
from tiny import refused

from localchat.pull.search import Found, found_in, search


class OddHub(LocalHub):
    """Answers a search with these bytes, where there are any."""

    said = b""

    def answer(self, asked: Asked) -> Answer:
        given = super().answer(asked)
        return replace(given, body=self.said) if self.said and asked.path == "/api/models" else given


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddHub]:
    for repo, name in (("acme/Zephyr-7B", "model.safetensors"), ("acme/other", "config.json"), ("me/zephyr", "x.gguf")):
        (tmp_path / repo).mkdir(parents=True)
        (tmp_path / repo / name).write_bytes(b"{}")
    with OddHub(tmp_path, gated=("me/zephyr",)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.mark.usefixtures("hub")
def test_what_has_the_text_in_its_name_is_found() -> None:
    found = {one.id: one for one in search("ZEPHYR")}
    assert found.keys() == {"acme/Zephyr-7B", "me/zephyr"}
    assert not found["acme/Zephyr-7B"].gated
    assert found["me/zephyr"].gated
    assert len(found["me/zephyr"].updated_at) == len("2024-01-31")


def test_only_models_that_write_text_are_asked_for_and_not_too_many(hub: OddHub) -> None:
    search("a&b=c")
    [asked] = hub.requests
    assert "pipeline_tag=text-generation" in asked.path
    assert "limit=30" in asked.path
    assert "search=a%26b%3Dc" in asked.path
    assert len(search("", limit=2)) == 2


@pytest.mark.usefixtures("hub")
def test_what_has_no_checkpoint_is_known_by_its_tags() -> None:
    found = {one.id: one for one in search("zephyr")}
    assert found["me/zephyr"].is_gguf_only
    assert not found["acme/Zephyr-7B"].is_gguf_only


def test_a_token_is_sent_as_for_everything_else(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    seen: list[str] = []
    monkeypatch.setattr(hub, "answer", lambda asked: seen.append(asked.token) or OddHub.answer(hub, asked))
    search("zephyr")
    assert seen == ["hf_secret"]


def test_without_a_network_a_sentence_comes_at_once(naps: list[float]) -> None:
    with refused("cannot be reached"):
        search("zephyr")
    assert naps == []


def test_offline_the_hub_is_not_asked(hub: OddHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("HF_HUB_OFFLINE is set"):
        search("zephyr")
    assert hub.requests == []


@pytest.mark.parametrize(("status", "words"), [(429, "asks for a pause"), (500, "the error 500"), (401, "refuses")])
def test_a_refusal_is_a_sentence(hub: OddHub, status: int, words: str) -> None:
    hub.fail_next(1, status, within="/api/models")
    with refused(words):
        search("zephyr")


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"{}", b"[" * 100_000, b"\xff\xfe\x00"])
def test_an_answer_that_is_no_list_is_a_sentence(hub: OddHub, body: bytes) -> None:
    hub.said = body
    with refused("does not answer as a Hub"):
        search("zephyr")


ODD = [
    {"id": "a/b", "downloads": 7, "likes": True, "gated": "auto", "tags": ["x\x1b[31m", 3, "y"], "lastModified": 4},
    {"id": "a/b\x1b[2J"}, {"id": "../etc"}, {"id": 3}, {}, "a/c", None,
    {"id": "c/d", "downloads": -1, "likes": "many", "gated": False, "tags": "all"},
]  # fmt: skip


def test_only_sound_facts_are_taken_over() -> None:
    assert found_in(ODD) == [Found("a/b", 7, 0, True, "", ("x␛[31m", "y")), Found("c/d")]


def test_what_is_found_is_bounded(hub: OddHub) -> None:
    hub.said = json.dumps([{"id": f"a/{number}", "tags": ["t"] * 1000} for number in range(500)]).encode()
    found = search("a")
    assert len(found) == 30
    assert len(found[0].tags) == 40
