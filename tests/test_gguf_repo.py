"""Repositories with model files only: which file is taken, what is fetched of it, and what is installed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from gguf_hub import REPO, events, made, pulled, serving
from pull_hub import TrickyHub, ranges
from tiny import refused

from localchat.errors import LocalchatError
from localchat.gguf_file import read_header
from localchat.library import installed
from localchat.paths import downloads_folder, models_folder
from localchat.plan.wish import Wish
from localchat.pull import decide, gguf_choice, gguf_repo
from localchat.pull import ranges as ranged
from localchat.pull.events import Chosen, Progress, Ready
from localchat.pull.hub import read_repo
from localchat.pull.ranges import CHUNK_BYTES
from localchat.pull.source import endpoint

TYPES = ("Q8_0", "Q4_K_M", "Q2_K")


@pytest.fixture(scope="session")
def files(chatml: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small model in several types."""
    folder = tmp_path_factory.mktemp("types")
    return {kind: made(chatml, kind, folder / f"tiny.{kind}.gguf") for kind in TYPES}


@pytest.fixture
def root(files: dict[str, Path], tmp_path: Path) -> Path:
    """A Hub with one repository of these files, and others that are no models."""
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    for path in files.values():
        (folder / path.name).symlink_to(path)
    for name in ("mmproj-tiny-f16.gguf", "tiny.imatrix.gguf", "tiny-lora-f16.gguf", "README.md", "config.json"):
        (folder / name).write_bytes(b"GGUF no model")
    return tmp_path / "hub"


@pytest.fixture(autouse=True)
def hub(root: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[TrickyHub]:
    monkeypatch.setattr(ranged, "time", SimpleNamespace(sleep=naps.append))
    with serving(root, monkeypatch) as hub:
        yield hub


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# One file


def test_the_file_that_suits_the_machine_is_installed_as_it_is(files: dict[str, Path]) -> None:
    chosen, *progress, ready = events()
    assert isinstance(chosen, Chosen)
    assert isinstance(ready, Ready)
    assert all(isinstance(event, Progress) for event in progress)
    assert ready.model.path.read_bytes() == files["Q8_0"].read_bytes()
    assert (chosen.name, chosen.source, chosen.plan.quant) == ("tiny", REPO, "Q8_0")
    assert chosen.download_bytes == chosen.disk_bytes == files["Q8_0"].stat().st_size
    assert "tiny.Q8_0.gguf is taken; acme/tiny-GGUF also has Q4_K_M, Q2_K" in chosen.plan.reasons[0]


def test_the_receipt_pins_the_commit_and_the_hash_of_the_hub(files: dict[str, Path], hub: TrickyHub) -> None:
    receipt = pulled(wish=Wish(quant="Q4_K_M", threads=2)).receipt
    assert (receipt.source, receipt.quant, receipt.file) == (REPO, "Q4_K_M", "tiny.Q4_K_M.gguf")
    assert receipt.inputs == {"tiny.Q4_K_M.gguf": sha256(files["Q4_K_M"])}
    assert receipt.file_sha256 == sha256(files["Q4_K_M"])
    assert f"/resolve/{receipt.commit}/" in hub.requests[-1].path or receipt.commit in str(hub.requests)
    assert {check.name for check in receipt.checks} >= {"header", "vocabulary", "bytes", "template", "stop"}
    assert {"strings", "token_ids", "template"} == receipt.fingerprints.keys()
    assert receipt.recipe == {}
    assert list(downloads_folder().iterdir()) == []


def test_only_headers_are_asked_for_before_the_choice(hub: TrickyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_choice, "FIRST_BYTES", 4096)
    with closing(events()) as stream:
        assert isinstance(next(stream), Chosen)
    asked = [tuple(map(int, (one or "").removeprefix("bytes=").split("-"))) for one in ranges(hub)]
    assert len(asked) > len(TYPES)
    assert sum(end - start + 1 for start, end in asked) < 3 * 400_000
    assert list(downloads_folder().iterdir()) == []
    assert list(models_folder().iterdir()) == []


def test_what_is_no_model_is_not_looked_at(hub: TrickyHub) -> None:
    pulled()
    assert not any(word in served.path for served in hub.requests for word in ("mmproj", "imatrix", "lora", "README"))


WISHES = [
    (Wish(quant="Q2_K"), "Q2_K"),
    (Wish(size_bytes=1_300_000), "Q4_K_M"),
    (Wish(size_bytes=700_000), "Q2_K"),
    (Wish(goal="speed"), "Q4_K_M"),
]


@pytest.mark.parametrize(("wish", "quant"), WISHES)
def test_wishes_are_obeyed(wish: Wish, quant: str) -> None:
    assert pulled(wish=wish).receipt.quant == quant


@pytest.mark.parametrize("text", [f"{REPO}:Q2_K", f"hf.co/{REPO}:q2_k", f"{REPO}:tiny.Q2_K.gguf", "blob", "resolve"])
def test_a_type_and_a_file_can_be_named_as_in_other_programs(hub: TrickyHub, text: str) -> None:
    address = f"{hub.url}/{REPO}/{text}/main/tiny.Q2_K.gguf" if text in ("blob", "resolve") else text
    assert pulled(address).path.name == "tiny.Q2_K.gguf"


def test_a_type_that_there_is_not_says_which_there_are() -> None:
    with pytest.raises(LocalchatError, match="acme/tiny-GGUF has no Q6_K") as refusal:
        pulled(wish=Wish(quant="Q6_K"))
    assert "Q8_0, Q4_K_M, Q2_K" in refusal.value.hint


def test_what_cannot_be_is_said_before_the_first_byte(hub: TrickyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("as small as 1.0 KiB"):
        pulled(wish=Wish(size_bytes=1024))
    with refused("and 1.0 KiB can be used now"):
        pulled(wish=Wish(memory_bytes=1024))
    monkeypatch.setattr(decide, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1000)))
    with refused("1000 B are free"):
        pulled()
    assert all("-" in (one or "") and not (one or "").endswith("-") for one in ranges(hub))
    assert list(models_folder().iterdir()) == []


def test_a_type_is_what_the_header_says_and_not_the_name(root: Path, files: dict[str, Path]) -> None:
    lying = root / REPO / "tiny.Q6_K.gguf"
    lying.symlink_to(files["Q2_K"])
    with refused("acme/tiny-GGUF has no Q6_K: tiny.Q6_K.gguf is Q2_K by its header"):
        pulled(wish=Wish(quant="Q6_K"))
    for name in ("tiny.Q8_0.gguf", "tiny.Q4_K_M.gguf", "tiny.Q2_K.gguf"):
        (root / REPO / name).unlink()
    assert pulled().receipt.quant == "Q2_K"


def test_a_file_whose_name_tells_nothing_is_known_by_its_header(root: Path) -> None:
    for path in (root / REPO).glob("tiny.*.gguf"):
        path.unlink() if "Q8_0" not in path.name else path.rename(root / REPO / "model.gguf")
    assert pulled().receipt.quant == "Q8_0"
    assert pulled(wish=Wish(quant="Q8_0", size_bytes=1 << 30)).receipt.quant == "Q8_0"


def test_of_two_that_say_one_type_the_one_that_was_planned_is_taken(root: Path, files: dict[str, Path]) -> None:
    for path in (root / REPO).iterdir():
        path.unlink()
    (root / REPO / "tiny.Q4_K_M.gguf").symlink_to(files["Q4_K_M"])
    end = read_header(files["Q2_K"]).spans["general.file_type"][1]
    data = bytearray(files["Q2_K"].read_bytes())
    data[end - 4 : end] = (15).to_bytes(4, "little")  # Q4_K_M
    (root / REPO / "tiny.IQ1_S.gguf").write_bytes(data)
    model = pulled(wish=Wish(threads=2, size_bytes=len(data) + 1))
    assert sha256(model.path) == hashlib.sha256(data).hexdigest()


def test_a_mix_of_its_own_keeps_its_name(root: Path, files: dict[str, Path]) -> None:
    (root / REPO / "tiny.Q4_K_L.gguf").symlink_to(files["Q4_K_M"])
    assert pulled(wish=Wish(quant="Q4_K_L")).path.name == "tiny.Q4_K_L.gguf"


def test_the_nearest_type_stands_in_for_one_that_is_missing(root: Path, chatml: Path) -> None:
    for path in (root / REPO).glob("tiny.Q*.gguf"):
        path.unlink()
    for kind in ("Q5_K_S", "Q3_K_L"):
        made(chatml, kind, root / REPO / f"tiny.{kind}.gguf")
    assert pulled().receipt.quant == "Q5_K_S"


def test_of_several_models_the_one_with_most_files_is_taken(root: Path, hub: TrickyHub, files: dict[str, Path]) -> None:
    (root / REPO / "draft.Q8_0.gguf").symlink_to(files["Q8_0"])
    chosen = next(events())
    assert isinstance(chosen, Chosen)
    assert "tiny.Q8_0.gguf is taken" in chosen.plan.reasons[0]
    assert pulled(f"{hub.url}/{REPO}/blob/main/draft.Q8_0.gguf").name == "draft"


def test_a_repository_without_a_model_file_is_one_sentence(root: Path) -> None:
    for path in (root / REPO).glob("tiny.Q*.gguf"):
        path.unlink()
    with refused("no whole GGUF file"):
        pulled()
    with refused("has no model file other.gguf"):
        pulled(f"{REPO}:other.gguf")


@pytest.mark.parametrize("content", [b"GGUF", b"weights" * 100, b"GGUF" + bytes(100_000)])
def test_a_file_that_is_not_sound_is_refused_by_its_header(root: Path, content: bytes) -> None:
    for path in (root / REPO).glob("tiny.Q*.gguf"):
        path.unlink()
    (root / REPO / "tiny.Q8_0.gguf").write_bytes(content)
    with refused("tiny.Q8_0.gguf is not a sound GGUF file"):
        pulled()
    assert list(models_folder().iterdir()) == []


# Stopped, cut, lied to


def test_a_download_that_was_stopped_goes_on(hub: TrickyHub, files: dict[str, Path]) -> None:
    with closing(events()) as stream:
        for event in stream:
            if isinstance(event, Progress) and event.done_bytes >= CHUNK_BYTES:
                break
    assert not list(models_folder().iterdir())
    chosen, *_, ready = events()
    assert isinstance(chosen, Chosen)
    assert chosen.download_bytes == files["Q8_0"].stat().st_size - CHUNK_BYTES
    assert f"bytes={CHUNK_BYTES}-{files['Q8_0'].stat().st_size - 1}" in ranges(hub)
    assert isinstance(ready, Ready)
    assert sha256(ready.model.path) == sha256(files["Q8_0"])


def test_two_types_can_be_pulled_at_the_same_time(files: dict[str, Path]) -> None:
    first = events(f"{REPO}:Q8_0", name="first")
    while not (isinstance(event := next(first), Progress) and event.done_bytes):
        pass
    second = pulled(f"{REPO}:Q4_K_M", name="second")
    *_, ready = first
    assert isinstance(ready, Ready)
    assert [sha256(model.path) for model in (ready.model, second)] == [sha256(files["Q8_0"]), sha256(files["Q4_K_M"])]
    assert not list(downloads_folder().iterdir())


def test_what_was_begun_of_another_type_goes() -> None:
    with closing(events(f"{REPO}:Q8_0")) as stream:
        while not (isinstance(event := next(stream), Progress) and event.done_bytes):
            pass
    (begun,) = downloads_folder().iterdir()
    (begun / "whole.gguf.partial.lock").touch()  # as a process that is killed leaves it
    pulled(f"{REPO}:Q4_K_M")
    assert not list(downloads_folder().iterdir())


@pytest.mark.parametrize("lie", ["wrong-hash", "short-body"])
def test_a_lying_hub_installs_nothing(hub: TrickyHub, lie: str) -> None:
    hub.lie = lie  # type: ignore[assignment]
    with refused():
        pulled()
    assert not list(models_folder().iterdir())
    hub.lie = None
    assert pulled().name == "tiny"


def test_a_hub_that_knows_no_ranges_does_no_harm(hub: TrickyHub) -> None:
    hub.lie = "200-for-206"
    assert pulled().name == "tiny"


# Updates


def test_what_is_installed_is_not_fetched_again(hub: TrickyHub) -> None:
    model, asked = pulled(), len(hub.requests)
    chosen, ready = events()
    assert isinstance(chosen, Chosen)
    assert (chosen.is_present, chosen.commit) == (True, model.receipt.commit)
    assert ready == Ready(model)
    assert not any("/resolve/" in served.path for served in hub.requests[asked:])


@pytest.mark.usefixtures("hub")
def test_what_is_installed_is_up_to_date_though_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise LocalchatError("it does not fit", "close other programs")

    model = pulled()
    monkeypatch.setattr(gguf_repo, "make_plan", full)
    assert list(events()) == [Ready(model)]


def test_a_commit_that_changes_only_words_is_only_noted(root: Path, hub: TrickyHub) -> None:
    model, asked = pulled(), len(hub.requests)
    (root / REPO / "README.md").write_text("changed")
    after = pulled()
    assert after.receipt.commit != model.receipt.commit
    assert after.receipt.file_sha256 == model.receipt.file_sha256
    assert not any("/resolve/" in served.path for served in hub.requests[asked:])


def test_an_update_keeps_the_type(root: Path, files: dict[str, Path]) -> None:
    before = pulled(wish=Wish(quant="Q2_K"))
    (root / REPO / "tiny.Q2_K.gguf").unlink()
    (root / REPO / "tiny.Q2_K.gguf").write_bytes(files["Q2_K"].read_bytes() + bytes(32))
    after = pulled("tiny")
    assert (after.receipt.quant, after.receipt.commit != before.receipt.commit) == ("Q2_K", True)
    assert [model.receipt for model in installed()] == [after.receipt]


def test_a_revision_that_was_asked_for_is_kept(root: Path) -> None:
    commit = read_repo(REPO, "main").commit
    address = f"{endpoint()}/{REPO}/tree/{commit}"
    assert pulled(address).receipt.revision == commit
    assert pulled("tiny").receipt.revision == commit
    (root / REPO / "README.md").write_text("changed")
    with refused("has no such revision"):  # this Hub knows only the newest
        pulled("tiny")
    assert pulled(REPO).receipt.revision == ""


def test_a_repository_that_moved_is_followed_and_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(root, monkeypatch, moved={"old/tiny-GGUF": REPO}):
        chosen, *_, ready = events("old/tiny-GGUF")
        assert isinstance(chosen, Chosen)
        assert chosen.notes == ("old/tiny-GGUF has moved to acme/tiny-GGUF",)
        assert isinstance(ready, Ready)
        assert ready.model.receipt.source == REPO
        assert len(list(events("old/tiny-GGUF"))) == 2


def test_a_model_of_another_origin_is_not_replaced(root: Path, files: dict[str, Path]) -> None:
    pulled()
    other = root / "other" / "tiny-GGUF"
    other.mkdir(parents=True)
    (other / "tiny.Q2_K.gguf").symlink_to(files["Q2_K"])
    with refused("named tiny is installed already"):
        pulled("other/tiny-GGUF")
    assert pulled("other/tiny-GGUF", name="other").name == "other"
