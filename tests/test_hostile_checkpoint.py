"""Whole checkpoints with one file made strange: each gives a layout or a sentence, never another error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_layout import same, values
from tiny import checkpoint, raw_shard, refused, shard, sound_or_refused, weights

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import Layout, layout
from localchat.convert.write import Finished, write

WEIGHTS = "model.safetensors"
UP = "model.layers.0.mlp.up_proj.weight"


def planned(folder: Path) -> Layout:
    """The checkpoint read and laid out, as far as it goes before a weight is read."""
    return layout(read_checkpoint(folder, "a name"), "Q8_0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint of one layer, to be damaged."""
    return checkpoint(tmp_path / "checkpoint")


def pipe(path: Path) -> None:
    """A named pipe, of which a reader waits forever for the first byte."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def directory(path: Path) -> None:
    """A folder by the name of a file."""
    path.unlink(missing_ok=True)
    path.mkdir()


def loop(path: Path) -> None:
    """A link to itself."""
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def dangling(path: Path) -> None:
    """A link to nothing."""
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent / "nothing")


STRANGE: list[Callable[[Path], None]] = [directory, loop, dangling]
if hasattr(os, "mkfifo"):
    STRANGE.append(pipe)


@pytest.mark.parametrize("strange", STRANGE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", WEIGHTS])
def test_something_else_in_place_of_a_file_that_is_needed_is_refused(
    name: str, strange: Callable[[Path], None], folder: Path
) -> None:
    strange(folder / name)
    with refused():
        planned(folder)


@pytest.mark.parametrize("strange", STRANGE, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors.index.json", "generation_config.json", "tokenizer_config.json", "added_tokens.json",
        "special_tokens_map.json", "chat_template.jinja", "adapter_config.json", "params.json", "tekken.json",
        "tokenizer.json", "pytorch_model.bin", "model-00001-of-00002.safetensors",
    ],
)  # fmt: skip
def test_something_else_in_place_of_a_file_that_may_be_missing_is_not_read(
    name: str, strange: Callable[[Path], None], folder: Path
) -> None:
    strange(folder / name)
    assert planned(folder).source_bytes > 0


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", WEIGHTS])
def test_what_may_not_be_read_is_refused(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refusing(path: Path, *arguments: Any, **options: Any) -> Any:
        """As the system answers anybody but root, who may read everything."""
        if path == folder / name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    with refused("cannot be read", name):
        planned(folder)


def test_a_folder_that_may_not_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refusing)
    with refused("cannot be read"):
        planned(folder)


def test_weights_that_are_links_as_in_the_cache_of_the_hub_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).rename(tmp_path / "blob")
    (folder / WEIGHTS).symlink_to(tmp_path / "blob")
    assert planned(folder).source_bytes > 0


@pytest.mark.parametrize("file", ["F16", "Q8_0", "BF16", "F32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_refused(value: float, file: str, tmp_path: Path) -> None:
    array = weights()[UP]
    array[95, 63] = value
    folder = checkpoint(tmp_path / "x", dtype="F16", tensors={**weights(), UP: array})
    with refused("not a finite number"):
        list(write(layout(read_checkpoint(folder, "x"), file), tmp_path / "model.gguf", 1))


def test_a_weight_too_large_for_half_precision_is_refused_there_and_kept_elsewhere(tmp_path: Path) -> None:
    array = weights()[UP]
    array[95, 63] = 1 << 17
    folder = checkpoint(tmp_path / "x", dtype="BF16", tensors={**weights(), UP: array})
    with refused("too large for F16"):
        list(write(layout(read_checkpoint(folder, "x"), "F16"), tmp_path / "model.gguf", 1))
    for file in ("BF16", "F32"):
        *_, last = write(layout(read_checkpoint(folder, "x"), file), tmp_path / "model.gguf", 1)
        assert isinstance(last, Finished)


@pytest.mark.parametrize("data", [b"", b"short", bytes(100_000)], ids=["emptied", "short", "zeros"])
def test_weights_that_are_replaced_before_they_are_read_do_not_crash(data: bytes, folder: Path, tmp_path: Path) -> None:
    plan = planned(folder)
    (folder / WEIGHTS).write_bytes(data)
    with sound_or_refused():
        list(write(plan, tmp_path / "model.gguf", 1))


def twice(folder: Path, norm: float, weight_map: dict[str, str]) -> Path:
    """The checkpoint in two files, of which the second repeats the last norm with another value."""
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    second = {"model.norm.weight": np.full(64, norm, np.float32)}
    (folder / "model-00002-of-00002.safetensors").write_bytes(shard(second))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("number", [1, 2])
def test_a_tensor_in_two_files_is_taken_from_where_the_index_says(number: int, folder: Path) -> None:
    name = "model.norm.weight"
    twice(folder, 7.0, {name: f"model-{number:05}-of-00002.safetensors"})
    found = values(read_checkpoint(folder, "x"))["output_norm.weight"]
    np.testing.assert_array_equal(found, np.full(64, 7.0) if number == 2 else weights()[name])


@pytest.mark.parametrize("weight_map", [{}, {"model.norm.weight": "head.safetensors"}], ids=["silent", "elsewhere"])
def test_a_tensor_in_two_files_of_which_the_index_names_none_is_refused(
    weight_map: dict[str, str], folder: Path
) -> None:
    with refused("model.norm.weight is in two files"):
        planned(twice(folder, 7.0, weight_map))


def test_a_tensor_under_two_names_of_one_file_is_refused_whatever_the_index_says(folder: Path) -> None:
    other = "language_model.model.norm.weight"
    (folder / WEIGHTS).write_bytes(shard({**weights(), other: np.zeros(64, np.float32)}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {other: WEIGHTS}}))
    with refused(WEIGHTS, "two tensors that mean model.norm.weight"):
        planned(folder)


def test_parts_of_another_upload_beside_the_model_are_not_mixed_into_it(folder: Path) -> None:
    expected = values(read_checkpoint(folder, "x"))
    for number in (1, 2):
        (folder / f"model-{number:05}-of-00003.safetensors").write_bytes(b"of a download that was stopped")
    same(values(read_checkpoint(folder, "x")), expected)


def test_a_flood_of_values_in_a_header_is_refused_before_they_are_made(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(raw_shard(b'{"a": [' + b"[]," * 1_100_000 + b"[]]}"))
    with refused(WEIGHTS, "more values"):
        planned(folder)


def test_very_many_tensors_are_read_and_refused(folder: Path) -> None:
    header = {f"other.{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n in range(20_000)}
    (folder / WEIGHTS).write_bytes(raw_shard(json.dumps(header).encode(), bytes(80_000)))
    with refused("20000 tensors"):
        planned(folder)
