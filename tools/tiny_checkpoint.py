"""Writes checkpoints of random weights in the layout that authors publish, from a few hundred kB to a full 7B.

    tiny_checkpoint.py FOLDER --size tiny|1b|7b [--layers N]

They cannot talk; they are for measuring and testing conversion and memory. Weights are bf16, about normal with a
deviation of 0.02 as in trained models, so that quantizers take their usual ways.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

SHARD_BYTES = 5 * 10**9
POOL_WEIGHTS = 1 << 24
BYTE_PIECES = 256
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of config.json that decide the tensors."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int


SHAPES = {
    "tiny": Shape(256, 512, 2, 4, 2, 1024),
    "1b": Shape(2048, 5632, 22, 32, 4, 32000),
    "7b": Shape(4096, 14336, 32, 32, 8, 32000),
}


def write_checkpoint(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write config, tokenizer and weights of this shape."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", **asdict(shape),
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    tokenizer = {
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "add_bos_token": True, "add_eos_token": False, "chat_template": TEMPLATE,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=1))
    (folder / "tokenizer.model").write_bytes(sentencepiece(shape.vocab_size))
    write_weights(folder, shape, np.random.default_rng(seed))


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in Hugging Face's layout."""
    hidden, ffn = shape.hidden_size, shape.intermediate_size
    kv = hidden // shape.num_attention_heads * shape.num_key_value_heads
    layer = {
        "input_layernorm": (hidden,), "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, hidden), "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden), "mlp.down_proj": (hidden, ffn),
    }  # fmt: skip
    yield "model.embed_tokens.weight", (shape.vocab_size, hidden)
    for number in range(shape.num_hidden_layers):
        yield from ((f"model.layers.{number}.{name}.weight", dimensions) for name, dimensions in layer.items())
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (shape.vocab_size, hidden)


def write_weights(folder: Path, shape: Shape, random: np.random.Generator) -> None:
    """Safetensors shards with an index; one file without an index where it all fits into one."""
    shards = list(_shards(list(tensors(shape))))
    pool = _bf16(random.standard_normal(POOL_WEIGHTS, np.float32) * np.float32(0.02))
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        with (folder / name).open("wb") as file:
            _write_shard(file, shard, pool, random)
        places |= {tensor: name for tensor, _ in shard}
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


Named = tuple[str, tuple[int, ...]]


def _shards(named: Sequence[Named]) -> Iterator[list[Named]]:
    shard: list[Named] = []
    used = 0
    for name, dimensions in named:
        if used and used + 2 * math.prod(dimensions) > SHARD_BYTES:
            yield shard
            shard, used = [], 0
        shard.append((name, dimensions))
        used += 2 * math.prod(dimensions)
    yield shard


def _write_shard(file: BinaryIO, shard: Sequence[Named], pool: NDArray[np.uint16], random: np.random.Generator) -> None:
    header, offset = {}, 0
    for name, dimensions in shard:
        end = offset + 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [offset, end]}
        offset = end
    data = json.dumps(header).encode()
    data = data.ljust(-(-len(data) // 8) * 8)
    file.write(struct.pack("<Q", len(data)) + data)
    for name, dimensions in shard:
        left = math.prod(dimensions)
        if "norm" in name:
            file.write(_bf16(np.ones(left, np.float32)).tobytes())
            continue
        while left:  # the same random numbers from another place each time: drawing 7 billion takes minutes
            start = int(random.integers(0, POOL_WEIGHTS // 2))
            count = min(left, POOL_WEIGHTS - start)
            file.write(pool[start : start + count].data)
            left -= count


def _bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float, rounded to nearest."""
    return ((values.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


def sentencepiece(pieces: int) -> bytes:
    """A SentencePiece BPE model of that many pieces: three specials, all bytes, then made-up words."""
    special = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    texts = [*special, *((f"<0x{byte:02X}>", 6) for byte in range(BYTE_PIECES))]
    texts += [(f"\u2581w{number}", 1) for number in range(pieces - len(texts))]
    found = b"".join(_field(1, _piece(text, -float(rank), kind)) for rank, (text, kind) in enumerate(texts))
    return found + _field(2, b"\x18\x02\x98\x02\x01")  # trainer_spec: model_type = BPE, byte_fallback = true


def _piece(text: str, score: float, kind: int) -> bytes:
    return _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])


def _field(number: int, data: bytes) -> bytes:
    length, size = len(data), b""
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint of random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="tiny")
    parser.add_argument("--layers", type=int, help="fewer layers than the size has")
    options = parser.parse_args()
    shape = SHAPES[options.size]
    write_checkpoint(options.folder, replace(shape, num_hidden_layers=options.layers or shape.num_hidden_layers))


if __name__ == "__main__":
    main()
