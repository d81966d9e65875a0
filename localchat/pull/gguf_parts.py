"""A model that was cut into several files, read as one: llama.cpp's `split.` keys, and where each byte goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localchat.convert.header import ALIGNMENT, Encoded, Metadata, TensorEntry, encode
from localchat.convert.layout import Layout, TensorPlan
from localchat.convert.names import Target
from localchat.convert.tensors import TensorRef
from localchat.convert.weights import Packed
from localchat.errors import BadFile
from localchat.gguf_file import ModelFile, Tensor, read_header
from localchat.pull.gguf_names import PART

SPLIT = "split."
PARTS_LIMIT = 1000
HINT = "download all parts of the model again"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The weights of one part, which lie together there and in the whole."""

    part: ModelFile
    start: int
    """Where they begin in the whole file."""
    bytes: int
    """Without the padding that follows."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The whole file: its header, then the stretches, each padded with zeros to the alignment."""

    header: bytes
    stretches: tuple[Stretch, ...]
    tensors: tuple[Tensor, ...]
    """With their offsets in the whole."""
    file_bytes: int


def parts_beside(path: Path) -> list[ModelFile]:
    """The parts of the model that a file in a folder is a part of, in their order; none where it is a whole one.

    Raises BadFile where one is missing or not sound.
    """
    match = PART.fullmatch(path.name)
    if match is None or int(match["of"]) == 1:
        return []
    count = int(match["of"])
    if count > PARTS_LIMIT:
        raise BadFile(f"{path.name} says that it is one of {count:,} parts", "this is not the file it should be")
    paths = [path.with_name(f"{match['start']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    if missing := next((one for one in paths if not one.is_file()), None):
        raise BadFile(f"{missing.name} is missing, which belongs to {path.name}", f"put it into {path.parent} too")
    return [read_header(one) for one in paths]


def joined(parts: Sequence[ModelFile]) -> Joined:
    """How these parts, in their order, become one file. Raises BadFile where they are not those of one model."""
    _check(parts)
    alignment = _alignment(parts[0])
    tensors, starts = [], []
    offset = 0
    for part in parts:
        starts.append(offset)
        tensors += [_moved(tensor, offset) for tensor in part.tensors]
        offset = _up(offset + _data_bytes(part), alignment)
    entries = [TensorEntry(one.name, one.type, one.dimensions[::-1], one.offset) for one in tensors]
    header = encode(_metadata(parts[0]), entries)
    header = header.ljust(_up(len(header), alignment), b"\0")
    stretches = (
        Stretch(part, len(header) + start, _data_bytes(part)) for part, start in zip(parts, starts, strict=True)
    )
    return Joined(header, tuple(stretches), tuple(tensors), len(header) + offset)


def layout_of(whole: Joined) -> Layout:
    """The whole file as one that is written from its parts; every tensor keeps its type."""
    parts = [stretch.part for stretch in whole.stretches]
    origins = [(part, tensor) for part in parts for tensor in part.tensors]
    plans = tuple(_plan(*origin, tensor) for origin, tensor in zip(origins, whole.tensors, strict=True))
    return Layout(whole.header, plans, tuple(part.path for part in parts))


def _plan(part: ModelFile, there: Tensor, here: Tensor) -> TensorPlan:
    start, shape = part.data_offset + there.offset, there.dimensions[::-1]
    ref = TensorRef(there.name, f"ggml {there.type.name}", shape, part.path, start, start + there.bytes)
    return TensorPlan(Target(here.name, shape), Packed(ref, here.type), here.type, here.offset, here.bytes)


def _check(parts: Sequence[ModelFile]) -> None:
    first = parts[0]
    for number, part in enumerate(parts):
        place = (part.metadata.get("split.no", number), part.metadata.get("split.count", len(parts)))
        if place != (number, len(parts)):
            raise BadFile(f"{part.path.name} is not part {number + 1} of {len(parts)} of a model", HINT)
        if _alignment(part) != _alignment(first):
            raise BadFile(f"{part.path.name} is aligned in another way than {first.path.name}", HINT)
    count = sum(len(part.tensors) for part in parts)
    if not count or first.metadata.get("split.tensors.count", count) != count:
        raise BadFile(f"{first.path.name} and the files that belong to it do not have all tensors", HINT)
    if len({tensor.name for part in parts for tensor in part.tensors}) != count:
        raise BadFile(f"two parts of {first.path.name} have one tensor", HINT)
    if not first.architecture:
        raise BadFile(f"{first.path.name} does not say what model it is of", HINT)


def _metadata(first: ModelFile) -> Metadata:
    return {key: Encoded(data) for key, data in _kept(first)}


def _kept(first: ModelFile) -> Iterator[tuple[str, bytes]]:
    with first.path.open("rb") as file:
        for key, (start, end) in first.spans.items():
            if not key.startswith(SPLIT):
                file.seek(start)
                yield key, file.read(end - start)


def _moved(tensor: Tensor, by: int) -> Tensor:
    return Tensor(tensor.name, tensor.type, tensor.dimensions, tensor.offset + by, tensor.bytes)


def _data_bytes(part: ModelFile) -> int:
    return part.tensors[-1].offset + part.tensors[-1].bytes if part.tensors else 0


def _alignment(part: ModelFile) -> int:
    return int(part.metadata.get("general.alignment", ALIGNMENT))


def _up(count: int, alignment: int) -> int:
    return -(-count // alignment) * alignment
