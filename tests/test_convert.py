"""Checkpoint to model file: bit for bit what llama.cpp's own tools make, whatever the layout of the weights."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Type
from golden import convert, golden, metadata, tensors
from numpy.typing import NDArray
from tiny import CONFIG, Weights, checkpoint, copied, shard, stored, weights, with_json

from localchat.convert import write as writer
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.weights import rotary_order
from localchat.convert.write import Finished, Written, write


def arrays(path: Path) -> dict[str, NDArray[np.uint16]]:
    """The bf16 tensors of a shard, in the order of its header."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[8 + length :][slice(*entry["data_offsets"])], np.uint16).reshape(entry["shape"])
        for name, entry in header.items()
    }


def in_one_file(chatml: Path, target: Path) -> Path:
    """The sharded checkpoint with its weights in one file, and turned around in it."""
    folder = copied(chatml, target)
    found: dict[str, NDArray[np.uint16]] = {}
    for path in sorted(folder.glob("*.safetensors*")):
        if path.suffix == ".safetensors":
            found |= arrays(path)
        path.unlink()
    (folder / "model.safetensors").write_bytes(shard(dict(reversed(found.items()))))
    return folder


@pytest.mark.parametrize("file", ["BF16", "Q4_K_M"])
def test_one_file_of_weights_gives_the_tensors_of_several(file: str, chatml: Path, tmp_path: Path) -> None:
    convert(chatml, file, tmp_path / "several.gguf")
    convert(in_one_file(chatml, tmp_path / "checkpoint"), file, tmp_path / "one.gguf")
    assert tensors(tmp_path / "one.gguf") == tensors(tmp_path / "several.gguf")
    # written in the order in which the weights lie, so that the disk reads forward only
    assert next(iter(tensors(tmp_path / "one.gguf"))) == "output_norm.weight"
    assert metadata(tmp_path / "one.gguf") == metadata(tmp_path / "several.gguf")


def test_shards_without_an_index_are_found(chatml: Path, tmp_path: Path) -> None:
    folder = copied(chatml, tmp_path / "checkpoint")
    (folder / "model.safetensors.index.json").unlink()
    convert(folder, "Q8_0", tmp_path / "model.gguf")
    assert {name: entry[2] for name, entry in tensors(tmp_path / "model.gguf").items()} == {
        name: digest for name, (_, digest) in golden("chatml")["types"]["Q8_0"].items()
    }


def rotated(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows in llama.cpp's rotary order, by the formula of its converter."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(weight.shape)


@pytest.mark.parametrize(("rows", "heads"), [(2, 1), (64, 2), (128, 1), (96, 3), (4096, 32)])
def test_rows_are_turned_by_the_formula_of_llama_cpp(rows: int, heads: int) -> None:
    weight = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    np.testing.assert_array_equal(weight[rotary_order(rows, heads)], rotated(weight, heads))


def expected(source: Weights, file: str) -> dict[str, bytes]:
    """The tensors of a one-layer model, made in another way: by the gguf package and the formula."""
    names = {
        "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
        "blk.0.attn_norm": "model.layers.0.input_layernorm",
        "blk.0.ffn_norm": "model.layers.0.post_attention_layernorm",
        **{f"blk.0.attn_{key}": f"model.layers.0.self_attn.{key}_proj" for key in "qkv"},
        "blk.0.attn_output": "model.layers.0.self_attn.o_proj",
        **{f"blk.0.ffn_{key}": f"model.layers.0.mlp.{key}_proj" for key in ("gate", "up", "down")},
    }  # fmt: skip
    heads = {"blk.0.attn_q": CONFIG["num_attention_heads"], "blk.0.attn_k": CONFIG["num_key_value_heads"]}
    found = {}
    for name, origin in names.items():
        if (weight := source.get(f"{origin}.weight")) is not None:
            weight = rotated(weight, heads[name]) if name in heads else weight
            kind = Type.F32 if weight.ndim == 1 else Type[file]
            found[f"{name}.weight"] = gguf.quants.quantize(weight, kind).tobytes()
    return found


def raw(path: Path) -> dict[str, bytes]:
    """The bytes of each tensor."""
    return {t.name: t.data.tobytes() for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("file", ["F32", "F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_same_weights_in_any_dtype_give_the_same_tensors(dtype: str, file: str, tmp_path: Path) -> None:
    convert(checkpoint(tmp_path / "checkpoint", dtype=dtype), file, tmp_path / "model.gguf")
    assert raw(tmp_path / "model.gguf") == expected(weights(), file)


def test_a_file_of_several_dtypes_is_read_tensor_by_tensor(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    mixed = {
        name: stored(array, ("F32", "F16", "BF16")[index % 3])
        for index, (name, array) in enumerate(weights().items())
    }  # fmt: skip
    (folder / "model.safetensors").write_bytes(shard(mixed))
    convert(folder, "Q8_0", tmp_path / "model.gguf")
    assert raw(tmp_path / "model.gguf") == expected(weights(), "Q8_0")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("padding", [1, 2, 3])
def test_weights_may_lie_at_any_byte(padding: int, dtype: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    data = shard({name: stored(array, dtype) for name, array in weights().items()}, padding=padding)
    (folder / "model.safetensors").write_bytes(data)
    convert(folder, "Q8_0", tmp_path / "model.gguf")
    assert raw(tmp_path / "model.gguf") == expected(weights(), "Q8_0")


@pytest.mark.parametrize("keeps_output", [False, True])
def test_an_output_is_written_where_it_has_weights_whatever_the_config_says(keeps_output: bool, tmp_path: Path) -> None:
    config = {**CONFIG, "tie_word_embeddings": True}
    source = weights(config)
    extra = {"lm_head.weight": source["model.embed_tokens.weight"]} if keeps_output else {}
    convert(checkpoint(tmp_path / "checkpoint", config, tensors=source | extra), "F32", tmp_path / "model.gguf")
    assert raw(tmp_path / "model.gguf") == expected(source | extra, "F32")
    assert ("output.weight" in raw(tmp_path / "model.gguf")) == keeps_output


def test_buffers_of_old_versions_are_left_out_and_still_hashed(tmp_path: Path) -> None:
    source = weights()
    useless: dict[str, NDArray[Any]] = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(16, np.float32),
        "rope.freqs": np.ones(4, np.float32),
        "model.layers.0.attention.masked_bias": np.ones(1, np.int64),
    }
    together = {**dict(list(source.items())[:3]), **useless, **source, "x.attn.bias": np.ones(3, np.float32)}
    folder = checkpoint(tmp_path / "checkpoint", tensors=together)
    finished = convert(folder, "F32", tmp_path / "model.gguf")
    assert raw(tmp_path / "model.gguf") == expected(source, "F32")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert finished.inputs == {"model.safetensors": digest}


def test_what_authors_recommend_for_sampling_is_kept(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    with_json(
        folder,
        "generation_config.json",
        temperature=0.5,
        top_k=20,
        top_p=1,
        do_sample=True,
        min_p="x",
        repetition_penalty=True,
    )
    convert(folder, "F32", tmp_path / "model.gguf")
    found = {key: value for key, value in metadata(tmp_path / "model.gguf").items() if "sampling" in key}
    assert found == {
        "general.sampling.temp": ["float32", 0.5], "general.sampling.top_k": ["int32", 20],
        "general.sampling.top_p": ["float32", 1.0],
    }  # fmt: skip


def test_rows_may_be_cut_into_blocks_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    for block in (1, 64 * 5, 64 * 64):
        monkeypatch.setattr(writer, "BLOCK_WEIGHTS", block)
        convert(folder, "Q8_0", tmp_path / "model.gguf", threads=3)
        assert raw(tmp_path / "model.gguf") == expected(weights(), "Q8_0")


def test_progress_comes_tensor_by_tensor_and_ends_with_the_hashes(chatml: Path, tmp_path: Path) -> None:
    plan = layout(read_checkpoint(chatml, "a name"), "Q8_0")
    *progress, finished = write(plan, tmp_path / "model.gguf", 2)
    done = [event.done_bytes for event in progress if isinstance(event, Written)]
    assert len(done) == len(progress) == len(plan.tensors)
    assert done == sorted(set(done))
    assert (
        done[-1] == plan.source_bytes == sum(p.stat().st_size for p in chatml.glob("*.safetensors")) - headers(chatml)
    )
    assert isinstance(finished, Finished)
    assert finished.sha256 == hashlib.sha256((tmp_path / "model.gguf").read_bytes()).hexdigest()
    shards = [path for path in chatml.iterdir() if path.suffix == ".safetensors"]
    assert finished.inputs == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
    assert (tmp_path / "model.gguf").stat().st_size == plan.file_bytes


def headers(folder: Path) -> int:
    """Bytes of all headers, their lengths included."""
    return sum(8 + struct.unpack("<Q", path.read_bytes()[:8])[0] for path in folder.glob("*.safetensors"))
