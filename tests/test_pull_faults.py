"""A pull that is stopped, cut, refused or out of disk: one sentence, and never half a model."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from pull_hub import REPO, SHARDS, TrickyHub, change, publishing, ranges
from test_pull import Q4, events_of, pulled, sha256
from tiny import refused

from localchat.convert.layout import Layout
from localchat.convert.write import Finished
from localchat.gguf_file import read_header
from localchat.library import RECEIPT, installed
from localchat.paths import downloads_folder, models_folder
from localchat.plan.wish import Wish
from localchat.pull import build, decide, streaming
from localchat.pull import ranges as fetching
from localchat.pull.events import Chosen, Progress
from localchat.pull.install import pull
from localchat.pull.ranges import CHUNK_BYTES
from localchat.pull.source import parse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub(root: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[TrickyHub]:
    """A Hub whose clients do not sleep between their tries."""
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=naps.append))
    with publishing(root, chatml, monkeypatch) as hub:
        yield hub


def is_untouched() -> bool:
    """Is there nothing in the library but whole models?"""
    folders = list(models_folder().iterdir())
    assert all((folder / RECEIPT).is_file() for folder in folders), folders
    assert not list(models_folder().rglob("*.partial"))
    return not folders


def stopped_after(source: str, events: int) -> None:
    with closing(pull(parse(source), Q4)) as stream:
        for _ in zip(range(events), stream, strict=False):
            pass


# Stopped


def test_a_pull_of_a_folder_can_be_stopped_at_any_event(chatml: Path) -> None:
    count = len(events_of(chatml, name="whole"))
    for events in sorted({*range(0, count, 4), 1, 2, count - 2, count - 1}):
        stopped_after(str(chatml), events)
        assert [model.name for model in installed()] == ["whole"]
        assert [path.name for path in models_folder().iterdir()] == ["whole"]
        assert not list(models_folder().rglob("*.partial"))


@pytest.mark.usefixtures("hub")
def test_a_pull_of_a_repository_can_be_stopped_at_any_event() -> None:
    count = len(events_of(REPO))
    for events in (1, 2, count // 2, count - 1):
        stopped_after(REPO, events)
        assert [model.name for model in installed()] == ["tiny"]
        assert not list(models_folder().rglob("*.partial"))


def test_a_pull_that_is_stopped_before_it_chose_has_done_nothing(chatml: Path) -> None:
    pull(parse(str(chatml)), Q4).close()
    assert is_untouched()


def test_a_model_that_is_there_outlives_a_stopped_pull_of_its_successor(chatml: Path) -> None:
    old = pulled(chatml)
    with closing(pull(parse(str(chatml)), Wish(quant="Q8_0"))) as stream:
        for event in stream:
            if isinstance(event, Progress) and event.done_bytes == event.total_bytes:
                break
    assert installed() == [old]
    assert sha256(old.path) == old.receipt.file_sha256
    assert {path.name for path in old.folder.iterdir()} == {old.path.name, RECEIPT}


# Cut


def test_a_download_that_was_stopped_goes_on_in_the_next_pull(
    hub: TrickyHub, chatml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a checkpoint that is too much at once to be converted while it arrives."""
    monkeypatch.setattr(streaming, "WINDOW_LIMIT_BYTES", 0)
    with closing(pull(parse(REPO), Q4)) as stream:
        for event in stream:
            if isinstance(event, Progress) and event.done_bytes >= CHUNK_BYTES:
                break
    assert is_untouched()
    chosen, *_ = events_of(REPO)
    assert isinstance(chosen, Chosen)
    first = (chatml / SHARDS[0]).stat().st_size
    assert f"bytes={CHUNK_BYTES}-{first - 1}" in ranges(hub)
    assert installed()[0].receipt.inputs[SHARDS[0]] == sha256(chatml / SHARDS[0])
    assert chosen.download_bytes == sum((chatml / name).stat().st_size for name in SHARDS) - CHUNK_BYTES


def test_a_download_that_is_cut_goes_on_in_the_same_pull(hub: TrickyHub) -> None:
    hub.cut_after(CHUNK_BYTES + 1000)
    model = pulled(REPO)
    assert read_header(model.path).quant == "Q4_K_M"


# Lies and refusals


@pytest.mark.parametrize("lie", ["wrong-hash", "short-body"])
def test_a_lying_hub_installs_nothing(hub: TrickyHub, lie: str) -> None:
    hub.lie = lie  # type: ignore[assignment]
    with refused():
        events_of(REPO)
    assert is_untouched()
    hub.lie = None
    assert pulled(REPO).name == "tiny"


@pytest.mark.parametrize("lie", ["200-for-206", "changed-etag"])
def test_a_hub_that_is_only_odd_does_no_harm(hub: TrickyHub, chatml: Path, lie: str) -> None:
    hub.lie = lie  # type: ignore[assignment]
    hub.cut_after(CHUNK_BYTES + 1000)
    assert pulled(REPO).receipt.inputs[SHARDS[0]] == sha256(chatml / SHARDS[0])


ANSWERS = [
    (401, "refuses access"),
    (403, "refuses access"),
    (404, "did not find"),
    (429, "too many requests"),
    (500, "error 500"),
    (503, "error 503"),
]


@pytest.mark.parametrize("within", ["/api/", "/resolve/", "/cdn/"])
@pytest.mark.parametrize(("status", "words"), ANSWERS)
def test_a_refusal_is_one_sentence(hub: TrickyHub, status: int, words: str, within: str) -> None:
    hub.fail_next(50, status, within=within)
    with refused(words):
        events_of(REPO)
    assert is_untouched()


def test_a_gated_repository_says_what_to_accept(root: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing(root, chatml, monkeypatch, gated=[REPO], token="hf_granted") as hub:
        with pytest.raises(Exception, match="is gated") as refusal:
            events_of(REPO)
        assert f"{hub.url}/{REPO}" in getattr(refusal.value, "hint", "")
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        with refused("is gated"):
            events_of(REPO)
        monkeypatch.setenv("HF_TOKEN", "hf_granted")
        assert pulled(REPO).name == "tiny"


def test_a_private_repository_needs_a_token(root: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing(root, chatml, monkeypatch, private=[REPO], token="hf_granted"):
        with refused("no repository acme/tiny, or it is private"):
            events_of(REPO)
        monkeypatch.setenv("HF_TOKEN", "hf_granted")
        assert pulled(REPO).name == "tiny"


@pytest.mark.usefixtures("hub")
def test_a_repository_that_there_is_not_is_one_sentence() -> None:
    with refused("no repository acme/nothing"):
        events_of("acme/nothing")
    assert list(downloads_folder().iterdir()) == []


def test_a_hub_that_does_not_answer_is_one_sentence() -> None:
    with refused("cannot be reached"):
        events_of(REPO)
    assert is_untouched()


def test_a_forbidden_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("HF_HUB_OFFLINE"):
        events_of(REPO)


def test_weights_of_another_kind_are_named(hub: TrickyHub, root: Path) -> None:
    for shard in SHARDS:
        (root / REPO / shard).unlink()
    change(root, REPO, "tf_model.h5", b"weights")
    with refused("no weights"):
        events_of(REPO)
    assert not any("/resolve/" in served.path for served in hub.requests)


def test_a_repository_without_weights_is_one_sentence(hub: TrickyHub, root: Path) -> None:
    for shard in SHARDS:
        (root / REPO / shard).unlink()
    with refused("safetensors"):
        events_of(REPO)
    assert not any("/resolve/" in served.path for served in hub.requests)


@pytest.mark.usefixtures("hub")
def test_a_checkpoint_that_is_damaged_installs_nothing(root: Path, chatml: Path) -> None:
    change(root, REPO, SHARDS[1], (chatml / SHARDS[1]).read_bytes()[:-1000])
    with refused(SHARDS[1]):
        events_of(REPO)
    assert is_untouched()


@pytest.mark.usefixtures("hub")
def test_a_shard_that_is_missing_is_named(root: Path) -> None:
    (root / REPO / SHARDS[1]).unlink()
    with refused(SHARDS[1]):
        events_of(REPO)
    assert is_untouched()


@pytest.mark.parametrize("cut", [4, -1000])
def test_a_file_that_did_not_come_out_as_planned_is_not_installed(
    chatml: Path, chatml_file: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    def write(_layout: Layout, path: Path, _threads: int) -> Iterator[Finished]:
        path.write_bytes(chatml_file.read_bytes()[:cut])
        yield Finished("0" * 64, {})

    monkeypatch.setattr(build, "write", write)
    with refused("is not a sound GGUF file"):
        events_of(chatml)
    assert is_untouched()


# The disk


@contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """No file may become larger, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_fills_up_is_one_sentence(chatml: Path) -> None:
    with largest_file(500_000), refused("the disk is full"):
        events_of(chatml)
    assert is_untouched()


@pytest.mark.usefixtures("hub")
def test_a_disk_that_fills_up_in_a_download_is_one_sentence() -> None:
    with largest_file(500_000), refused("the disk is full"):
        events_of(REPO)
    assert is_untouched()
    assert pulled(REPO).name == "tiny"


@pytest.mark.parametrize("source", ["folder", "repository"])
def test_a_disk_without_room_is_known_before_anything_large_is_done(
    hub: TrickyHub, chatml: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(decide, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1000)))
    with refused("1000 B are free"):
        events_of(REPO if source == "repository" else chatml)
    assert is_untouched()
    assert not any(shard in served.path for served in hub.requests for shard in SHARDS)
