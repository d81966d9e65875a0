"""The table of tokens while it is put together: a text, a score and a type for each row of the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localchat.convert.tokenizer.tokenizer_files import several
from localchat.errors import BadFile, LocalchatError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
FILLER_SCORE, ADDED_SCORE = -10_000.0, -1_000.0
ROWS_LIMIT = 1 << 19  # twice the largest that is published


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of a vocabulary."""

    text: str
    score: float
    type: int
    """1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte."""


@dataclass(frozen=True, slots=True)
class Source:
    """What one file says of the vocabulary, before tokens are added to it."""

    file: str
    pieces: Mapping[int, Piece]
    model: str
    """llama.cpp's name of the algorithm: `llama` is SentencePiece BPE, `gpt2` is byte-level BPE."""
    pre: str = "default"
    """llama.cpp's name of the rule by which text is split before pieces are merged."""
    merges: list[str] = field(default_factory=list)
    scored: bool = True
    """Do the pieces have scores?"""
    space_prefix: bool | None = None
    special: Mapping[str, int] = field(default_factory=dict)
    """Ids by role that the file itself gives; they count where nothing else does."""
    notes: tuple[str, ...] = ()


class Rows:
    """The growing table. Rows without a token become fillers; tokens beyond the rows are left out."""

    def __init__(self, source: Source, rows: int) -> None:
        if rows > ROWS_LIMIT:
            raise LocalchatError(f"the model has {rows:,} tokens, more than any vocabulary", "choose another model")
        self.added: set[int] = set()
        self.owner: dict[str, int] = {}
        self._pieces: list[Piece | None] = [None] * rows
        self._beyond: list[str] = []
        self._doubled: list[str] = []
        self._replaced: list[str] = []
        self._file = source.file
        for number, piece in source.pieces.items():
            if piece.text in self.owner:
                raise BadFile(
                    f"two tokens of {source.file} are {piece.text[:40]!r}", "download the tokenizer files again"
                )
            self._put(number, piece)

    def add(self, number: int, text: str, kind: int) -> None:
        """A token that was added to the vocabulary; a text that another token has is taken from it."""
        if number < len(self._pieces):
            old = self._pieces[number]
            if old is not None and old.text != text:
                self._replaced.append(f"{number} is {text[:40]!r} and was {old.text[:40]!r}")
            self.added.add(number)
        self._put(number, Piece(text, ADDED_SCORE, kind))

    def is_filler(self, number: int) -> bool:
        """Is this a row of the embedding that has no token so far?"""
        return number < len(self._pieces) and self._pieces[number] is None

    def _put(self, number: int, piece: Piece) -> None:
        if number >= len(self._pieces):
            self._beyond.append(f"{number} {piece.text[:40]!r}")
            return
        old, other = self._pieces[number], self.owner.get(piece.text, number)
        if old is not None:
            self.owner.pop(old.text, None)
        if other != number:
            self._pieces[other] = None
            self._doubled.append(f"{piece.text[:40]!r} is {number} and was {other}")
        self._pieces[number] = piece
        self.owner[piece.text] = number

    def finished(self) -> list[Piece]:
        """All rows, each text once: llama.cpp ends its process over a text that two tokens have.

        Raises BadFile where a text is none, which no model file can hold: half of a surrogate pair.
        """
        found = [piece or self._filler(number) for number, piece in enumerate(self._pieces)]
        try:
            "".join(piece.text for piece in found).encode()
        except UnicodeEncodeError as error:
            raise BadFile("a token of the vocabulary is no text", "download the tokenizer files again") from error
        if len({_as_read(piece.text, number) for number, piece in enumerate(found)}) != len(found):
            raise BadFile("two tokens of the vocabulary are one to llama.cpp", "do not trust this checkpoint")
        return found

    def _filler(self, number: int) -> Piece:
        text = f"[PAD{number}]"
        while text in self.owner:
            text += "_"
        self.owner[text] = number
        return Piece(text, FILLER_SCORE, UNUSED)

    def notes(self) -> tuple[str, ...]:
        """One sentence for each kind of thing that was repaired or left out."""
        kinds = (
            (self._beyond, f"tokens beyond the {len(self._pieces):,} rows of the embedding were left out"),
            (self._replaced, f"tokens of {self._file} were replaced by added ones"),
            (self._doubled, "texts belonged to two tokens, of which the one added last has it"),
        )
        return tuple(f"{sentence}: {several(items)}" for items, sentence in kinds if items)


def _as_read(text: str, number: int) -> str:
    """The text that llama.cpp makes of a token: it ends at a zero byte, and an empty one gets a name."""
    return text.partition("\0")[0] or f"[EMPTY_{number}]"
