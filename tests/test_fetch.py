"""Downloads: they go on where they stopped, and only the Hub's own bytes are ever kept."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from pull_hub import REPO, SHARDS, TrickyHub, change, publishing, ranges
from tiny import refused

from localchat.pull import ranges as fetching
from localchat.pull.fetch import fetch
from localchat.pull.hub import RemoteFile, Repo, read_repo
from localchat.pull.ranges import ATTEMPTS, CHUNK_BYTES

FIRST = SHARDS[0]


@pytest.fixture
def hub(tmp_path: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    with publishing(tmp_path / "hub", chatml, monkeypatch) as hub:
        yield hub


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> list[float]:
    """The seconds that would have been slept between tries, the client's own among them."""
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=naps.append))
    return naps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def repo_and_file(name: str = FIRST) -> tuple[Repo, RemoteFile]:
    repo = read_repo(REPO, "main")
    return repo, repo.files[name]


def fetched(folder: Path, name: str = FIRST) -> list[int]:
    """Fetch a file of the repository; the bytes that were told on the way."""
    repo, file = repo_and_file(name)
    return list(fetch(repo, file, folder))


# Whole files


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", FIRST])
@pytest.mark.usefixtures("hub")
def test_a_file_arrives_as_it_was_published(folder: Path, chatml: Path, name: str) -> None:
    told = fetched(folder, name)
    assert (folder / name).read_bytes() == (chatml / name).read_bytes()
    assert told == sorted(told)
    assert told[-1] == (chatml / name).stat().st_size
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.usefixtures("hub")
def test_an_empty_file_arrives_too(folder: Path, tmp_path: Path) -> None:
    change(tmp_path / "hub", REPO, "added_tokens.json", b"")
    fetched(folder, "added_tokens.json")
    assert (folder / "added_tokens.json").read_bytes() == b""


def test_a_file_that_is_there_is_not_asked_for_again(hub: TrickyHub, folder: Path) -> None:
    fetched(folder)
    before = len(hub.requests)
    repo, file = repo_and_file()
    assert list(fetch(repo, file, folder)) == [file.bytes]
    assert [served.path for served in hub.requests[before:]] == [hub.requests[0].path]  # read_repo alone


# What is cut


def test_a_download_that_is_cut_goes_on_by_itself(
    hub: TrickyHub, folder: Path, chatml: Path, pauses: list[float]
) -> None:
    hub.cut_after(CHUNK_BYTES + 1000)
    fetched(folder)
    last = (chatml / FIRST).stat().st_size - 1
    assert ranges(hub) == [f"bytes=0-{last}", f"bytes={CHUNK_BYTES + 1000}-{last}"]
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()
    assert pauses == [1]


@pytest.mark.usefixtures("pauses")
def test_connections_that_are_always_cut_early_bring_a_file_all_the_same(
    hub: TrickyHub, folder: Path, chatml: Path
) -> None:
    repo, file = repo_and_file()
    hub.cut_after(CHUNK_BYTES // 7)
    for _ in fetch(repo, file, folder):
        hub.cut_after(CHUNK_BYTES // 7)
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()
    assert len(ranges(hub)) > ATTEMPTS, "each brought something"


def test_a_download_that_was_stopped_goes_on_next_time(hub: TrickyHub, folder: Path, chatml: Path) -> None:
    repo, file = repo_and_file()
    with closing(fetch(repo, file, folder)) as events:
        assert next(events) == CHUNK_BYTES
    assert [path.name for path in folder.iterdir()] == [f"{FIRST}.partial"]
    fetched(folder)
    last = (chatml / FIRST).stat().st_size - 1
    assert ranges(hub) == [f"bytes=0-{last}", f"bytes={CHUNK_BYTES}-{last}"]
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()


def test_a_partial_file_that_is_whole_is_only_checked(hub: TrickyHub, folder: Path, chatml: Path) -> None:
    (folder / f"{FIRST}.partial").write_bytes((chatml / FIRST).read_bytes())
    fetched(folder)
    assert ranges(hub) == []
    assert (folder / FIRST).exists()


@pytest.mark.usefixtures("hub")
def test_a_partial_file_that_is_too_long_is_thrown_away(folder: Path, chatml: Path) -> None:
    (folder / f"{FIRST}.partial").write_bytes(bytes((chatml / FIRST).stat().st_size + 1))
    fetched(folder)
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()


@pytest.mark.usefixtures("hub")
def test_a_partial_file_that_was_damaged_is_found_out(folder: Path, chatml: Path) -> None:
    (folder / f"{FIRST}.partial").write_bytes(bytes(1000))
    with refused("arrived damaged"):
        fetched(folder)
    assert list(folder.iterdir()) == []
    fetched(folder)
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()


# Lies


def test_altered_bytes_are_never_kept(hub: TrickyHub, folder: Path) -> None:
    hub.lie = "wrong-hash"
    with refused("arrived damaged", FIRST):
        fetched(folder)
    assert list(folder.iterdir()) == []


def test_a_small_file_that_is_altered_is_never_kept(hub: TrickyHub, folder: Path) -> None:
    hub.lie = "wrong-hash"
    with refused("arrived damaged", "config.json"):
        fetched(folder, "config.json")
    assert list(folder.iterdir()) == []


def test_a_body_that_is_always_short_is_given_up_in_the_end(hub: TrickyHub, folder: Path, pauses: list[float]) -> None:
    hub.lie = "short-body"
    with refused("was cut", "config.json"):
        fetched(folder, "config.json")
    assert [path.name for path in folder.iterdir()] == ["config.json.partial"]
    assert ATTEMPTS < len(pauses) < 30  # as long as something comes, it is asked on


def test_a_hub_that_does_not_resume_is_asked_from_the_start(
    hub: TrickyHub, folder: Path, chatml: Path, pauses: list[float]
) -> None:
    hub.lie = "200-for-206"
    hub.cut_after(CHUNK_BYTES + 1000)
    fetched(folder)
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()
    assert [served.status for served in hub.requests if served.path.startswith("/cdn/")] == [200, 200]
    assert pauses == [1]


def test_another_etag_does_not_matter_where_the_hash_is_right(hub: TrickyHub, folder: Path, chatml: Path) -> None:
    hub.lie = "changed-etag"
    fetched(folder)
    assert (folder / FIRST).read_bytes() == (chatml / FIRST).read_bytes()


@pytest.mark.usefixtures("hub")
def test_a_file_of_another_length_is_refused(folder: Path) -> None:
    repo, file = repo_and_file("config.json")
    with refused("is not as long as the Hub says", "config.json"):
        list(fetch(repo, replace(file, bytes=file.bytes - 10), folder))
    assert not (folder / "config.json").exists()


# Refusals


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(hub: TrickyHub, folder: Path, status: int, pauses: list[float]) -> None:
    hub.fail_next(2, status, within="/cdn/")
    fetched(folder)
    assert pauses == [1, 2]
    assert (folder / FIRST).exists()


BUSY = [(429, "too many requests"), (503, "error 503")]


@pytest.mark.parametrize(("status", "words"), BUSY)
def test_a_server_that_stays_busy_is_given_up(
    hub: TrickyHub, folder: Path, status: int, words: str, pauses: list[float]
) -> None:
    hub.fail_next(ATTEMPTS, status, within="/cdn/")
    with refused(words):
        fetched(folder)
    assert pauses == [1, 2, 4, 8]
    fetched(folder)
    assert (folder / FIRST).exists()


FINAL = [(401, "refuses access"), (403, "refuses access"), (404, "did not find")]


@pytest.mark.parametrize(("status", "words"), FINAL)
def test_a_refusal_is_not_asked_again(
    hub: TrickyHub, folder: Path, status: int, words: str, pauses: list[float]
) -> None:
    hub.fail_next(1, status, within="/cdn/")
    with refused(words):
        fetched(folder)
    assert pauses == []


def test_progress_counts_as_a_fresh_start(hub: TrickyHub, folder: Path, pauses: list[float]) -> None:
    hub.fail_next(ATTEMPTS - 1, 503, within="/cdn/")
    repo, file = repo_and_file()
    events = fetch(repo, file, folder)
    next(events)
    events.close()
    hub.fail_next(ATTEMPTS - 1, 503, within="/cdn/")
    list(fetch(repo, file, folder))
    assert pauses == [1, 2, 4, 8] * 2


@pytest.mark.usefixtures("pauses")
def test_a_hub_that_went_away_is_one_sentence(hub: TrickyHub, folder: Path) -> None:
    repo, file = repo_and_file()
    hub.__exit__()
    with refused("cannot be reached"):
        list(fetch(repo, file, folder))
    assert not (folder / FIRST).exists()


@pytest.mark.usefixtures("hub")
def test_a_forbidden_network_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, file = repo_and_file()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("HF_HUB_OFFLINE"):
        list(fetch(repo, file, folder))


@pytest.mark.usefixtures("hub")
def test_a_repository_that_changes_meanwhile_is_not_mixed(folder: Path, tmp_path: Path) -> None:
    repo, file = repo_and_file()
    change(tmp_path / "hub", REPO, "config.json", b"{}")
    with refused(REPO):
        list(fetch(repo, file, folder))
    assert list(folder.glob("*.safetensors")) == []


def test_a_file_of_another_commit_is_refused(hub: TrickyHub, folder: Path) -> None:
    repo, file = repo_and_file()
    hub.other_commit = "0" * 40
    with refused("changed while it was pulled"):
        list(fetch(repo, file, folder))
    assert not (folder / FIRST).exists()


@pytest.mark.usefixtures("hub")
def test_a_full_disk_is_one_sentence_and_what_came_is_kept(folder: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK_BYTES + 1000, limits[1]))
    try:
        with refused("the disk is full", FIRST):
            fetched(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (folder / FIRST).exists()
    fetched(folder)
    assert (folder / FIRST).exists()


# The token


@pytest.mark.parametrize("name", ["config.json", FIRST])
def test_the_token_goes_to_the_hub_and_never_to_its_cdn(
    tmp_path: Path, chatml: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The Hub gives nothing without the token, and its CDN refuses whoever sends one."""
    monkeypatch.setenv("HF_TOKEN", "hf_granted")
    with publishing(tmp_path / "hub", chatml, monkeypatch, private=[REPO], gated=[REPO], token="hf_granted"):
        fetched(folder, name)
    assert (folder / name).read_bytes() == (chatml / name).read_bytes()
