"""The vocabulary as llama.cpp wants it: a text, a score and a type for each row of the embedding.

How added tokens are merged in (order, types, scores) follows llama.cpp's converter (conversion/base.py), so that both
give the same ids for the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localchat.convert.config import Config
from localchat.convert.sentencepiece import read_pieces
from localchat.errors import BadFile
from localchat.files import read_json

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
FILLER_SCORE, ADDED_SCORE = -10_000.0, -1_000.0
SPACE = "\u2581"  # how SentencePiece writes a space
TOKENIZER_LIMIT_BYTES = 64 << 20
SURROGATE = re.compile("[\ud800-\udfff]")
# llama.cpp takes these for control tokens even where the tokenizer does not mark them as special.
LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<\uff5c.*\uff5c>|<(pad|mask)>|\[@BOS@\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Vocab:
    """One entry for each row of the embedding, and what the tokenizer does by itself."""

    texts: list[str]
    scores: list[float]
    types: list[int]
    special: Mapping[str, int]
    """Token ids by role: `bos`, `eos`, `unk`, `pad`, and `eot` where generation_config ends turns differently."""
    adds: Mapping[str, bool] = field(default_factory=dict)
    """`bos` and `eos`: is the token put before or behind a text? Absent where the tokenizer does not say."""
    space_prefix: bool | None = None


def read_vocab(folder: Path, config: Config) -> Vocab:
    """The vocabulary of a folder with `tokenizer.model`. Raises LocalchatError where it is missing or damaged."""
    rows = _Rows(config.vocabulary)
    for index, piece in enumerate(read_pieces(folder / "tokenizer.model")):
        # llama.cpp knows a user-defined piece of SentencePiece as a normal one.
        rows.put(index, piece.text, piece.score, NORMAL if piece.type == USER_DEFINED else piece.type)
    settings = optional_json(folder / "tokenizer_config.json", TOKENIZER_LIMIT_BYTES)
    for text, number in optional_json(folder / "added_tokens.json").items():
        rows.put(_id(number), text, ADDED_SCORE, USER_DEFINED)
    for number, token in _decoder(settings).items():
        rows.add(_id(number), token)
    rows.check()
    return Vocab(
        rows.texts, rows.scores, rows.types,
        special=_special(rows.texts, settings, config, optional_json(folder / "generation_config.json")),
        adds={kind: value for kind in ("bos", "eos") if isinstance(value := settings.get(f"add_{kind}_token"), bool)},
        space_prefix=value if isinstance(value := settings.get("add_prefix_space"), bool) else None,
    )  # fmt: skip


def optional_json(path: Path, limit_bytes: int = 4 << 20) -> dict[str, Any]:
    """The object in a JSON file that may be absent."""
    return read_json(path, limit_bytes) if path.is_file() else {}


class _Rows:
    """The growing table. Rows of the embedding without a token are fillers; tokens beyond the rows are left out."""

    def __init__(self, rows: int) -> None:
        self.texts = [f"[PAD{number}]" for number in range(rows)]
        self.scores = [FILLER_SCORE] * rows
        self.types = [UNUSED] * rows

    def put(self, number: int, text: str, score: float, kind: int) -> None:
        if number < len(self.texts):
            self.texts[number], self.scores[number], self.types[number] = text, score, kind

    def check(self) -> None:
        """llama.cpp ends its process over a text that two tokens have; a model file cannot hold half a surrogate."""
        if any(map(SURROGATE.search, self.texts)):
            raise BadFile("a token of the vocabulary is no text", "download the tokenizer files again")
        if len(known := set(self.texts)) != len(self.texts):
            doubled = next(text for text in known if self.texts.count(text) > 1)
            raise BadFile(f"two tokens of the vocabulary are {doubled[:40]!r}", "ask the authors of the checkpoint")

    def add(self, number: int, token: Any) -> None:
        """A token of `added_tokens_decoder`, which has the last word."""
        text = token.get("content") if isinstance(token, dict) else None
        if not isinstance(text, str):
            raise BadFile(f"tokenizer_config.json: added token {number} has no text", "download the file again")
        if token.get("special") or LOOKS_SPECIAL.fullmatch(text):
            self.put(number, text, ADDED_SCORE, CONTROL)
        else:
            self.put(number, text.replace(SPACE, " "), ADDED_SCORE, USER_DEFINED)


def _decoder(settings: Mapping[str, Any]) -> dict[str, Any]:
    decoder = settings.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict):
        raise BadFile("tokenizer_config.json: added_tokens_decoder is no object", "download the file again")
    return decoder


def _id(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise BadFile(f"an added token has the id {str(value)[:20]!r}", "download the tokenizer files again")
    return number


def _special(
    texts: list[str], settings: Mapping[str, Any], config: Config, generation: Mapping[str, Any]
) -> dict[str, int]:
    """Ids by role. The tokenizer's own word counts before config.json's; ids beyond the vocabulary do not count."""
    ids = {text: number for number, text in enumerate(texts)}
    found = {kind: number for kind, number in config.token_ids.items() if number < len(texts)}
    for kind in ("bos", "eos", "unk", "pad"):
        entry = settings.get(f"{kind}_token")
        text = entry.get("content") if isinstance(entry, dict) else entry
        if isinstance(text, str) and text in ids:
            found[kind] = ids[text]
    ends = generation.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if type(end) is int and 0 <= end < len(texts) and end != found.get("eos"):
            found.setdefault("eot", end)
    return found
