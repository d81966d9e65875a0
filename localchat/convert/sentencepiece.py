"""`tokenizer.model`: the vocabulary of a SentencePiece model, read from its protobuf without the library.

Fields are those of sentencepiece_model.proto: ModelProto{1: pieces, 2: trainer_spec, 3: normalizer_spec},
SentencePiece{1: piece, 2: score, 3: type}, TrainerSpec{3: model_type}. Type numbers equal those of GGUF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_bytes

FILE_LIMIT_BYTES = 64 << 20
PIECES_LIMIT = 1 << 20
BPE = 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Field = tuple[int, int | float | bytes]


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary."""

    text: str
    score: float
    type: int
    """1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte."""


def read_pieces(path: Path) -> list[Piece]:
    """The vocabulary in the order of its ids. Raises LocalchatError for a file that is no SentencePiece BPE model."""
    if not path.is_file():
        raise LocalchatError(
            f"{path.parent} has no tokenizer.model, without which text cannot be turned into tokens",
            "copy tokenizer.model from the base model that the checkpoint was made from",
        )
    pieces, kind = _parse(read_bytes(path, FILE_LIMIT_BYTES))
    if not pieces:
        raise BadFile(f"{path.name} has no vocabulary", "download the file again")
    if kind != BPE:
        raise LocalchatError(f"{path.name} is not a BPE model, which is what Llama and Mistral use", "choose another")
    return pieces


def _parse(data: bytes) -> tuple[list[Piece], int]:
    pieces: list[Piece] = []
    kind = 1
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif number == 2 and isinstance(value, bytes):
                kind = int(dict(_fields(value)).get(3, kind))
            if len(pieces) > PIECES_LIMIT:
                raise ValueError("more pieces than any vocabulary has")
    except (ValueError, OverflowError, IndexError, struct.error) as error:
        raise BadFile(f"tokenizer.model is damaged ({error})", "download the file again") from error
    return pieces, kind


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
