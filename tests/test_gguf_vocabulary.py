"""What llama.cpp would end its process over, or read beyond, in the vocabulary of a model file."""

from __future__ import annotations

from pathlib import Path

import gguf_bytes as g
import pytest
from tiny import refused

from localchat.gguf_file import read_header

TWO = g.pair("tokenizer.ggml.tokens", g.ARRAY, g.array(g.STRING, 2, g.text("a") + g.text("b")))


def token_id(value: int, name: str = "eos") -> bytes:
    return g.pair(f"tokenizer.ggml.{name}_token_id", g.UINT32, g.number(value))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([g.pair("tokenizer.ggml.tokens", g.ARRAY, g.array(g.STRING, 2, g.text("a") * 2))], "twice"),
        ([g.pair("tokenizer.ggml.tokens", g.STRING, g.text("ab"))], "no list"),
        ([TWO, g.pair("tokenizer.ggml.scores", g.ARRAY, g.array(g.FLOAT32, 1, bytes(4)))], "same length"),
        ([TWO, g.pair("tokenizer.ggml.token_type", g.ARRAY, g.array(g.INT32, 3, bytes(12)))], "same length"),
        ([TWO, g.pair("tokenizer.ggml.scores", g.UINT32, g.number(2))], "same length"),
        ([TWO, token_id(2)], "no token"),
        ([token_id(1, "bos")], "no token"),
        ([TWO, g.pair("tokenizer.ggml.bos_token_id", g.STRING, g.text("a"))], "no token"),
        ([TWO, g.pair("tokenizer.ggml.bos_token_id", g.BOOL, b"\1")], "no token"),
    ],
)
def test_a_vocabulary_that_does_not_hold_together_is_refused(pairs: list[bytes], words: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(g.gguf(pairs))
    with refused(words):
        read_header(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    "pairs",
    [
        [TWO, token_id(1), token_id(0, "bos")],
        [TWO, token_id(0xFFFFFFFF, "padding")],
        [TWO, g.pair("tokenizer.ggml.scores", g.ARRAY, g.array(g.FLOAT32, 2, bytes(8)))],
        [g.pair("tokenizer.ggml.model", g.STRING, g.text("no_vocab"))],
    ],
)
def test_a_vocabulary_that_holds_together_is_read(pairs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(g.gguf(pairs))
    assert read_header(tmp_path / "model.gguf").tensors
