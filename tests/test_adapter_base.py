"""Adapters and the models that they belong to: which is which, and where the base comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from own_layout import consolidated, own_layout, same, values
from test_adapter import CONFIG, DOWN, A, B, adapter, low_rank, zeros
from tiny import checkpoint, refused, shard, weights, with_json

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.parts import parts_of_folder, parts_of_repo


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The small checkpoint."""
    return checkpoint(tmp_path / "base")


def test_an_adapter_without_its_base_names_it(tmp_path: Path) -> None:
    with refused("acme/base"):
        read_checkpoint(adapter(tmp_path / "adapter", low_rank(DOWN)), "x")


@pytest.mark.parametrize("said", [..., "", None], ids=["nothing", "an empty name", "null"])
def test_an_adapter_that_does_not_say_which_model_it_belongs_to_is_told(said: Any, base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", low_rank(DOWN), base_model_name_or_path=said)
    with refused("does not name"):
        read_checkpoint(folder, "x")
    with refused("does not say what its base is"):
        parts_of_folder(folder, None)
    assert parts_of_folder(folder, str(base)).base == base.resolve()
    named = adapter(tmp_path / "named", low_rank(DOWN))
    same(values(read_checkpoint(folder, "x", base)), values(read_checkpoint(named, "x", base)))


def test_an_adapter_of_an_adapter_is_refused(tmp_path: Path) -> None:
    first = adapter(tmp_path / "first", low_rank(DOWN))
    with refused("first is an adapter itself"):
        read_checkpoint(adapter(tmp_path / "second", low_rank(DOWN)), "x", first)


def test_a_merged_model_that_keeps_the_config_of_its_adapter_is_a_model(base: Path) -> None:
    before = values(read_checkpoint(base, "x"))
    with_json(base, "adapter_config.json", **CONFIG)
    (base / "adapter_model.safetensors").write_bytes(shard(low_rank(DOWN)))
    same(values(read_checkpoint(base, "x")), before)
    assert parts_of_folder(base, None).base is None


def test_an_adapter_with_the_config_of_its_base_beside_it_is_an_adapter(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", low_rank(DOWN))
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    names = [file.name for file in folder.iterdir()]
    assert Repo("a/b", "0" * 40, {name: RemoteFile(name, 1, None) for name in names}).is_adapter
    with refused("this is an adapter of acme/base"):
        read_checkpoint(folder, "x")


def test_a_change_that_overflows_is_refused_when_it_is_written(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", {A: zeros(4, 96) + 1e30, B: zeros(64, 4) + 1e30})
    plan = layout(read_checkpoint(folder, "x", base), "Q8_0")
    with refused("not a finite number"):
        list(write(plan, tmp_path / "model.gguf", 1))


def test_an_adapter_of_itself_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", low_rank(DOWN), base_model_name_or_path=".")
    assert parts_of_folder(folder, None).base == folder
    with refused("is an adapter itself"):
        read_checkpoint(folder, "x", folder)


def test_a_base_in_mistrals_own_layout_is_refused(tmp_path: Path) -> None:
    own = consolidated(tmp_path / "own", [own_layout(weights())])
    with refused("Mistral's own layout"):
        read_checkpoint(adapter(tmp_path / "adapter", low_rank(DOWN)), "x", own)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\0" * 64), "adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_config.json").write_bytes(b"[]"), "adapter_config.json"),
    ],
    ids=["missing", "zeros", "no object"],
)
def test_a_file_that_is_damaged_is_named(
    damage: Callable[[Path], None], words: str, base: Path, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "adapter", low_rank(DOWN))
    damage(folder)
    with refused(words):
        read_checkpoint(folder, "x", base)


def test_a_base_beside_a_local_adapter_is_found(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", low_rank(DOWN), base_model_name_or_path="../base")
    assert parts_of_folder(folder, None).base == base.resolve()
    assert parts_of_folder(folder, str(base)).base == base.resolve()


@pytest.mark.parametrize("name", ["{base}", "../base", "~", "/", "a\0b", "x" * 5000, "\ud800", "~nobody/x", ".."])
def test_an_adapter_of_the_hub_does_not_choose_a_folder_of_this_disk(
    name: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = name.format(base=base)
    folder = adapter(tmp_path / "adapter", low_rank(DOWN), base_model_name_or_path=path)
    names = ("adapter_config.json", "adapter_model.safetensors")
    repo = Repo("acme/adapter", "0" * 40, {file: RemoteFile(file, 1, None) for file in names})
    monkeypatch.setattr("localchat.pull.parts.download_small", lambda asked: {repo.id: folder}[asked.id])
    monkeypatch.chdir(tmp_path / "adapter")
    with refused("the adapter's base", "is not here"):
        parts_of_repo(repo, None)
    assert parts_of_repo(repo, str(base)).base == base.resolve()
