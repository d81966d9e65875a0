"""What a pickle of PyTorch may build: storages, and tensors that look at a part of one.

The names and the order of arguments are those of `torch/_utils.py` and `torch/serialization.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localchat.convert.safetensors import NAME
from localchat.convert.torch.unpickler import Dialect, Maker, OrderedMapping, Unsound

COUNT_LIMIT = 1 << 48
DIMENSIONS_LIMIT = 8
KEY = re.compile(r"[0-9]{1,20}")
WRAPPERS = ("state_dict", "model", "module")
"""Under one of these, training programs keep the tensors beside a few numbers of their own."""
STORAGE_TYPES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StorageType:
    """What stands for `torch.FloatStorage` and its like."""

    dtype: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of `count` weights, which lies in the file under `key`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: the weights of a storage at `offset` plus whole steps of `strides`, both counted in weights."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def end(self) -> int:
        """Behind the last weight that is touched; the offset where there are none."""
        if 0 in self.shape:
            return self.offset
        return self.offset + 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))

    @property
    def is_contiguous(self) -> bool:
        """Row-major without gaps? Steps along a dimension of one say nothing."""
        steps = 1
        for n, step in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and step != steps:
                return 0 in self.shape
            steps *= n
        return True


def dialect(storages: dict[str, Storage]) -> Dialect:
    """All that a pickle of weights may refer to; the storages that it names are put into the dictionary."""

    def persistent(arguments: tuple[Any, ...]) -> Storage:
        storage = _storage(arguments[0])
        if storages.setdefault(storage.key, storage) != storage:
            raise Unsound(f"storage {storage.key} is described in two ways")
        return storage

    kinds = {("torch", name): StorageType(dtype) for name, dtype in STORAGE_TYPES.items()}
    return Dialect({**MAKERS, **kinds}, Maker(persistent))


def tensors_in(value: Any) -> dict[str, View]:
    """The tensors of a dictionary, or of the one in it that has a well-known name; numbers and texts are left out.

    Raises Unsound for other values and names that cannot be used.
    """
    if not isinstance(value, dict):
        raise Unsound("it holds no dictionary of tensors")
    if not any(isinstance(item, View) for item in value.values()):
        inner = [name for name in WRAPPERS if isinstance(value.get(name), dict)]
        if len(inner) == 1:
            _views({name: item for name, item in value.items() if name != inner[0]})
            return _views(value[inner[0]])
    return _views(value)


def _views(value: dict[str, Any]) -> dict[str, View]:
    found = {}
    for name, item in value.items():
        if isinstance(item, View):
            if not NAME.fullmatch(name):
                raise Unsound("a tensor has an unusable name")
            found[name] = item
        elif not isinstance(item, int | float | str | None):
            raise Unsound("it holds something beside tensors, numbers and texts")
    return found


def _ordered(arguments: tuple[Any, ...]) -> OrderedMapping:
    if arguments:
        raise Unsound("a dictionary in it is made from something")
    return OrderedMapping()


def _storage(described: Any) -> Storage:
    """The storage of a persistent id; the sixth item, a view in the old format, must not be used."""
    if type(described) is not tuple or len(described) not in (5, 6) or described[5:] not in ((), (None,)):
        raise Unsound("a storage has no sound description")
    tag, kind, key, _, count = described[:5]
    if type(tag) is not str or tag != "storage" or not isinstance(kind, StorageType) or not _is_count(count):
        raise Unsound("a storage has no sound description")
    if type(key) is not str or not KEY.fullmatch(key):
        raise Unsound("a storage has an unusable key")
    return Storage(key, kind.dtype, count)


def _tensor(arguments: tuple[Any, ...]) -> View:
    """Storage, offset, shape, strides, does it need a gradient, hooks, and metadata, which could negate the values."""
    if len(arguments) not in (6, 7) or arguments[6:] not in ((), (None,)):
        raise Unsound("a tensor has no sound description")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not _is_count(offset) or not _are_counts(shape) or not _are_counts(strides):
        raise Unsound("a tensor has no sound description")
    if len(shape) != len(strides) or math.prod(shape) >= COUNT_LIMIT:
        raise Unsound("a tensor has no sound shape")
    view = View(storage, offset, shape, strides)
    if max(offset, view.end) > storage.count:
        raise Unsound("a tensor reaches out of its storage")
    return view


def _parameter(arguments: tuple[Any, ...]) -> View:
    """A tensor, whether it needs a gradient, hooks, and perhaps the attributes that a program has given it."""
    if len(arguments) not in (3, 4) or not isinstance(arguments[0], View):
        raise Unsound("a parameter has no sound description")
    return arguments[0]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < COUNT_LIMIT


def _are_counts(value: Any) -> bool:
    return type(value) is tuple and len(value) <= DIMENSIONS_LIMIT and all(map(_is_count, value))


MAKERS: Mapping[tuple[str, str], Maker] = {
    ("collections", "OrderedDict"): Maker(_ordered),
    ("torch._utils", "_rebuild_tensor_v2"): Maker(_tensor),
    ("torch._utils", "_rebuild_parameter"): Maker(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Maker(_parameter),
}
