"""Models that are cut into several files on the Hub become one file while they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from gguf_hub import REPO, events, pulled, serving, split
from pull_hub import TrickyHub
from tiny import refused

from localchat.convert.write import write
from localchat.errors import BadFile
from localchat.gguf_file import read_header
from localchat.library import Installed
from localchat.paths import downloads_folder, models_folder
from localchat.plan.here import this_machine
from localchat.plan.wish import Wish
from localchat.pull import ranges as ranged
from localchat.pull.events import Chosen, Progress, Ready
from localchat.pull.gguf_local import pull_parts
from localchat.pull.gguf_parts import joined, layout_of, parts_beside
from localchat.pull.source import ModelFilePath, parse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "hub" / REPO).mkdir(parents=True)
    return tmp_path / "hub"


@pytest.fixture(params=[(), (0,)], ids=["all parts have weights", "the first has none"])
def parts(request: pytest.FixtureRequest, root: Path, chatml_file: Path) -> list[Path]:
    """The Q8_0 file in parts, in a folder of its own, and nothing else to choose."""
    return split(chatml_file, root / REPO / "Q8_0", "tiny-Q8_0", [*request.param, 3, 11])


@pytest.fixture(autouse=True)
def hub(root: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[TrickyHub]:
    monkeypatch.setattr(ranged, "time", SimpleNamespace(sleep=naps.append))
    with serving(root, monkeypatch) as hub:
        yield hub


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_whole(model: Installed, original: Path) -> bool:
    """Is it the same model in one file?"""
    ours, theirs = read_header(model.path), read_header(original)
    same = {key: value for key, value in ours.metadata.items() if not key.startswith("split.")}
    data = [path.read_bytes()[header.data_offset :] for path, header in ((model.path, ours), (original, theirs))]
    return same == theirs.metadata == ours.metadata and ours.tensors == theirs.tensors and data[0] == data[1]


def test_parts_become_one_file(parts: list[Path], chatml_file: Path) -> None:
    chosen, *progress, ready = events()
    assert isinstance(chosen, Chosen)
    assert isinstance(ready, Ready)
    assert is_whole(ready.model, chatml_file)
    receipt = ready.model.receipt
    assert receipt.file_sha256 == sha256(ready.model.path)
    assert receipt.inputs == {f"Q8_0/{part.name}": sha256(part) for part in parts}
    assert f"Q8_0/{parts[0].name} is taken, in {len(parts)} parts" in chosen.plan.reasons[0]
    done = [event.done_bytes for event in progress if isinstance(event, Progress) and event.stage == "download"]
    assert done == sorted(done)
    assert done[-1] == chosen.disk_bytes == ready.model.path.stat().st_size
    assert list(downloads_folder().iterdir()) == []
    assert len(list(events())) == 2, "it is there now"


@pytest.mark.usefixtures("parts")
def test_no_part_is_on_the_disk_beside_the_result() -> None:
    most, whole = 0, 0
    for event in events():
        whole = event.disk_bytes if isinstance(event, Chosen) else whole
        most = max(most, sum(path.stat().st_blocks * 512 for path in downloads_folder().rglob("*") if path.is_file()))
    assert 0 < most <= whole + 65536


@pytest.mark.usefixtures("parts")
def test_parts_that_were_stopped_go_on_wherever_it_was(
    hub: TrickyHub, chatml_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged, "CHUNK_BYTES", 100_000)
    for steps in (2, 4, 7, 10):
        with closing(events()) as stream:
            for _ in zip(range(steps), stream, strict=False):
                pass
        assert not list(models_folder().iterdir())
    hub.cut_after(150_000)
    chosen, *progress, ready = events()
    assert isinstance(ready, Ready)
    assert is_whole(ready.model, chatml_file)
    assert isinstance(chosen, Chosen)
    done = [event.done_bytes for event in progress if isinstance(event, Progress) and event.stage == "download"]
    assert done == sorted(done)
    assert done[0] == chosen.disk_bytes - chosen.download_bytes, "what was there counts from the beginning"


@pytest.mark.usefixtures("parts")
def test_a_part_that_is_damaged_is_fetched_again(chatml_file: Path) -> None:
    with closing(events()) as stream:
        for event in stream:
            if isinstance(event, Progress) and event.done_bytes > 700_000:
                break
    (partial,) = downloads_folder().glob("*/*.partial")
    data = bytearray(partial.read_bytes())
    data[-1000] ^= 1
    partial.write_bytes(data)
    with refused("arrived damaged"):
        pulled()
    assert is_whole(pulled(), chatml_file)


def test_a_model_that_lacks_a_part_is_refused(parts: list[Path]) -> None:
    parts[-1].unlink()
    with refused("no whole GGUF file"):
        pulled()
    with refused("lacks parts of"):
        pulled(f"{REPO}:{parts[0].name}")


def test_parts_of_two_models_are_not_joined(parts: list[Path]) -> None:
    parts[1].write_bytes(parts[2].read_bytes())
    with refused("is not part 2 of"):
        pulled()


def test_parts_on_this_disk_are_a_layout_too(parts: list[Path], chatml_file: Path, tmp_path: Path) -> None:
    layout = layout_of(joined([read_header(part) for part in parts]))
    for _ in write(layout, out := tmp_path / "whole.gguf", threads=2):
        pass
    assert out.read_bytes() == chatml_file.read_bytes()
    assert layout.types == {tensor.name: tensor.type.name for tensor in read_header(chatml_file).tensors}


def test_what_is_not_of_one_model_is_refused(parts: list[Path], chatml_file: Path) -> None:
    headers = [read_header(part) for part in parts]
    for wrong in (headers[:-1], headers[::-1], [headers[0], *headers[2:], headers[1]]):
        with pytest.raises(BadFile, match=r"is not part \d of \d"):
            joined(wrong)
    whole = read_header(chatml_file)
    with pytest.raises(BadFile, match="have one tensor"):
        joined([whole, whole])


def test_parts_on_this_disk_are_installed_as_one(parts: list[Path], chatml_file: Path) -> None:
    source = parse(str(parts[1]))
    assert source.name == "tiny"
    assert isinstance(source.place, ModelFilePath)
    found = parts_beside(source.place.path)
    assert [part.path for part in found] == parts
    *_, ready = pull_parts(source, found, Wish(threads=2), this_machine(models_folder()))
    assert isinstance(ready, Ready)
    assert is_whole(ready.model, chatml_file)
    assert ready.model.receipt.inputs == {part.name: sha256(part) for part in parts}
    with refused("parts are installed as they are"):
        list(pull_parts(source, found, Wish(quant="Q4_0"), this_machine(models_folder())))


def test_a_part_that_is_missing_on_this_disk_is_named(parts: list[Path], chatml_file: Path) -> None:
    assert parts_beside(chatml_file) == []
    parts[1].unlink()
    with refused(parts[1].name, "is missing"):
        parts_beside(parts[0])
    with refused("says that it is one of 99,999 parts"):
        parts_beside(parts[0].with_name("x-00001-of-99999.gguf"))
