"""A strict reader of GGUF headers: nothing is allocated before its length is checked against the bytes there are.

llama.cpp declares untrusted model files out of its scope, so a file is read here before llama.cpp opens it.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from localchat.errors import BadFile

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
COUNT_LIMIT = 65_536
KEY_LIMIT_BYTES = 1024
NAME_LIMIT_BYTES = 63  # GGML_MAX_NAME is 64 with its closing zero
STRING_LIMIT_BYTES = 4 << 20
ARRAY_LIMIT = 1 << 20
HEADER_LIMIT_BYTES = 64 << 20
DIMENSIONS_LIMIT = 4
DIMENSION_LIMIT = 1 << 31
COUNTED_LIMIT = 1 << 27
TOKEN_ID = re.compile(r"tokenizer\.ggml\.\w+_token_id")
NO_TOKEN = 0xFFFFFFFF  # how some writers say that there is none

UINT32, STRING, ARRAY = 4, 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model file; `dimensions` as ggml counts them, row length first."""

    name: str
    type: GGMLQuantizationType
    dimensions: tuple[int, ...]
    offset: int
    """Bytes from the start of the file's tensor data."""
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What the header of a GGUF file says."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_bytes: int
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where each metadata value lies in the file, its type number included."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, such as `llama`."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensor data without padding."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(tensor.dimensions) for tensor in self.tensors)

    @property
    def quant(self) -> str:
        """The file type as llama.cpp names it, such as `Q4_K_M`; `unknown` where the header does not say."""
        number = self.metadata.get("general.file_type")
        known: dict[int, str] = {int(kind): kind.name for kind in LlamaFileType}
        name = known.get(number, "unknown") if isinstance(number, int) else "unknown"
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")

    def fact(self, key: str, default: Any = None) -> Any:
        """A value of the architecture, such as `context_length` for `llama.context_length`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def whole(self, key: str, default: int | None = None, *, limit: int = COUNTED_LIMIT) -> int:
        """A count of the architecture, from 1 to `limit`. Raises BadFile where the header says no such number."""
        value = self.fact(key, default)
        if type(value) is not int or not 1 <= value <= limit:
            raise BadFile(f"{self.path.name} does not say its {key.replace('_', ' ')}", "convert or download it again")
        return value


def read_header(path: Path) -> ModelFile:
    """The header of a GGUF file. Raises BadFile for anything that llama.cpp could trip over."""
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            return _Reader(path, file, file_bytes).model_file()
    except OSError as error:
        raise BadFile(f"{path.name} cannot be opened: {error.strerror or error}", "check the path") from error


class _Reader:
    """Reads one header front to back; every length is checked against what is left of the file."""

    def __init__(self, path: Path, file: BinaryIO, file_bytes: int) -> None:
        self._path, self._file, self._file_bytes, self._at = path, file, file_bytes, 0
        self._spans: dict[str, tuple[int, int]] = {}

    def model_file(self) -> ModelFile:
        if self._take(4) != MAGIC:
            self._fail("it does not begin with GGUF")
        if (version := self._number("I")) not in VERSIONS:
            self._fail(f"its version is {version}, known are {VERSIONS}")
        tensor_count, metadata_count = self._number("Q"), self._number("Q")
        if max(tensor_count, metadata_count) > COUNT_LIMIT:
            self._fail("it declares an absurd number of entries")
        metadata = self._metadata(metadata_count)
        self._check_vocabulary(metadata)
        tensors = [self._tensor() for _ in range(tensor_count)]
        alignment = self._alignment(metadata)
        data_offset = _aligned(self._at, alignment)
        self._check_layout(tensors, data_offset, alignment)
        return ModelFile(self._path, metadata, tuple(tensors), data_offset, self._file_bytes, self._spans)

    def _fail(self, what: str) -> NoReturn:
        raise BadFile(f"{self._path.name} is not a sound GGUF file: {what}", "download or convert the model again")

    def _take(self, count: int) -> bytes:
        if self._at + count > HEADER_LIMIT_BYTES:
            self._fail("its header is too long")
        if count > self._file_bytes - self._at or len(data := self._file.read(count)) != count:
            self._fail("it is cut short")
        self._at += count
        return data

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))[0]

    def _string(self, limit_bytes: int) -> bytes:
        length = self._number("Q")
        if length > limit_bytes:
            self._fail("it holds a text that is too long")
        return self._take(length)

    def _text(self, limit_bytes: int) -> str:
        try:
            return self._string(limit_bytes).decode("utf-8")
        except UnicodeDecodeError:
            self._fail("it holds a text that is not UTF-8")

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(count):
            key = self._text(KEY_LIMIT_BYTES)
            if not key or not key.isprintable() or key in metadata:
                self._fail("a metadata key is empty, unprintable or there twice")
            start, kind = self._at, self._number("I")
            if key == "general.alignment" and kind != UINT32:
                self._fail("its alignment is no 32-bit number")
            metadata[key] = self._value(kind)
            self._spans[key] = (start, self._at)
        return metadata

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text(STRING_LIMIT_BYTES)
        if kind == ARRAY:
            return self._array()
        if kind not in SCALARS:
            self._fail(f"a metadata value has the unknown type {kind}")
        return self._number(SCALARS[kind])

    def _array(self) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if count > ARRAY_LIMIT:
            self._fail("a metadata array is too long")
        if kind == STRING:
            # A vocabulary's piece may be bytes that are no text; they are kept visible, not refused.
            return [self._string(STRING_LIMIT_BYTES).decode("utf-8", "backslashreplace") for _ in range(count)]
        if kind not in SCALARS:
            self._fail(f"a metadata array has the unsupported element type {kind}")
        code = SCALARS[kind]
        data = self._take(count * struct.calcsize("<" + code))
        return list(struct.unpack(f"<{count}{code}", data))

    def _tensor(self) -> Tensor:
        name = self._text(NAME_LIMIT_BYTES)
        count = self._number("I")
        if not name.isprintable() or not 1 <= count <= DIMENSIONS_LIMIT:
            self._fail("a tensor has an unprintable name or no sensible number of dimensions")
        dimensions = tuple(self._number("Q") for _ in range(count))
        kind, offset = self._number("I"), self._number("Q")
        if kind not in GGMLQuantizationType._value2member_map_:
            self._fail(f"tensor {name} has the unknown type {kind}")
        if not all(1 <= length < DIMENSION_LIMIT for length in dimensions):
            self._fail(f"tensor {name} has an impossible shape")
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if dimensions[0] % block:
            self._fail(f"the rows of tensor {name} are no multiple of its type's block")
        return Tensor(
            name, GGMLQuantizationType(kind), dimensions, offset, math.prod(dimensions) // block * block_bytes
        )

    def _alignment(self, metadata: dict[str, Any]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            self._fail("its alignment is not a power of two")
        return alignment

    def _check_vocabulary(self, metadata: dict[str, Any]) -> None:
        """llama.cpp ends its process over a doubled token, and reads beyond arrays that are too short."""
        texts = metadata.get("tokenizer.ggml.tokens", [])
        if not isinstance(texts, list) or len(set(map(str, texts))) != len(texts):
            self._fail("its vocabulary is no list, or has a token twice")
        for name in ("scores", "token_type"):
            values = metadata.get(f"tokenizer.ggml.{name}", texts)
            if not isinstance(values, list) or len(values) != len(texts):
                self._fail(f"its vocabulary and its {name} do not have the same length")
        for key in metadata:
            if TOKEN_ID.fullmatch(key) and not _is_token(metadata[key], len(texts)):
                self._fail(f"{key} is no token of its vocabulary")

    def _check_layout(self, tensors: list[Tensor], data_offset: int, alignment: int) -> None:
        if len({tensor.name for tensor in tensors}) != len(tensors):
            self._fail("two tensors have one name")
        expected = 0
        for tensor in tensors:
            if tensor.offset != expected:
                self._fail(f"tensor {tensor.name} does not lie where the one before it ends")
            expected = _aligned(tensor.offset + tensor.bytes, alignment)
        if tensors and data_offset + tensors[-1].offset + tensors[-1].bytes > self._file_bytes:
            self._fail("its tensors reach beyond its end")


def _is_token(value: Any, vocabulary: int) -> bool:
    return type(value) is int and (0 <= value < max(1, vocabulary) or value == NO_TOKEN)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
