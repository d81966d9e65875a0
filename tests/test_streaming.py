"""Weights that are converted while they arrive: the same file whatever happens, and no weight is on the disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pull_hub import REPO, TrickyHub, publishing, ranges
from test_imatrix import both, imatrix_bytes
from test_pull import events_of, pulled
from test_pull_sources import ADAPTER, adapter, low_rank
from tiny import refused, shard, with_json

from localchat.convert import write as writing
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.imatrix import read_imatrix
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.library import installed
from localchat.paths import downloads_folder
from localchat.plan.wish import Wish
from localchat.pull import ranges as fetching
from localchat.pull import segments, streaming
from localchat.pull.events import Chosen, Progress
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.install import pull
from localchat.pull.source import Making, parse
from localchat.pull.unfinished import alone, begun_in, unfinished

WISH = Wish(quant="Q8_0", threads=2)
PIECE_BYTES = 100_000
CHECKPOINTS = ("chatml", "fp32-single", "mixtral-tiny", "zephyr-bin")
SEED = 7


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(streaming, "PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 3 * PIECE_BYTES)
    monkeypatch.setattr(writing, "PATIENCE_SECONDS", 0.01)


@pytest.fixture
def hub(tmp_path: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[TrickyHub]:
    """A Hub whose clients do not sleep between their tries."""
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=naps.append))
    with publishing(tmp_path / "hub", chatml, monkeypatch) as hub:
        yield hub


@pytest.fixture(scope="module")
def expected(chatml: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model file that is made of the checkpoint in one go."""
    return by_hand(chatml, tmp_path_factory.mktemp("expected") / "tiny.gguf")


def by_hand(checkpoint: Path, path: Path) -> bytes:
    for _ in write(layout(read_checkpoint(checkpoint, "tiny"), "Q8_0"), path, threads=2):
        pass
    return path.read_bytes()


def used(folder: Path) -> int:
    """Bytes on the disk; a file with holes has fewer than its length."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def outcome() -> bytes:
    (model,) = installed()
    assert list(downloads_folder().iterdir()) == [], "nothing is left of what was unfinished"
    return model.path.read_bytes()


# The same file


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_kind_of_checkpoint_becomes_the_file_that_it_becomes_from_the_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Path(__file__).parent / "data" / name
    with publishing(tmp_path / "hub", checkpoint, monkeypatch):
        most, file_bytes = 0, 0
        with closing(pull(parse(REPO), WISH)) as events:
            for event in events:
                file_bytes = event.disk_bytes if isinstance(event, Chosen) else file_bytes
                most = max(most, used(downloads_folder()))
    assert outcome() == by_hand(checkpoint, tmp_path / "expected.gguf")
    small = sum(path.stat().st_size for path in checkpoint.iterdir() if path.suffix in (".json", ".model"))
    assert most < file_bytes + 2 * small + 2_000_000, "the result, descriptions, headers and some rows"


@pytest.mark.usefixtures("hub")
def test_progress_rises_to_the_whole_download() -> None:
    events = [event for event in events_of(REPO, WISH) if isinstance(event, Progress) and event.stage == "download"]
    done = [event.done_bytes for event in events]
    assert done == sorted(done)
    assert {event.total_bytes for event in events} == {done[-1]}
    assert len(set(done)) > 10


@pytest.mark.usefixtures("hub")
def test_what_must_be_in_memory_at_once_may_be_too_much(expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WINDOW_LIMIT_BYTES", 1000)
    stages = [event.stage for event in events_of(REPO, WISH) if isinstance(event, Progress)]
    assert "convert" in stages, "it was downloaded first"
    assert outcome() == expected


# Stopped, cut, killed


@pytest.mark.usefixtures("hub")
def test_a_pull_that_is_stopped_anywhere_goes_on_from_there(expected: bytes) -> None:
    missing = []
    while not installed():
        with closing(pull(parse(REPO), WISH)) as events:
            items = set[str]()
            for event in events:
                if isinstance(event, Chosen):
                    missing.append(event.download_bytes)
                if isinstance(event, Progress) and event.stage == "download":
                    items.add(event.item)
                if len(items) == 5:
                    break
        assert len(missing) < 20
    assert len(set(missing)) > 3
    assert missing == sorted(missing, reverse=True)
    assert outcome() == expected


def test_what_is_done_is_not_fetched_again(hub: TrickyHub, expected: bytes) -> None:
    with closing(pull(parse(REPO), WISH)) as events:
        for event in events:
            if isinstance(event, Progress) and event.done_bytes > event.total_bytes * 0.8:
                break
    asked = len(ranges(hub))
    ((name, _),) = begun_in(next(downloads_folder().iterdir()))
    assert name == "tiny.Q8_0.gguf"
    chosen = events_of(REPO, WISH)[0]
    assert isinstance(chosen, Chosen)
    spans = [tuple(map(int, range.removeprefix("bytes=").split("-"))) for range in ranges(hub)[asked:] if range]
    headers = 2 * (256 << 10)
    assert sum(end - start + 1 for start, end in spans) <= chosen.download_bytes + headers
    assert outcome() == expected


@pytest.mark.usefixtures("hub")
def test_what_is_done_is_looked_through_without_going_back() -> None:
    stop_half_way()
    events = events_of(REPO, WISH)
    stages = [event.stage for event in events if isinstance(event, Progress)]
    checked = [event for event in events if isinstance(event, Progress)][: stages.index("download")]
    done = [event.done_bytes for event in checked]
    assert len(done) > 10
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] < checked[-1].total_bytes


@pytest.mark.usefixtures("hub")
def test_a_type_that_was_begun_is_finished_where_none_is_asked_for() -> None:
    with closing(pull(parse(REPO), Wish(quant="Q5_K_M", threads=2))) as events:
        for event in events:
            if isinstance(event, Progress) and event.done_bytes > event.total_bytes * 0.5:
                break
    assert pulled(REPO, Wish(threads=2)).receipt.quant == "Q5_K_M"


@pytest.mark.parametrize("seed", range(6))
def test_connections_that_are_cut_change_nothing(hub: TrickyHub, expected: bytes, seed: int) -> None:
    choice = random.Random(seed)
    with closing(pull(parse(REPO), WISH)) as events:
        for event in events:
            if isinstance(event, Progress) and choice.random() < 0.2:
                hub.cut_after(choice.randrange(PIECE_BYTES))
    assert outcome() == expected


KILLED = """
import sys
sys.path[:0] = {path!r}
from localchat.plan.wish import Wish
from localchat.pull import segments, streaming
from localchat.pull.install import pull
from localchat.pull.source import Making, parse
segments.PIECE_BYTES = streaming.PIECE_BYTES = {piece}
for event in pull(parse({repo!r}), Wish(quant="Q8_0", threads=2)):
    print(type(event).__name__, getattr(event, "done_bytes", 0), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.usefixtures("hub")
def test_a_pull_that_is_killed_goes_on(expected: bytes) -> None:
    """At any moment: what the journal says is there, and what is there beside it is done anew.

    It is waited for at each event, so that it is not finished before it was killed five times: it has 45 of them.
    """
    choice, kills = random.Random(SEED), 0
    script = KILLED.format(path=sys.path, piece=PIECE_BYTES, repo=REPO)
    while not installed():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", script], bufsize=0, env=os.environ, **pipes) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if kills == 5:
                process.communicate()
                break
            for _ in range(choice.randrange(1, 8)):
                assert process.stdout.readline()
                process.stdin.write(b"\n")
            time.sleep(choice.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            kills += 1
    assert kills == 5
    assert (installed()[0]).path.read_bytes() == expected


def stop_half_way() -> Path:
    """Leave an unfinished file; returns its path."""
    with closing(pull(parse(REPO), WISH)) as events:
        for event in events:
            if isinstance(event, Progress) and event.done_bytes > event.total_bytes * 0.7:
                break
    (path,) = downloads_folder().glob("*/*.gguf.partial")
    return path


@pytest.mark.usefixtures("hub")
def test_what_was_damaged_meanwhile_is_made_again(expected: bytes) -> None:
    path = stop_half_way()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(b"damage")
    pulled(REPO, WISH)
    assert outcome() == expected


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("what", ["weights", "config", "importance"])
def test_what_was_begun_of_other_inputs_on_this_disk_is_not_gone_on_with(
    what: str, tmp_path: Path, chatml: Path
) -> None:
    mine, wish, matrix = adapter(tmp_path / "mine", REPO), Wish(quant="Q4_K_M", threads=2), tmp_path / "imatrix.gguf"
    columns = np.arange(1, 257, dtype=np.float32) ** 3
    matrix.write_bytes(imatrix_bytes(both("blk.0.ffn_up.weight", columns, np.ones(1, np.float32))))
    source = replace(parse(str(mine)), making=Making(imatrix=matrix))
    with closing(pull(source, wish)) as events:
        next(event for event in events if isinstance(event, Progress) and event.item == "blk.1.ffn_up.weight")
    match what:
        case "weights":
            (mine / "adapter_model.safetensors").write_bytes(shard({name: 3 * one for name, one in low_rank().items()}))
        case "config":
            with_json(mine, "adapter_config.json", **{**ADAPTER, "lora_alpha": 9}, base_model_name_or_path=REPO)
        case _:
            matrix.write_bytes(imatrix_bytes(both("blk.0.ffn_up.weight", columns[::-1].copy(), np.ones(1, np.float32))))
    for _ in pull(source, wish):
        pass
    result = layout(read_checkpoint(mine, "mine", chatml), "Q4_K_M", read_imatrix(matrix))
    for _ in write(result, tmp_path / "expected.gguf", threads=2):
        pass
    assert outcome() == (tmp_path / "expected.gguf").read_bytes()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("how", ["cut", "nonsense", "other", "marks", "state", "no rows", "no file"])
def test_a_journal_that_is_damaged_loses_time_only(expected: bytes, how: str) -> None:
    path = stop_half_way()
    journal = path.with_name(path.name + ".journal")
    lines = journal.read_text().splitlines(keepends=True)
    entry = json.loads(lines[-1])
    match how:
        case "cut":
            journal.write_text("".join(lines)[:-20])
        case "nonsense":
            journal.write_text("".join([*lines[:3], "\x00[[[[\n", *lines[3:]]))
        case "other":
            journal.write_text("".join(['{"identity": "0"}\n', *lines[1:]]))
        case "marks":
            lines[-1] = json.dumps({**entry, "marks": {name: [-4, ""] for name in entry["marks"]}}) + "\n"
            journal.write_text("".join(lines))
        case "state":
            broken = {name: [at, "00" * 112] for name, (at, _) in entry["marks"].items()}
            lines[-1] = json.dumps({**entry, "marks": broken}) + "\n"
            journal.write_text("".join(lines))
        case "no rows":
            path.with_name(path.name + ".rows").unlink()
        case _:
            path.unlink()
    if how == "no rows":
        with refused():
            events_of(REPO, WISH)
    pulled(REPO, WISH)
    assert outcome() == expected


def test_holes_of_an_unfinished_file_still_need_room(tmp_path: Path) -> None:
    place = unfinished(tmp_path, "a.gguf")
    assert place.disk_bytes == 0
    with place.path.open("wb") as file:
        file.truncate(10 << 20)
    assert place.disk_bytes < 1 << 20


@pytest.mark.usefixtures("hub")
def test_two_programs_do_not_pull_the_same() -> None:
    path = stop_half_way()
    with alone(unfinished(path.parent, path.name.removesuffix(".partial"))), refused("another program is pulling"):
        events_of(REPO, WISH)
    assert pulled(REPO, WISH).receipt.quant == "Q8_0"


# Lies


@pytest.mark.usefixtures("hub")
def test_a_file_that_arrives_damaged_is_fetched_again(expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, spoiled = fetching.stream, list[str]()

    def stream(repo: Repo, file: RemoteFile, start: int, end: int) -> Generator[bytes]:
        for chunk in honest(repo, file, start, end):
            if start > 0 and file.name not in spoiled:
                spoiled.append(file.name)
                chunk = bytes([chunk[0] ^ 0x10]) + chunk[1:]
            yield chunk

    monkeypatch.setattr(streaming, "stream", stream)
    done = [
        event.done_bytes for event in events_of(REPO, WISH) if isinstance(event, Progress) and event.stage == "download"
    ]
    assert len(spoiled) == 2
    assert done == sorted(done), "progress never goes back"
    assert outcome() == expected


@pytest.mark.usefixtures("hub")
def test_a_file_that_is_damaged_each_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fetching.stream

    def stream(repo: Repo, file: RemoteFile, start: int, end: int) -> Generator[bytes]:
        for chunk in honest(repo, file, start, end):
            yield bytes([chunk[-1] ^ 0x10]) + chunk[1:]

    monkeypatch.setattr(streaming, "stream", stream)
    with refused("arrived damaged"):
        events_of(REPO, WISH)
    assert installed() == []
    assert not list(downloads_folder().glob("*/*.partial*"))


def test_a_server_that_sends_no_parts_is_refused(hub: TrickyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part would come behind all that is before it."""
    monkeypatch.setattr(fetching, "SKIPPED_LIMIT_BYTES", 2 * PIECE_BYTES)
    hub.lie = "200-for-206"
    with refused("only as a whole"):
        events_of(REPO, WISH)
    assert len([range for range in ranges(hub) if range]) < 20


def test_a_hub_that_goes_away_half_way_is_one_sentence(hub: TrickyHub, expected: bytes) -> None:
    def read_on() -> None:
        with closing(pull(parse(REPO), WISH)) as events:
            for event in events:
                if isinstance(event, Progress) and event.done_bytes > event.total_bytes * 0.4:
                    hub.fail_next(1000, 503, within="/cdn/")

    with refused("503"):
        read_on()
    hub.forgive()
    pulled(REPO, WISH)
    assert outcome() == expected
