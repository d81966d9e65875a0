"""A small model whose answer is known: behind each token it writes the next one of its vocabulary.

Its output rows are the embeddings, moved on by one; what its layers add is noise of a tenth of that. So the likeliest
token is ahead of all others by far more than devices round differently, and is another one where a layer's result is
not a number, or is much too large. Made up on the spot: nothing of anybody else's is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.llama.graphs import made_up
from localchat.llama.quantize import quantize

CONTEXT = 512
SCAFFOLD = ("<unk>", "<s>", "</s>")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPARE = [f"<spare {number}>" for number in range(61)]  # up to a number of rows that every kernel takes
VOCABULARY = [*SCAFFOLD, *BYTES, *SPARE]
WIDTH, HEAD_WIDTH, HEADS, KV_HEADS, FEED_FORWARD, LAYERS = 256, 128, 2, 1, 512, 2
Q4, Q6 = GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K  # the types of a Q4_K_M
SEED = 1


def write_model(path: Path) -> None:
    """Write it, about 800 KiB."""
    writer = GGUFWriter(path, "llama")
    _describe(writer)
    for name, kind, data in _tensors():
        writer.add_tensor(name, data, raw_dtype=kind)
    for name in ["output_norm", *(f"blk.{layer}.{part}_norm" for layer in range(LAYERS) for part in ("attn", "ffn"))]:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokens_of(text: bytes) -> list[int]:
    """A prompt."""
    return [len(SCAFFOLD) + byte for byte in text]


def answer_to(text: bytes, count: int) -> str:
    """So many characters of ASCII, as it goes on."""
    return "".join(chr(text[-1] + step) for step in range(1, count + 1))


def _describe(writer: GGUFWriter) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(VOCABULARY)
    writer.add_token_scores([0.0] * len(VOCABULARY))
    writer.add_token_types([_type(text) for text in VOCABULARY])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _type(text: str) -> TokenType:
    if text in BYTES:
        return TokenType.BYTE
    return {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL}.get(text, TokenType.UNUSED)


def _tensors() -> Iterator[tuple[str, GGMLQuantizationType, NDArray[np.uint8]]]:
    embeddings = np.random.default_rng(SEED).standard_normal((len(VOCABULARY), WIDTH), np.float32)
    yield "token_embd.weight", Q4, quantize(Q4, embeddings)
    yield "output.weight", Q6, quantize(Q6, np.roll(embeddings, 1, axis=0))
    for layer in range(LAYERS):
        for part, (columns, rows) in _shapes().items():
            yield f"blk.{layer}.{part}.weight", Q4, made_up(Q4, columns, rows)


def _shapes() -> dict[str, tuple[int, int]]:
    query, key = HEADS * HEAD_WIDTH, KV_HEADS * HEAD_WIDTH
    return {
        "attn_q": (WIDTH, query), "attn_k": (WIDTH, key), "attn_v": (WIDTH, key), "attn_output": (query, WIDTH),
        "ffn_gate": (WIDTH, FEED_FORWARD), "ffn_up": (WIDTH, FEED_FORWARD), "ffn_down": (FEED_FORWARD, WIDTH),
    }  # fmt: skip
