"""Checkpoints small enough to be made anew for each test, and written so that every part of them can be made wrong."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.errors import LocalchatError

Weights = dict[str, NDArray[Any]]

# One layer, 64 wide, two heads of 32 that share one KV head: the smallest shape whose rows fill a block of Q8_0 and in
# which queries and keys rotate differently.
CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 9,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# text, score, type (1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte)
PIECES: tuple[tuple[str, float, int], ...] = (
    ("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("<0x0A>", 0.0, 6), ("\u2581a", -1.0, 1), ("b", -2.0, 1),
    ("mine", -3.5, 4),
)  # fmt: skip
NUMPY_NAMES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The body must be refused in one sentence with a next step; `words` are in the sentence."""
    with pytest.raises(LocalchatError) as caught:
        yield
    message = str(caught.value)
    assert message
    assert caught.value.hint
    assert "\n" not in message
    for word in words:
        assert word in message


@contextmanager
def sound_or_refused() -> Iterator[None]:
    """The golden rule for hostile input: the body ends well or says in words why not; any other error is a bug."""
    try:
        yield
    except LocalchatError as error:
        if not str(error) or not error.hint:
            raise AssertionError("an error without words") from error


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint in Hugging Face's layout, written down apart from the package's own table."""
    hidden, ffn, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    query, kv = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, hidden), "model.norm.weight": (hidden,)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        found |= {
            f"{layer}input_layernorm.weight": (hidden,),
            f"{layer}post_attention_layernorm.weight": (hidden,),
            f"{layer}self_attn.q_proj.weight": (query, hidden),
            f"{layer}self_attn.k_proj.weight": (kv, hidden),
            f"{layer}self_attn.v_proj.weight": (kv, hidden),
            f"{layer}self_attn.o_proj.weight": (hidden, query),
            f"{layer}mlp.gate_proj.weight": (ffn, hidden),
            f"{layer}mlp.up_proj.weight": (ffn, hidden),
            f"{layer}mlp.down_proj.weight": (hidden, ffn),
        }
    return found if config.get("tie_word_embeddings") else {**found, "lm_head.weight": (rows, hidden)}


def weights(config: Mapping[str, Any] = CONFIG) -> Weights:
    """Random float32 weights of few bits, so that F16 and BF16 hold them exactly."""
    random = np.random.default_rng(7)
    return {name: (random.integers(-64, 65, shape) / 32).astype(np.float32) for name, shape in shapes(config).items()}


def stored(array: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """The weights as a file of this dtype has them; BF16 is the upper half of a float32."""
    if dtype == "BF16":
        return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)
    return array.astype({"F32": np.float32, "F16": np.float16}[dtype])


def shard(tensors: Mapping[str, NDArray[Any]], padding: int = 0) -> bytes:
    """A safetensors file; `padding` spaces end its header and so move the data."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": NUMPY_NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    return raw_shard(json.dumps(header).encode() + b" " * padding, data)


def raw_shard(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of any header and data; `length` is what it claims of its header."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def message(number: int, data: bytes) -> bytes:
    """One protobuf field that holds bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: str | bytes, score: float, kind: int) -> bytes:
    """One entry of a SentencePiece vocabulary."""
    raw = text if isinstance(text, bytes) else text.encode()
    return message(1, message(1, raw) + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind))


def tokenizer(pieces: Sequence[tuple[str, float, int]] = PIECES, model_type: int = 2) -> bytes:
    """A `tokenizer.model`; the model types are 1 unigram, 2 BPE."""
    return b"".join(piece(*entry) for entry in pieces) + message(2, b"\x18" + varint(model_type))


def checkpoint(
    folder: Path, config: Mapping[str, Any] = CONFIG, dtype: str = "F32", tensors: Weights | None = None
) -> Path:
    """A whole checkpoint in one file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(tokenizer())
    found = weights(config) if tensors is None else tensors
    put = {name: stored(array, dtype) if array.dtype == np.float32 else array for name, array in found.items()}
    (folder / "model.safetensors").write_bytes(shard(put))
    return folder


def with_json(folder: Path, name: str, /, **changes: Any) -> Path:
    """The folder with some values of a JSON file changed; an Ellipsis takes the key away."""
    path = folder / name
    values = json.loads(path.read_text()) if path.exists() else {}
    values |= changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
    return folder


def copied(folder: Path, target: Path) -> Path:
    """A copy of a checkpoint that a test may change."""
    return Path(shutil.copytree(folder, target))
