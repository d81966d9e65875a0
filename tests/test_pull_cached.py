"""The Hub's own cache: what is in it is used and never changed, and a checkpoint can be kept there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download
from pull_hub import REPO, SHARDS, TrickyHub, publishing, ranges
from test_pull import events_of, pulled
from test_streaming import by_hand
from tiny import refused

from localchat.cli import main
from localchat.library import installed
from localchat.paths import downloads_folder
from localchat.plan.wish import Wish
from localchat.printing import watched
from localchat.pull import keeping
from localchat.pull.events import Chosen, Progress, Pull, PullEvent
from localchat.pull.hub import read_repo
from localchat.pull.install import convert, pull
from localchat.pull.source import Making, endpoint, parse
from localchat.pull.verify import verify

WISH = Wish(quant="Q8_0", threads=2)
TOKENIZER = "tokenizer.model"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture(autouse=True)
def hub(root: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.01)
    with publishing(root, chatml, monkeypatch) as hub:
        yield hub


@pytest.fixture(scope="module")
def expected(chatml: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return by_hand(chatml, tmp_path_factory.mktemp("expected") / "tiny.gguf")


def cache_it(*names: str) -> Path:
    """What another program does; returns the snapshot."""
    if not names:
        return Path(snapshot_download(REPO, endpoint=endpoint()))
    return max(Path(hf_hub_download(REPO, name, endpoint=endpoint())) for name in names).parent


def cached() -> dict[str, tuple[int, int]]:
    """All that is in the cache: sizes and times by name; locks are not of it."""
    files = {path: path.lstat() for path in Path(constants.HF_HUB_CACHE).rglob("*") if ".locks" not in path.parts}
    return {str(path): (found.st_size, found.st_mtime_ns) for path, found in files.items()}


def rest() -> list[Path]:
    """What lies about of downloads."""
    return list(downloads_folder().iterdir())


def keeping_pull() -> Pull:
    return pull(replace(parse(REPO), making=Making(keep_checkpoint=True)), WISH)


def chosen_of(events: list[PullEvent]) -> Chosen:
    assert isinstance(events[0], Chosen)
    return events[0]


# What is there


def test_a_checkpoint_of_the_cache_is_not_downloaded(hub: TrickyHub, expected: bytes) -> None:
    cache_it()
    before, asked = cached(), len(ranges(hub))
    events = events_of(REPO, WISH)
    (model,) = installed()
    assert model.path.read_bytes() == expected
    assert (model.receipt.source, model.receipt.commit) == (REPO, read_repo(REPO, "main").commit)
    assert len(ranges(hub)) == asked
    assert chosen_of(events).download_bytes == 0
    assert "in the Hub cache" in chosen_of(events).notes[0]
    assert {event.stage for event in events if isinstance(event, Progress)} == {"convert", "check"}
    assert cached() == before
    assert rest() == []


def test_a_dry_run_leaves_nothing_and_says_that_nothing_is_downloaded() -> None:
    cache_it()
    before = cached()
    with closing(pull(parse(REPO), WISH)) as events:
        chosen = next(events)
    assert isinstance(chosen, Chosen)
    assert chosen.download_bytes == 0
    assert chosen.disk_bytes == chosen.plan.weights_bytes
    assert rest() == []
    assert cached() == before


def test_weights_alone_are_enough(expected: bytes) -> None:
    """Other programs leave out what they do not read."""
    cache_it(*SHARDS)
    assert chosen_of(events_of(REPO, WISH)).download_bytes == 0
    assert installed()[0].path.read_bytes() == expected


@pytest.mark.parametrize("how", ["a shard", "short", "another commit"])
def test_what_is_not_whole_is_not_used(how: str, root: Path, expected: bytes) -> None:
    snapshot = cache_it(SHARDS[0]) if how == "a shard" else cache_it()
    if how == "short":
        blob = (snapshot / SHARDS[1]).resolve()
        blob.write_bytes(blob.read_bytes()[:-1])
    if how == "another commit":
        (root / REPO / "README.md").write_text("new")
    before = cached()
    assert chosen_of(events_of(REPO, WISH)).download_bytes > 2_000_000
    assert installed()[0].path.read_bytes() == expected
    assert cached() == before


def test_damaged_weights_are_refused_by_name() -> None:
    blob = (cache_it() / SHARDS[1]).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x07")
    before = cached()
    with refused("the Hub cache's model-00002-of-00002.safetensors is damaged"):
        events_of(REPO, WISH)
    assert installed() == []
    assert cached() == before
    blob.unlink()
    assert pulled(REPO, WISH).receipt.quant == "Q8_0"
    assert rest() == []


def test_a_damaged_description_is_fetched(hub: TrickyHub, expected: bytes) -> None:
    blob = (cache_it() / TOKENIZER).resolve()
    blob.write_bytes(b"\x00" * blob.stat().st_size)
    asked = len(ranges(hub))
    pulled(REPO, WISH)
    assert installed()[0].path.read_bytes() == expected
    assert len(ranges(hub)) == asked + 1


def test_a_pull_that_was_begun_ends_with_what_is_cached_meanwhile(expected: bytes) -> None:
    with closing(pull(parse(REPO), WISH)) as events:
        for event in events:
            if isinstance(event, Progress) and event.stage == "download":
                break
    cache_it()
    pulled(REPO, WISH)
    assert installed()[0].path.read_bytes() == expected
    assert rest() == []


def test_a_model_file_is_written_of_the_cache(hub: TrickyHub, tmp_path: Path, expected: bytes) -> None:
    cache_it()
    asked = len(ranges(hub))
    for _ in convert(parse(REPO), tmp_path / "out.gguf", "Q8_0", 2):
        pass
    assert (tmp_path / "out.gguf").read_bytes() == expected
    assert len(ranges(hub)) == asked


def test_what_came_from_the_cache_can_be_verified() -> None:
    cache_it()
    model = pulled(REPO, WISH)
    assert not [check for check in watched(verify(model)) if check.is_failed]


# Without the Hub


@pytest.mark.parametrize("why", ["forbidden", "away"])
def test_the_cache_is_used_where_the_hub_cannot_be_asked(
    why: str, monkeypatch: pytest.MonkeyPatch, expected: bytes
) -> None:
    commit = cache_it().name
    if why == "forbidden":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    events = events_of(REPO, WISH)
    assert installed()[0].path.read_bytes() == expected
    assert installed()[0].receipt.commit == commit
    note = chosen_of(events).notes[0]
    assert ("HF_HUB_OFFLINE is set" if why == "forbidden" else "cannot be reached") in note
    assert note.endswith(f"taken is what the Hub cache has of it, at {commit[:7]}")


@pytest.mark.parametrize("names", [(), (TOKENIZER, "config.json"), (SHARDS[0], "config.json")])
def test_what_the_cache_has_no_whole_of_is_missed(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if names:
        cache_it(*names)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("HF_HUB_OFFLINE is set"):
        events_of(REPO, WISH)


@pytest.mark.parametrize("revision", ["../../main", "nothing", "0" * 40])
def test_a_revision_that_the_cache_does_not_have_is_missed(revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_it()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("HF_HUB_OFFLINE is set"):
        events_of(REPO, WISH, revision=revision)


def test_damage_is_found_without_the_hub_too(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = (cache_it() / SHARDS[1]).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x07")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("is damaged"):
        events_of(REPO, WISH)


# What is kept


def test_a_checkpoint_that_is_kept_is_all_in_the_cache(
    hub: TrickyHub, chatml: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = list(keeping_pull())
    download = [event for event in events if isinstance(event, Progress) and event.stage == "download"]
    done = [event.done_bytes for event in download]
    assert done == sorted(done)
    assert {event.total_bytes for event in download} == {done[-1]} == {chosen_of(events).download_bytes}
    assert chosen_of(events).disk_bytes == chosen_of(events).plan.weights_bytes + done[-1]
    assert installed()[0].path.read_bytes() == expected
    assert rest() == []
    assert len([span for span in ranges(hub) if span is None]) >= len(SHARDS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = Path(snapshot_download(REPO))
    assert all((snapshot / path.name).read_bytes() == path.read_bytes() for path in chatml.iterdir())
    assert chosen_of(events_of(REPO, Wish(quant="Q4_0", threads=2))).download_bytes == 0


def test_a_checkpoint_that_is_kept_needs_only_what_is_missing(hub: TrickyHub, expected: bytes) -> None:
    with closing(keeping_pull()) as events:
        for event in events:
            if isinstance(event, Progress) and event.item == SHARDS[1]:
                break
    names = {path.name for path in Path(constants.HF_HUB_CACHE).glob("*/snapshots/*/*")}
    assert SHARDS[0] in names
    asked = len(ranges(hub))
    list(keeping_pull())
    assert installed()[0].path.read_bytes() == expected
    assert len(ranges(hub)) <= asked + 1
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.incomplete"))


def test_a_download_that_is_stopped_ends(tmp_path: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 15)
    with publishing(tmp_path / "slow", chatml, monkeypatch, rate=400_000):
        with closing(keeping_pull()) as events:
            for event in events:
                if isinstance(event, Progress) and event.done_bytes:
                    break
        assert 0 < event.done_bytes < event.total_bytes
        assert not list(Path(constants.HF_HUB_CACHE).rglob("*.incomplete")), "its thread has ended"


def test_kept_weights_that_arrive_damaged_are_refused(hub: TrickyHub) -> None:
    with closing(keeping_pull()) as events:
        next(events)
        hub.lie = "wrong-hash"  # in the headers, too
        with refused():
            list(events)
    assert installed() == []


def test_a_hub_that_refuses_is_one_sentence(hub: TrickyHub) -> None:
    with closing(keeping_pull()) as events:
        next(events)
        hub.fail_next(1000, 403)
        with refused("403"):
            list(events)


@pytest.mark.usefixtures("naps")
def test_a_hub_that_goes_away_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(keeping_pull()) as events:
        next(events)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with refused("cannot be reached"):
            list(events)


def test_a_repository_of_model_files_has_no_checkpoint_to_keep(root: Path, chatml_file: Path) -> None:
    folder = root / "acme" / "files"
    folder.mkdir()
    (folder / "tiny.Q8_0.gguf").symlink_to(chatml_file)
    with refused("no checkpoint to keep"):
        list(pull(replace(parse("acme/files"), making=Making(keep_checkpoint=True)), WISH))


def test_the_command_keeps_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", REPO, "--quant", "Q8_0", "--keep-checkpoint", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quant"] == "Q8_0"
    assert list(Path(constants.HF_HUB_CACHE).glob(f"*/snapshots/*/{SHARDS[1]}"))
