"""Weights that PyTorch has saved (`pytorch_model.bin`, `consolidated.00.pth`), found without running what is in them.

Two formats: since PyTorch 1.6 a zip archive with the pickle `NAME/data.pkl` and the weights in `NAME/data/KEY`; before
that five pickles, one behind the other (a magic number, a version, facts of the machine, the tensors, a list of keys),
and then for each key 8 bytes of count and the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from localchat.convert.safetensors import WIDTHS
from localchat.convert.tensors import TensorRef
from localchat.convert.torch.torchweights import Storage, View, dialect, tensors_in
from localchat.convert.torch.torchzip import SIGNATURE, Entry, read_archive
from localchat.convert.torch.unpickler import Unsafe, Unsound, load
from localchat.errors import BadFile
from localchat.files import Opener, opened

PICKLE_LIMIT_BYTES = 16 << 20
"""A tensor takes about 150 bytes."""
BYTE_ORDER_LIMIT_BYTES = 16
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # torch/serialization.py
STORAGE = re.compile(r"data/([0-9]{1,20})")

Places = Mapping[str, tuple[int, int]]
"""The first byte of each storage and the number of its bytes."""


def read_torch(path: Path, open_file: Opener = opened) -> list[TensorRef]:
    """The tensors of one file, in the order they lie; several may share bytes, and unaligned ones are possible.

    Raises BadFile for whatever is damaged, out of bounds, compressed or big-endian, and for a pickle that asks for
    more than tensors are made from; nothing that the file names is ever imported or called.
    """
    try:
        with open_file(path) as file:
            views, places = (_zipped if file.read(4) == SIGNATURE else _legacy)(file)
        refs = [_ref(path, name, view, places) for name, view in views.items()]
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}", "check the checkpoint") from error
    except Unsafe as error:
        raise BadFile(
            f"{path.name} is not safe: it asks for {error}, which weights do not need",
            "do not use this file; look for the same model as safetensors",
        ) from error
    except Unsound as error:
        raise BadFile(
            f"{path.name} is not a sound PyTorch file: {error}",
            "download the file again, or look for the same model as safetensors",
        ) from error
    return sorted(refs, key=lambda ref: (ref.start, ref.end))


def _ref(path: Path, name: str, view: View, places: Places) -> TensorRef:
    width, storage = WIDTHS[view.storage.dtype], view.storage
    if storage.key not in places:
        raise Unsound(f"the data of tensor {name} is missing")
    start, size = places[storage.key]
    if size != storage.count * width:
        raise Unsound(f"the data of tensor {name} has another size than its description")
    strides = None if view.is_contiguous else view.strides
    ends = start + view.offset * width, start + view.end * width
    return TensorRef(name, storage.dtype, view.shape, path, *ends, strides)


def _zipped(file: BinaryIO) -> tuple[dict[str, View], Places]:
    entries = _without_folder(read_archive(file))
    order = _bytes_of(file, entries.get("byteorder"), BYTE_ORDER_LIMIT_BYTES)
    if order not in (b"", b"little"):
        raise Unsound("its numbers are not stored with the lowest byte first")
    value, _ = load(_checked_pickle(file, entries), 0, dialect({}))
    found = ((STORAGE.fullmatch(name), entry) for name, entry in entries.items())
    return tensors_in(value), {match[1]: (entry.start, entry.size) for match, entry in found if match}


def _without_folder(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries, without the name of the one folder that they are all in."""
    folders = {name.partition("/")[0] for name in entries}
    inner = {name.partition("/")[2]: entry for name, entry in entries.items()}
    if len(folders) != 1 or [name for name in inner if name.split("/")[-1] == "data.pkl"] != ["data.pkl"]:
        raise Unsound("it is an archive of something else, or of several things")
    return inner


def _checked_pickle(file: BinaryIO, entries: Mapping[str, Entry]) -> bytes:
    entry = entries["data.pkl"]
    data = _bytes_of(file, entry, PICKLE_LIMIT_BYTES)
    if crc32(data) != entry.checksum:
        raise Unsound("its description of the tensors is damaged")
    return data


def _bytes_of(file: BinaryIO, entry: Entry | None, limit_bytes: int) -> bytes:
    if entry is None:
        return b""
    if entry.size > limit_bytes:
        raise Unsound("its description of the tensors is too long")
    file.seek(entry.start)
    return file.read(entry.size)


def _legacy(file: BinaryIO) -> tuple[dict[str, View], Places]:
    file_bytes = file.seek(0, 2)
    file.seek(0)
    data, storages = file.read(PICKLE_LIMIT_BYTES), dict[str, Storage]()
    position = _after_preface(data)
    value, position = load(data, position, dialect(storages))
    keys, position = load(data, position)
    return tensors_in(value), _legacy_places(file, _known(keys, storages), position, file_bytes)


def _after_preface(data: bytes) -> int:
    """Where the tensors are described, behind what tells the format."""
    if data[:1] != b"\x80":
        raise Unsound("it is neither a zip archive nor a pickle")
    magic, position = load(data, 0)
    if magic != MAGIC:
        raise Unsound("it is a pickle of something else")
    version, position = load(data, position)
    facts, position = load(data, position)
    if version != VERSION or not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise Unsound("its version or the order of its bytes is not supported")
    return position


def _known(keys: Any, storages: Mapping[str, Storage]) -> list[Storage]:
    """The storages in the order of the keys, which must be all that there are."""
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages):
        raise Unsound("its list of storages does not match its tensors")
    return [storages[key] for key in keys]


def _legacy_places(file: BinaryIO, storages: list[Storage], position: int, file_bytes: int) -> Places:
    places = {}
    for storage in storages:
        file.seek(position)
        count, size = int.from_bytes(file.read(8), "little"), storage.count * WIDTHS[storage.dtype]
        if count != storage.count:
            raise Unsound(f"storage {storage.key} has another size than its description")
        places[storage.key] = (position + 8, size)
        position += 8 + size
    if position != file_bytes:
        raise Unsound("it is cut short, or there is something behind its last tensor")
    return places
