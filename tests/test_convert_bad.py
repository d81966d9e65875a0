"""Checkpoints that are damaged, incomplete or hostile: each is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CONFIG, checkpoint, copied, refused, shard, sound_or_refused, tokenizer, weights, with_json

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import Layout, layout
from localchat.convert.write import Finished, write

INDEX = "model.safetensors.index.json"
PROJECTION = "model.layers.0.mlp.up_proj.weight"


def planned(folder: Path, name: str = "a name") -> Layout:
    """The checkpoint read and laid out, as far as it goes before a weight is read."""
    return layout(read_checkpoint(folder, name), "Q8_0")


def indexed(folder: Path, **weight_map: Any) -> Path:
    """The checkpoint in two shards with an index; values of the weight map may be changed, an Ellipsis removes one."""
    source = weights()
    halves = dict(list(source.items())[:6]), dict(list(source.items())[6:])
    (folder / "model.safetensors").unlink()
    found: dict[str, Any] = {}
    for number, half in enumerate(halves, start=1):
        shard_name = f"model-0000{number}-of-00002.safetensors"
        (folder / shard_name).write_bytes(shard(half))
        found |= dict.fromkeys(half, shard_name)
    found |= {name.replace("__", "."): value for name, value in weight_map.items()}
    (folder / INDEX).write_text(json.dumps({"weight_map": {k: v for k, v in found.items() if v is not ...}}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint of one layer, to be damaged."""
    return checkpoint(tmp_path / "checkpoint")


def test_what_is_damaged_below_is_sound_before(folder: Path, tmp_path: Path) -> None:
    two = indexed(copied(folder, tmp_path / "two"))
    for whole in (folder, two):
        assert isinstance(list(write(planned(whole), tmp_path / "model.gguf", 1))[-1], Finished)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", ["config.json"]),
        ("tokenizer.model", ["tokenizer.model"]),
        ("model.safetensors", ["no weights"]),
    ],
)
def test_a_file_that_is_missing_is_named(name: str, words: list[str], folder: Path) -> None:
    (folder / name).unlink()
    with refused(*words):
        planned(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "model.safetensors"])
def test_a_file_that_is_empty_is_named(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"")
    with refused(name):
        planned(folder)


@pytest.mark.parametrize(
    "names",
    [
        ["adapter_model.safetensors"],
        ["model.gguf"],
        ["model.safetensors.bak"],
        ["model.onnx"],
        ["tf_model.h5"],
    ],
)
def test_weights_of_another_kind_alone_are_refused(names: list[str], folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(b"anything")
    with refused("no weights"):
        planned(folder)


def test_a_folder_that_is_a_file_or_absent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "absent"):
        with refused("config.json"):
            planned(tmp_path / name)


BAD_INDEX: dict[str, Any] = {
    "a file above": "../model.safetensors",
    "an absolute path": "/etc/passwd.safetensors",
    "a folder": "folder/model.safetensors",
    "a Windows path": "C:\\model.safetensors",
    "another kind of file": "pytorch_model.bin",
    "no file": "",
    "a number": 7,
    "a list": ["model.safetensors"],
    "half a surrogate pair": "\ud800.safetensors",
    "an escape": "\x1b[31m.safetensors",
}


@pytest.mark.parametrize("value", BAD_INDEX.values(), ids=BAD_INDEX.keys())
def test_an_index_that_names_anything_but_a_file_beside_it_is_refused(value: Any, folder: Path) -> None:
    for place in (folder.parent / "model.safetensors", folder / "pytorch_model.bin"):
        place.write_bytes(shard(weights()))
    with refused("index"):
        planned(indexed(folder, lm_head__weight=value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map": []}',
        b'{"weight_map": "a"}',
        b'{"weight_map": {"a": NaN}}',
        b"\xff",
    ],
)
def test_an_index_that_is_none_is_refused(data: bytes, folder: Path) -> None:
    (indexed(folder) / INDEX).write_bytes(data)
    with refused(INDEX):
        planned(folder)


def without(name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The weights but for one tensor."""
    return {key: array for key, array in weights().items() if key != name}


@pytest.mark.parametrize("name", sorted(weights().keys() - {"lm_head.weight"}))
def test_a_tensor_that_is_missing_is_named(name: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(shard(without(name)))
    with refused(name, "missing"):
        planned(folder)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((96, 63), np.float32), np.zeros((64, 96), np.float32), np.zeros((96 * 64,), np.float32),
        np.zeros((1, 96, 64), np.float32), np.zeros((0, 64), np.float32), np.zeros((96, 64), np.int64),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)  # fmt: skip
def test_a_tensor_of_another_shape_or_type_is_named(array: np.ndarray[Any, Any], folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(shard({**weights(), PROJECTION: array}))
    with refused(PROJECTION):
        planned(folder)


@pytest.mark.parametrize(
    "name",
    ["model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias", "adapter", "rotary_emb.inv_freq"],
)
def test_a_tensor_too_many_is_named(name: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(shard({**weights(), name: np.zeros(4, np.float32)}))
    with refused(name):
        planned(folder)


def test_a_tensor_in_two_files_is_named(folder: Path) -> None:
    (indexed(folder) / INDEX).unlink()
    (folder / "model-00002-of-00002.safetensors").write_bytes(shard(weights()))
    with refused("model.embed_tokens.weight", "two files"):
        planned(folder)


def test_a_shard_that_is_missing_without_an_index_shows(folder: Path) -> None:
    indexed(folder)
    for name in (INDEX, "model-00002-of-00002.safetensors"):
        (folder / name).unlink()
    with refused("missing"):
        planned(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 2}, {"hidden_size": 128}, {"num_attention_heads": 4},
        {"num_key_value_heads": 2}, {"intermediate_size": 64}, {"head_dim": 16},
    ],
    ids=str,
)  # fmt: skip
def test_a_config_of_another_model_is_refused(changes: dict[str, Any], folder: Path) -> None:
    # four heads of 16 are the same rows as two of 32; what differs then are the keys
    with refused("tensor"):
        planned(with_json(folder, "config.json", **changes))


def tokenizer_of_surrogates(folder: Path) -> Path:
    """Half a surrogate pair is sound JSON and cannot be written in a model file."""
    return with_json(folder, "added_tokens.json", **{"\ud800": 7})


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "template of half a surrogate pair": lambda folder: with_json(
        folder, "tokenizer_config.json", chat_template="\ud800"
    ),
    "token of half a surrogate pair": tokenizer_of_surrogates,
    "temperature beyond float32": lambda folder: with_json(folder, "generation_config.json", temperature=1e300),
    "temperature of 400 digits": lambda folder: with_json(folder, "generation_config.json", temperature=10**400),
    "top_k beyond 32 bits": lambda folder: with_json(folder, "generation_config.json", top_k=1 << 40),
    "rope base beyond float32": lambda folder: with_json(folder, "config.json", rope_theta=1e300),
}


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE.keys())
def test_values_that_no_model_file_can_hold_are_refused_or_left_out(
    damage: Callable[[Path], Path], folder: Path
) -> None:
    with sound_or_refused():
        planned(damage(folder))


def test_an_infinite_top_k_is_refused_or_left_out(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"top_k": 1e999, "temperature": 1e999}')
    with sound_or_refused():
        planned(folder)


def test_a_folder_whose_name_is_no_text_can_be_converted(folder: Path) -> None:
    with sound_or_refused():
        planned(folder, "caf\udce9")


EDITED = ["config.json", "tokenizer.model", "model.safetensors"]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(EDITED), st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=3))
def test_any_change_of_bytes_gives_a_layout_or_a_sentence(
    tmp_path: Path, name: str, edits: list[tuple[int, int]]
) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    data = bytearray((folder / name).read_bytes())
    for place, value in edits:
        data[place % len(data)] = value
    (folder / name).write_bytes(data)
    with sound_or_refused():
        assert planned(folder).source_bytes > 0


def test_a_tokenizer_with_more_pieces_than_rows_fills_the_rows(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(tokenizer([("<unk>", 0.0, 2), *((f"p{n}", 0.0, 1) for n in range(50))]))
    assert len(read_checkpoint(folder, "x").vocab.texts) == CONFIG["vocab_size"]
