"""Whole checkpoints with one file made strange: each gives a layout or a sentence, never another error."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_layout import consolidated, own_layout, same, values
from tiny import CONFIG, checkpoint, copied, raw_shard, refused, shard, sound_or_refused, weights, with_json

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import Layout, layout
from localchat.convert.write import Finished, write

WEIGHTS = "model.safetensors"
UP = "model.layers.0.mlp.up_proj.weight"
FUZZED = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", WEIGHTS, ""])
def test_what_may_not_be_read_is_refused(name: str, folder: Path) -> None:
    (folder / name).chmod(0)
    try:
        with refused("cannot be read" if name else ""):
            planned(folder)
    finally:
        (folder / name).chmod(0o700)


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


# Fuzzing: what is drawn is kept near to what is sound, so that most of it gets past the first check.
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.sampled_from([1 << 20, 1 << 31, 1 << 64, 10**400, -(10**400)]),
    st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=4),
    st.sampled_from(["\ud800", "F32", "a" * 999]),
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def changed(data: st.DataObject, value: Any, depth: int = 0) -> Any:
    """The value with something in it replaced, taken away or added, down to wherever the draw goes."""
    if depth == 4 or not isinstance(value, dict | list) or not value or data.draw(st.integers(0, 9)) == 0:
        return data.draw(JSON)
    if isinstance(value, list):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], changed(data, value[place], depth + 1), *value[place + 1 :]]
    key = data.draw(st.sampled_from(sorted(value)))
    rest = {name: item for name, item in value.items() if name != key}
    match data.draw(st.sampled_from(["change", "change", "change", "remove", "rename", "add"])):
        case "remove":
            return rest
        case "rename":
            return {**rest, data.draw(st.sampled_from(sorted(value)) | st.text(max_size=5)): value[key]}
        case "add":
            return {**value, data.draw(st.text(max_size=5)): data.draw(JSON)}
    return {**rest, key: changed(data, value[key], depth + 1)}


JSON_FILES = [
    "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json",
]  # fmt: skip


@FUZZED
@given(data=st.data())
def test_any_change_of_the_json_of_a_published_checkpoint(data: st.DataObject, chatml: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    shutil.rmtree(target, ignore_errors=True)
    name = data.draw(st.sampled_from(JSON_FILES))
    path = copied(chatml, target) / name
    value = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        value = changed(data, value)
    path.write_text(json.dumps(value))
    with sound_or_refused():
        assert planned(target).source_bytes > 0


@FUZZED
@given(data=st.data())
def test_any_damage_to_a_file_of_a_published_checkpoint(data: st.DataObject, chatml: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    shutil.rmtree(target, ignore_errors=True)
    names = sorted(path.name for path in chatml.iterdir())
    path = copied(chatml, target) / data.draw(st.sampled_from(names))
    content = bytearray(path.read_bytes())
    near = st.integers(0, min(len(content), 4000) - 1) | st.integers(0, len(content) - 1)
    match data.draw(st.sampled_from(["flip", "cut", "swap", "empty", "double", "gone"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 5))):
                content[data.draw(near)] = data.draw(st.integers(0, 255))
        case "cut":
            del content[data.draw(near) :]
        case "swap":
            content = bytearray((chatml / data.draw(st.sampled_from(names))).read_bytes())
        case "empty":
            content.clear()
        case "double":
            content *= 2
        case "gone":
            path.unlink()
    if path.exists():
        path.write_bytes(content)
    with sound_or_refused():
        assert planned(target).source_bytes > 0


HEADER = {
    name: {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, array.nbytes]}
    for name, array in weights().items()
}


def with_offsets(header: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The header with its tensors one behind the other, wherever their sizes still say so; the bytes of all."""
    found, start = {}, 0
    for name, entry in header.items():
        try:
            low, high = entry["data_offsets"]
            size = min(max(int(high - low), 0), 1 << 20)
            found[name] = {**entry, "data_offsets": [start, start + size]}
            start += size
        except (TypeError, ValueError, KeyError, OverflowError):
            found[name] = entry
    return found, start


@FUZZED
@given(data=st.data())
def test_any_change_of_the_header_of_the_weights(data: st.DataObject, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    header: Any = HEADER
    for _ in range(data.draw(st.integers(1, 2))):
        header = changed(data, header)
    size = 200_000
    if isinstance(header, dict) and data.draw(st.booleans()):
        header, size = with_offsets(header)
    (folder / WEIGHTS).write_bytes(raw_shard(json.dumps(header).encode(), bytes(size)))
    with sound_or_refused():
        plan = planned(folder)
        assert plan.source_bytes > 0
        assert isinstance(list(write(plan, tmp_path / "model.gguf", 1))[-1], Finished)


SHAPE_KEYS = st.sampled_from([
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "vocab_size", "max_position_embeddings", "num_local_experts", "num_experts_per_tok", "rms_norm_eps", "rope_theta",
    "rope_scaling", "rope_parameters", "architectures", "eos_token_id", "bos_token_id", "tie_word_embeddings",
    "attention_bias", "mlp_bias", "text_config", "hidden_act", "quantization_config", "model_type",
])  # fmt: skip
SHAPE_VALUES = JSON | st.integers(1, 128) | st.sampled_from([
    ["MixtralForCausalLM"], ["LlamaForCausalLM"], ["Mistral3ForConditionalGeneration"], ["Ministral3ForCausalLM"],
    {"rope_type": "yarn", "factor": 2.0}, {"rope_type": "llama3"}, {"hidden_size": 64}, [2, 3], 1 << 24, 1 << 12,
])  # fmt: skip


@FUZZED
@given(st.dictionaries(SHAPE_KEYS, SHAPE_VALUES, min_size=1, max_size=3))
def test_any_values_of_the_config(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    with sound_or_refused():
        assert planned(folder).source_bytes > 0


@FUZZED
@given(data=st.data())
def test_any_change_of_mistrals_own_config_and_headers(data: st.DataObject, tmp_path: Path) -> None:
    target = tmp_path / "own"
    shutil.rmtree(target, ignore_errors=True)
    folder = consolidated(target, [own_layout(weights())])
    if data.draw(st.booleans()):
        params = folder / "params.json"
        params.write_text(json.dumps(changed(data, json.loads(params.read_text()))))
    else:
        slices = data.draw(st.integers(2, 3))
        (folder / "consolidated.safetensors").unlink()
        for number in range(slices):
            own = own_layout(weights())
            for name in data.draw(st.lists(st.sampled_from(sorted(own)), max_size=4)):
                own[name] = np.zeros(data.draw(st.lists(st.sampled_from([0, 1, 32, 64, 96]), max_size=3)), np.float16)
            (folder / f"consolidated.{number:02}.safetensors").write_bytes(shard(own))
    with sound_or_refused():
        assert planned(folder).source_bytes > 0


def test_a_name_that_is_no_text_is_kept_out_of_the_model_file(folder: Path) -> None:
    with sound_or_refused():
        layout(read_checkpoint(folder, "caf\udce9"), "Q8_0")


def test_numbers_of_a_config_that_are_not_whole_are_refused(folder: Path) -> None:
    with refused("hidden_size"):
        planned(with_json(folder, "config.json", hidden_size=64.0))
