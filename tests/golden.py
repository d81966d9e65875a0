"""Model files as llama.cpp's own tools make them, and ours told in the same words.

The goldens came from convert_hf_to_gguf.py and llama-quantize of the llama.cpp that llama-cpp-python 0.3.36 carries.
K-quants and IQ4 types are those of a ggml-base without fused multiply-add, as x86-64 builds have it by default.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import gguf

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import Finished, write

DATA = Path(__file__).parent / "data"
NAMES = ("chatml", "zephyr-bin", "mixtral-tiny", "fp32-single")
# What llama.cpp does not need or works out for itself; these keys need not agree.
ORIGIN = {f"general.{key}" for key in ("name", "version", "organization", "finetune", "basename", "size_label")}
# What a file may say beyond its golden: ids that the golden's tool did not look for, and what llama.cpp assumes anyway.
BEYOND = {
    *(f"tokenizer.ggml.{role}_token_id" for role in ("padding", "unknown", "eot")),
    "llama.attention.key_length", "llama.attention.value_length",
}  # fmt: skip
ARRAY_LIMIT = 64  # a longer array is in the golden as a hash

Golden = dict[str, Any]
Tensors = dict[str, tuple[str, list[int], str]]


@cache
def golden(name: str) -> Golden:
    """What llama.cpp's tools make of one of the small checkpoints."""
    found: Golden = json.loads((DATA / f"{name}.golden.json").read_text())
    return found


def convert(folder: Path, file: str, out: Path, threads: int = 2) -> Finished:
    """Write the model file; the last event."""
    *_, last = write(layout(read_checkpoint(folder, "a name"), file), out, threads)
    assert isinstance(last, Finished)
    return last


def tensors(path: Path) -> Tensors:
    """Type, dimensions and hash of each tensor, as the gguf package reads them."""
    return {
        t.name: (t.tensor_type.name, t.shape.tolist(), hashlib.sha256(t.data.tobytes()).hexdigest())
        for t in gguf.GGUFReader(path).tensors
    }


def metadata(path: Path) -> dict[str, list[Any]]:
    """Kind and value of each key, as the golden writes them."""
    found: dict[str, list[Any]] = {}
    for key, field in gguf.GGUFReader(path).fields.items():
        if not key.startswith("GGUF."):
            kinds = [kind.name.lower() for kind in field.types]
            found[key] = [f"arr[{kinds[1]}]" if kinds[0] == "array" else kinds[0], field.contents()]
    return found


def hashed(value: Any) -> Any:
    """A long array as the golden has it."""
    if not isinstance(value, list) or len(value) <= ARRAY_LIMIT:
        return value
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"len": len(value), "sha256": digest, "head": value[:4], "tail": value[-4:]}


def settled(golden: Golden, key: str, value: Any) -> Any:
    """The value with the golden's own choice wherever others are as good, and without minus zeros."""
    if isinstance(value, list):
        value = [number + 0.0 if isinstance(number, float) else number for number in value]
        for place, allowed in golden["free"].get(key, {}).items():
            value[int(place)] = allowed[0] if value[int(place)] in allowed else value[int(place)]
    return hashed(value)


def wanted_tensors(golden: Golden, file: str) -> Tensors:
    """The tensors of a file of this type as the golden has them."""
    return {name: (kind, golden["dims"][name], digest) for name, (kind, digest) in golden["types"][file].items()}


def wanted_metadata(golden: Golden, file: str) -> dict[str, list[Any]]:
    """The facts of a file of this type, but for those that nobody needs."""
    found = {key: value for key, value in golden["metadata"].items() if key not in {*ORIGIN, *golden["not_compared"]}}
    found["general.file_type"] = ["uint32", golden["file_type"][file]]
    if file in ("F32", "F16", "BF16"):
        del found["general.quantization_version"]
    return found


def found_metadata(golden: Golden, path: Path) -> dict[str, list[Any]]:
    """The facts of a file in the golden's words, but for those that it may have beyond."""
    left_out = {*ORIGIN, *golden["not_compared"], *(BEYOND - golden["metadata"].keys())}
    return {
        key: [kind, settled(golden, key, value)] for key, (kind, value) in metadata(path).items() if key not in left_out
    }
