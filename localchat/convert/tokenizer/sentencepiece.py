"""`tokenizer.model`: the vocabulary of a SentencePiece model, read from its protobuf without the library.

Fields are those of sentencepiece_model.proto: ModelProto{1: pieces, 2: trainer_spec, 3: normalizer_spec},
SentencePiece{1: piece, 2: score, 3: type}, TrainerSpec{3: model_type}, NormalizerSpec{3: add_dummy_prefix}. Type
numbers equal those of GGUF.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from localchat.convert.tokenizer.rows import CONTROL, NORMAL, ROWS_LIMIT, USER_DEFINED, Piece, Source
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_bytes

FILE_LIMIT_BYTES = 8 << 20  # the largest that is published has 256,000 pieces and 4 MB
BPE = 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# Other files that go by the name of tokenizer.model, by how they start.
STRANGERS = (
    (re.compile(rb"\s*[\[{]"), "JSON"),
    (re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n"), "a vocabulary of tiktoken"),
    (re.compile(rb"version https://git-lfs"), "a pointer to a file that Git LFS keeps"),
)
ROLES = {"<s>": "bos", "</s>": "eos"}  # SentencePiece's own names

Field = tuple[int, int | float | bytes]


def read_sentencepiece(path: Path) -> Source:
    """The vocabulary in the order of its ids. Raises LocalchatError for a file that is no SentencePiece BPE model."""
    data = read_bytes(path, FILE_LIMIT_BYTES)
    if (stranger := _stranger(data)) is not None:
        raise BadFile(
            f"{path.name} is {stranger} and no SentencePiece model",
            "download the file again, or look for a repository that has tokenizer.json",
        )
    pieces, kind, prefix = _parse(data, path.name)
    if not pieces:
        raise BadFile(f"{path.name} has no vocabulary", "download the file again")
    if kind != BPE:
        raise LocalchatError(f"{path.name} is not a BPE model, which is what Llama and Mistral use", "choose another")
    return Source(
        file=path.name,
        # llama.cpp knows a user-defined piece of SentencePiece as a normal one.
        pieces={number: _normal(piece) for number, piece in enumerate(pieces)},
        model="llama",
        space_prefix=None if prefix else False,
        special={ROLES[p.text]: number for number, p in enumerate(pieces) if p.type == CONTROL and p.text in ROLES},
    )


def user_defined(path: Path) -> list[str]:
    """The texts of the pieces that SentencePiece finds before all others, and llama.cpp does not."""
    pieces, _kind, _prefix = _parse(read_bytes(path, FILE_LIMIT_BYTES), path.name)
    return [piece.text for piece in pieces if piece.type == USER_DEFINED]


def is_sentencepiece(path: Path) -> bool:
    """Does a file start like a SentencePiece model, and not like one of the others that go by its name?"""
    return _stranger(read_bytes(path, FILE_LIMIT_BYTES)) is None


def _stranger(data: bytes) -> str | None:
    return next((name for pattern, name in STRANGERS if pattern.match(data)), None)


def _normal(piece: Piece) -> Piece:
    return replace(piece, type=NORMAL) if piece.type == USER_DEFINED else piece


def _parse(data: bytes, name: str) -> tuple[list[Piece], int, bool]:
    """All pieces, the type of the model, and whether it puts a space before a text."""
    pieces: list[Piece] = []
    kind, prefix = 1, True
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif number == 2 and isinstance(value, bytes):
                kind = int(dict(_fields(value)).get(3, kind))
            elif number == 3 and isinstance(value, bytes):
                prefix = bool(dict(_fields(value)).get(3, prefix))
            if len(pieces) > ROWS_LIMIT:
                raise ValueError("more pieces than any vocabulary has")
    except (ValueError, OverflowError, IndexError, struct.error) as error:
        raise BadFile(f"{name} is damaged ({error})", "download the file again") from error
    return pieces, kind, prefix


def _piece(data: bytes) -> Piece:
    text, score, kind = b"", 0.0, 1
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            text = value
        elif number == 2 and isinstance(value, float):
            score = value
        elif number == 3 and isinstance(value, int):
            kind = value
    if not 1 <= kind <= 6 or not abs(score) < 1e30:
        raise ValueError("a piece has an unknown type or score")
    return Piece(text.decode("utf-8"), score, kind)


def _fields(data: bytes) -> Iterator[Field]:
    """The fields of one message: number and value; a slice never reaches beyond the message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == BYTES:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise ValueError("a field is longer than the file")
            yield number, data[at : at + length]
            at += length
        elif wire in (FIXED32, FIXED64):
            width = 4 if wire == FIXED32 else 8
            yield number, struct.unpack_from("<f" if wire == FIXED32 else "<d", data, at)[0]
            at += width
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
