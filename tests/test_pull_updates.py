"""An installed model that is pulled again: has anything changed that it was made of?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import refused

from localchat import library
from localchat.library import Installed, Receipt
from localchat.plan.wish import Wish
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.installing import check_name, confirmed, revision_of, unchanged
from localchat.pull.source import Folder, HubRepo, Source

SHARD, CONFIG = "model.safetensors", b"{}"
CONFIG_HASH = hashlib.sha256(CONFIG).hexdigest()
REPO = Repo("acme/tiny", "b" * 40, {
    SHARD: RemoteFile(SHARD, 5, "1" * 64),
    "config.json": RemoteFile("config.json", 2, None, "0" * 40),
    "README.md": RemoteFile("README.md", 2, None, "0" * 40),
})  # fmt: skip
RECEIPT = Receipt(
    "tiny", "tiny.Q8_0.gguf", 0, "0" * 64, "Q8_0", "acme/tiny", "a" * 40, {SHARD: "1" * 64, "config.json": CONFIG_HASH},
    {}, {}, (),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_bytes(CONFIG)
    return tmp_path


@pytest.fixture
def model() -> Installed:
    (library.folder_for("tiny") / RECEIPT.file).touch()
    return library.record(RECEIPT)


def test_a_commit_that_changes_nothing_of_the_model_is_no_update(folder: Path, model: Installed) -> None:
    assert unchanged("tiny", REPO, folder, Wish()) == model
    assert unchanged("tiny", REPO, folder, Wish(quant="Q8_0")) == model
    found = confirmed(model, Source(HubRepo("acme/tiny", "main"), "tiny"), REPO)
    assert found.receipt == replace(RECEIPT, commit="b" * 40)
    assert library.find("tiny").receipt == found.receipt


CHANGES: list[Callable[[Path], Repo]] = [
    lambda _: replace(REPO, files={**REPO.files, SHARD: RemoteFile(SHARD, 5, "2" * 64)}),
    lambda _: replace(REPO, id="other/tiny"),
    lambda folder: (folder / "config.json").write_bytes(b"{ }") and REPO,
    lambda folder: (folder / "tokenizer.json").write_bytes(b"{}") and REPO,
]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("change", CHANGES, ids=["weights", "origin", "config", "one file more"])
def test_what_has_changed_is_an_update(change: Callable[[Path], Repo], folder: Path) -> None:
    assert unchanged("tiny", change(folder), folder, Wish()) is None


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("wish", [Wish(quant="Q4_K_M"), Wish(size_bytes=1 << 40)])
def test_another_wish_is_an_update(wish: Wish, folder: Path) -> None:
    assert unchanged("tiny", REPO, folder, wish) is None


def test_the_revision_that_was_asked_for_is_kept() -> None:
    assert revision_of(Source(HubRepo("acme/tiny", "v2"), "tiny")) == "v2"
    assert revision_of(Source(HubRepo("acme/tiny", "main"), "tiny")) == ""
    assert revision_of(Source(Folder(Path("x")), "tiny")) == ""


@pytest.mark.usefixtures("model")
def test_a_model_that_moved_keeps_its_name() -> None:
    check_name("tiny", "new/tiny", "acme/tiny")
    check_name("other", "new/tiny")
    with refused("named tiny is installed already, from acme/tiny"):
        check_name("tiny", "new/tiny")
