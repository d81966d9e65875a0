"""The vocabulary as llama.cpp wants it: a text, a score and a type for each row of the embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localchat.convert.config import Config
from localchat.convert.template import Templates
from localchat.convert.tokenizer.added import add_tokens
from localchat.convert.tokenizer.rows import Rows, Source
from localchat.convert.tokenizer.sentencepiece import is_sentencepiece, read_sentencepiece
from localchat.convert.tokenizer.special import find_special
from localchat.convert.tokenizer.tekken import FILE as TEKKEN_FILE
from localchat.convert.tokenizer.tekken import read_tekken
from localchat.convert.tokenizer.tokenizer_files import (
    TOKENIZER_LIMIT_BYTES,
    TokenizerFiles,
    optional_json,
    read_tokenizer_files,
)
from localchat.convert.tokenizer.tokenizer_json import FILE as JSON_FILE
from localchat.convert.tokenizer.tokenizer_json import read_tokenizer_json
from localchat.errors import LocalchatError

SENTENCEPIECE_FILE = "tokenizer.model"
# Mistral's own uploads: the version of the tokenizer, and of its images.
VERSION = re.compile(r"tokenizer\.model\.v(\d{1,4})(?:m(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Vocab:
    """One entry for each row of the embedding, and what the tokenizer does by itself."""

    texts: list[str]
    scores: list[float]
    """Empty for a `gpt2` vocabulary that has none."""
    types: list[int]
    special: Mapping[str, int]
    """Token ids by role: `bos`, `eos`, `unk`, `pad`, and `eot` and `eom` where more than one token ends a turn."""
    adds: Mapping[str, bool] = field(default_factory=dict)
    """`bos`, `eos`, `sep`: is the token put around a text? Absent where the tokenizer does not say."""
    space_prefix: bool | None = None
    model: str = "llama"
    """llama.cpp's name of the algorithm: `llama` is SentencePiece BPE, `gpt2` is byte-level BPE."""
    pre: str = "default"
    """llama.cpp's name of the rule by which text is split before pieces are merged."""
    merges: list[str] = field(default_factory=list)
    """Pairs with a space between, best first; empty for `llama`."""
    source: str = ""
    """The file that the vocabulary was read from."""
    added: tuple[int, ...] = ()
    """Ids of all added tokens that have a row, in rising order."""
    ends: tuple[int, ...] = ()
    """Ids of all tokens that end a turn, the tokenizer's own first."""
    notes: tuple[str, ...] = ()
    """What disagreed, was repaired or left out: one sentence each."""


def read_vocab(folder: Path, config: Config, templates: Templates) -> Vocab:
    """The vocabulary of a checkpoint folder, of `config.vocabulary` entries; `templates` show how its turns end.

    Read from tokenizer.model, else tokenizer.model.v* (the highest version), else tokenizer.json, else tekken.json.
    Raises LocalchatError where there is none of them, or one is damaged or of a kind that llama.cpp cannot use.
    """
    files = read_tokenizer_files(folder)
    source = _source(folder, files)
    rows = Rows(source, config.vocabulary)
    is_tekken = source.file == TEKKEN_FILE  # Mistral's own format knows no added tokens
    notes = () if is_tekken else add_tokens(rows, files, from_json=source.file == JSON_FILE)
    pieces = rows.finished()
    special = find_special(rows.owner, files, config.token_ids, source, _all_text(templates))
    prefix = files.settings.get("add_prefix_space")
    return Vocab(
        texts=[piece.text for piece in pieces],
        scores=[piece.score for piece in pieces] if source.scored else [],
        types=[piece.type for piece in pieces],
        special=special.ids,
        adds={"bos": True, "eos": False} if is_tekken else special.adds,
        space_prefix=prefix if isinstance(prefix, bool) else source.space_prefix,
        model=source.model, pre=source.pre, merges=source.merges, source=source.file,
        added=tuple(sorted(rows.added)), ends=special.ends,
        notes=(*source.notes, *rows.notes(), *notes, *special.notes),
    )  # fmt: skip


def _source(folder: Path, files: TokenizerFiles) -> Source:
    path = folder / SENTENCEPIECE_FILE
    # Where another file goes by this name, tokenizer.json beside it is better than a refusal.
    if path.is_file() and (not files.fast or is_sentencepiece(path)):
        return read_sentencepiece(path)
    versions = [
        (match, file) for file in folder.iterdir() if (match := VERSION.fullmatch(file.name)) and file.is_file()
    ]
    if versions:
        return read_sentencepiece(max(versions, key=lambda entry: [int(part or 0) for part in entry[0].groups()])[1])
    if files.fast:
        return read_tokenizer_json(files.fast)
    if tekken := optional_json(folder / TEKKEN_FILE, TOKENIZER_LIMIT_BYTES):
        return read_tekken(tekken)
    raise LocalchatError(
        f"{folder} has no tokenizer.model, tokenizer.json or tekken.json, without which text cannot be turned into "
        "tokens",
        "copy tokenizer.model from the base model that the checkpoint was made from",
    )


def _all_text(templates: Templates) -> str:
    return "\n".join([templates.default or "", *templates.named.values()])
