"""Whole checkpoints with one file changed at random: each ends in a layout or in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_layout import consolidated, own_layout
from test_hostile_checkpoint import WEIGHTS, planned
from tiny import CONFIG, checkpoint, copied, raw_shard, refused, shard, sound_or_refused, weights, with_json

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import Finished, write

FUZZED = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint of one layer, to be damaged."""
    return checkpoint(tmp_path / "checkpoint")


def test_a_name_that_is_no_text_is_kept_out_of_the_model_file(folder: Path) -> None:
    with sound_or_refused():
        layout(read_checkpoint(folder, "caf\udce9"), "Q8_0")


def test_numbers_of_a_config_that_are_not_whole_are_refused(folder: Path) -> None:
    with refused("hidden_size"):
        planned(with_json(folder, "config.json", hidden_size=64.0))
