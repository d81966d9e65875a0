"""Small checkpoints of four layouts: each becomes, bit for bit, what llama.cpp's own tools make of it.

chatml: two shards, added tokens. zephyr-bin: PyTorch's files with strided, overlapping and transposed tensors, mixed
types. mixtral-tiny: experts out of order in three shards. fp32-single: tokenizer.json alone, rows hard to quantize.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from golden import DATA, NAMES, convert, found_metadata, golden, metadata, tensors, wanted_metadata, wanted_tensors

from localchat.gguf_file import read_header

CASES = [(name, file) for name in NAMES for file in golden(name)["types"]]


@pytest.mark.parametrize(("name", "file"), CASES)
def test_a_file_is_what_llama_cpp_makes_of_the_same_checkpoint(name: str, file: str, tmp_path: Path) -> None:
    convert(DATA / name, file, path := tmp_path / "model.gguf")
    assert tensors(path) == wanted_tensors(golden(name), file)
    assert found_metadata(golden(name), path) == wanted_metadata(golden(name), file)
    assert read_header(path).quant == file


def test_ids_that_the_golden_leaves_out_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    convert(DATA / "chatml", "Q8_0", path := tmp_path / "model.gguf")
    found = {key: metadata(path)[f"tokenizer.ggml.{key}_token_id"][1] for key in ("padding", "unknown", "eot")}
    assert found == {"padding": 2, "unknown": 0, "eot": 2}


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_is_of_the_checkpoint_that_is_here(name: str) -> None:
    for file, digest in golden(name)["inputs"].items():
        assert hashlib.sha256((DATA / name / file).read_bytes()).hexdigest() == digest
