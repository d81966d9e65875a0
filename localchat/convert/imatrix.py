"""Importance matrices: how much an error in each column of a tensor matters, as llama-imatrix measured it.

The file is a GGUF of `general.type` imatrix that holds, for each tensor, NAME.in_sum2 (sums of squared activations,
one for each column of each expert) and NAME.counts (how many were summed, one for each expert). What is made of them
is what `load_imatrix` in llama.cpp's tools/quantize/quantize.cpp (version 0.5.0) makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.convert.recipe import needs_importance
from localchat.errors import BadFile, LocalchatError
from localchat.gguf_file import MAGIC, ModelFile, Tensor, read_header
from localchat.llama.quantize import IMPORTANCE_LIMIT

FILE_LIMIT_BYTES = 256 << 20  # that of Mixtral 8x22B has 60 MiB
CHUNKS_LIMIT = 1 << 31
EXPERTS_LIMIT = 1024
TEXT_LIMIT_BYTES = 127  # llama-quantize cuts the texts that it writes into the metadata
SUMS, COUNTS = ".in_sum2", ".counts"
KEYS = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")
HINT = "make it again with llama-imatrix"
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Imatrix:
    """What an importance matrix file says."""

    values: Mapping[str, Values]
    """By the tensor's name in the model file: its experts' columns, one after the other; not negative."""
    metadata: Mapping[str, str | int]
    """The keys that llama-quantize writes into a model file made with it; texts as STRING, numbers as UINT32."""


def read_imatrix(path: Path) -> Imatrix:
    """Read an importance matrix. Raises BadFile for anything that is none, is damaged, or has the older format."""
    header = _header(path)
    tensors = {tensor.name: tensor for tensor in header.tensors}
    names = sorted(name.removesuffix(SUMS) for name in tensors if name.endswith(SUMS))
    odd = {name.removesuffix(COUNTS) for name in tensors if name.endswith(COUNTS)} ^ set(names)
    if odd or not names:
        raise BadFile(f"{path.name} does not hold both sums and counts for {min(odd, default='any tensor')}", HINT)
    try:
        values = {name: _values(header, name, tensors[name + SUMS], tensors[name + COUNTS]) for name in names}
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}", "check the file") from error
    return Imatrix(values, _metadata(header, len(values)))


def importance(
    imatrix: Imatrix | None, file: str, name: str, kind: GGMLQuantizationType, shape: tuple[int, ...]
) -> Values | None:
    """What matters in one tensor of a file of the type `file`: shape (experts, columns), one expert in dense tensors.

    None where nothing is known of the tensor. Raises LocalchatError where its type is useless without, or where the
    importance matrix is that of another model.
    """
    found = imatrix.values.get(name) if imatrix is not None and kind != GGMLQuantizationType.F32 else None
    experts = shape[0] if len(shape) == 3 else 1
    if found is not None and found.size == experts * shape[-1]:
        return found.reshape(experts, shape[-1])
    if found is not None and name != "token_embd.weight":  # which llama-quantize then does without
        raise LocalchatError(
            f"the importance matrix has {found.size} values for {name}, which has {experts * shape[-1]} columns",
            "make it from this very model with llama-imatrix",
        )
    if needs_importance(file, name, kind):
        what = "without an importance matrix" if imatrix is None else f"because the importance matrix lacks {name}"
        raise LocalchatError(f"{file} cannot be made {what}", _hint_for_missing(imatrix))
    return None


def _hint_for_missing(imatrix: Imatrix | None) -> str:
    if imatrix is None:
        return "give --imatrix FILE, as llama-imatrix makes it, or choose a larger type such as IQ3_S or Q3_K_M"
    return "make it again with more text, or choose a larger type such as IQ3_S or Q3_K_M"


def _header(path: Path) -> ModelFile:
    """The header, checked to be that of an importance matrix of the current format."""
    if not _is_gguf(path):
        raise BadFile(
            f"{path.name} is no importance matrix in the GGUF format; it may be in the older one (.dat)",
            f"convert it: llama-imatrix --in-file {path.name} -o imatrix.gguf",
        )
    header = read_header(path)
    if header.file_bytes > FILE_LIMIT_BYTES:
        raise BadFile(f"{path.name} is too large for an importance matrix", "check that it is the right file")
    datasets, *counts = (header.metadata.get(key) for key in KEYS)
    is_sound = isinstance(datasets, list) and all(type(count) is int and 0 <= count < CHUNKS_LIMIT for count in counts)
    if header.metadata.get("general.type", "imatrix") != "imatrix" or not is_sound:
        raise BadFile(f"{path.name} is a GGUF file but no importance matrix", "give the file that llama-imatrix made")
    return header


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise BadFile(f"{path.name} cannot be opened: {error.strerror or error}", "check the path") from error


def _values(header: ModelFile, name: str, sums: Tensor, counts: Tensor) -> Values:
    """Mean squared activation by column; 1 everywhere for an expert that was never chosen."""
    experts = max(1, counts.bytes // 4)  # a tensor of another type than F32 is refused below
    if experts > EXPERTS_LIMIT or sums.bytes // 4 % experts:
        raise BadFile(f"{header.path.name} has sums and counts for {name} that do not belong together", HINT)
    totals, numbers = _floats(header, sums), _floats(header, counts)
    # llama.cpp rounds halves away from zero; none of these is negative.
    rounded = np.floor(numbers.astype(np.float64) + 0.5).astype(np.float32)[:, None]
    means = totals.reshape(experts, -1)
    np.divide(means, rounded, out=means, where=rounded > 0)
    means[rounded[:, 0] == 0] = 1
    if means.max() > IMPORTANCE_LIMIT:
        raise BadFile(f"{header.path.name} holds an impossible number for {name}", HINT)
    return totals


def _floats(header: ModelFile, tensor: Tensor) -> Values:
    if tensor.type != GGMLQuantizationType.F32:
        raise BadFile(f"{header.path.name} holds {tensor.name} as {tensor.type.name}, which should be F32", HINT)
    found = np.fromfile(header.path, "<f4", tensor.bytes // 4, offset=header.data_offset + tensor.offset)
    if found.nbytes != tensor.bytes or not np.isfinite(found).all() or found.min() < 0:
        raise BadFile(f"{header.path.name} holds an impossible number in {tensor.name}", HINT)
    return found.astype(np.float32, copy=False)


def _metadata(header: ModelFile, entries: int) -> dict[str, str | int]:
    datasets, chunks, _ = (header.metadata[key] for key in KEYS)
    found: dict[str, str | int] = {"quantize.imatrix.file": _cut(header.path.name)}
    if datasets:
        found["quantize.imatrix.dataset"] = _cut(str(datasets[0]))
    found["quantize.imatrix.entries_count"] = entries
    if chunks:
        found["quantize.imatrix.chunks_count"] = chunks
    return found


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:TEXT_LIMIT_BYTES].decode("utf-8", "ignore")
