"""Model files that are right, and the same with one thing wrong, for the tests of their proof."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from localchat.convert.checkpoint import Checkpoint, read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.proof.prove import Proof, prove
from localchat.convert.write import write
from localchat.gguf_file import read_header

Result = TypeVar("Result")


def finished(events: Generator[Any, None, Result]) -> Result:
    """What a generator returns."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def written(checkpoint: Checkpoint, path: Path, quant: str = "Q8_0") -> Path:
    """The model file of a checkpoint."""
    for _ in write(layout(checkpoint, quant), path, threads=2):
        pass
    return path


def proved(checkpoint: Checkpoint, path: Path, quant: str = "Q8_0") -> Proof:
    """The proof of a model file against a checkpoint, which may be another one than it was made from."""
    return finished(prove(checkpoint, layout(checkpoint, quant), path))


def opened(folder: Path) -> Checkpoint:
    return read_checkpoint(folder, "tested")


def with_vocab(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    """The checkpoint as if its vocabulary had been read otherwise."""
    return replace(checkpoint, vocab=replace(checkpoint.vocab, **changes))


def with_token(checkpoint: Checkpoint, number: int, text: str, kind: int) -> Checkpoint:
    """The checkpoint as if one of its tokens had been read otherwise."""
    texts, types = list(checkpoint.vocab.texts), list(checkpoint.vocab.types)
    texts[number], types[number] = text, kind
    return with_vocab(checkpoint, texts=texts, types=types)


def rows_of(path: Path, name: str) -> NDArray[np.uint8]:
    """The bytes of a tensor in a file, a row each; what is written to them is written to the file."""
    model = read_header(path)
    tensor = next(tensor for tensor in model.tensors if tensor.name == name)
    rows = tensor.dimensions[1] if len(tensor.dimensions) > 1 else 1
    return np.memmap(path, np.uint8, "r+", model.data_offset + tensor.offset, (rows, tensor.bytes // rows))
