"""Tokens that were added to a vocabulary: in which of the files around it they stand, and which kind they get.

Order, types and scores follow llama.cpp's converter (conversion/base.py), so that both give the same ids for the same
text. It does not look into tokenizer.json where there is a tokenizer.model; there we fill rows that have no token yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from localchat.convert.tokenizer.rows import CONTROL, USER_DEFINED, Rows
from localchat.convert.tokenizer.tokenizer_files import TokenizerFiles, several
from localchat.errors import BadFile

SPACE = "\u2581"  # how SentencePiece writes a space
# What llama.cpp takes for control tokens even where the tokenizer does not mark them as special.
SPECIAL_TEXTS = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
SPECIAL_ENDS = (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))


def add_tokens(rows: Rows, files: TokenizerFiles, *, from_json: bool) -> tuple[str, ...]:
    """Put all added tokens into the table; the notes that come back say what llama.cpp's converter would not know.

    `from_json`: is the vocabulary that of tokenizer.json? Raises BadFile for an id or a token that cannot be used.
    """
    if from_json:
        _add(rows, _listed(files.fast))
        late = [
            (number, text, CONTROL if looks_special(text) else USER_DEFINED) for number, text in _plain(files.added)
        ]
    else:
        for number, text in _plain(files.added):
            rows.add(number, text, USER_DEFINED)
        late = []
    _add(rows, _decoder(files.settings))
    late += [] if from_json else _listed(files.fast)
    missing = [entry for entry in late if rows.is_filler(entry[0]) and entry[1] not in rows.owner]
    _add(rows, iter(missing))
    where = "added_tokens.json" if from_json else "tokenizer.json"
    texts = [f"{number} {text[:40]!r}" for number, text, _ in missing]
    return (f"added tokens stand in {where} only: {several(texts)}",) if texts else ()


def looks_special(text: str) -> bool:
    """Does llama.cpp's converter take this text for a control token?"""
    return text in SPECIAL_TEXTS or any(text.startswith(start) and text.endswith(end) for start, end in SPECIAL_ENDS)


def _add(rows: Rows, tokens: Iterator[tuple[int, str, int]]) -> None:
    for number, text, kind in tokens:
        rows.add(number, text, kind)


def _plain(added: Mapping[str, Any]) -> list[tuple[int, str]]:
    return [(_id(number), text) for text, number in added.items()]


def _decoder(settings: Mapping[str, Any]) -> Iterator[tuple[int, str, int]]:
    decoder = settings.get("added_tokens_decoder")
    if not isinstance(decoder, dict | None):
        raise BadFile("tokenizer_config.json: added_tokens_decoder is no object", "download the file again")
    for number, token in (decoder or {}).items():
        yield _token(_id(number), token, "tokenizer_config.json")


def _listed(fast: Mapping[str, Any]) -> Iterator[tuple[int, str, int]]:
    tokens = fast.get("added_tokens")
    if not isinstance(tokens, list | None):
        raise BadFile("tokenizer.json: added_tokens is no list", "download the file again")
    for token in tokens or []:
        yield _token(_id(token.get("id") if isinstance(token, dict) else None), token, "tokenizer.json")


def _token(number: int, token: Any, file: str) -> tuple[int, str, int]:
    text = token.get("content") if isinstance(token, dict) else None
    if not isinstance(text, str):
        raise BadFile(f"{file}: added token {str(number)[:20]} has no text", "download the file again")
    if token.get("special") or looks_special(text):
        return number, text, CONTROL
    return number, text.replace(SPACE, " "), USER_DEFINED  # llama.cpp looks for these in the text as it was typed


def _id(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise BadFile(f"an added token has the id {str(value)[:20]!r}", "download the tokenizer files again")
    return min(number, 1 << 62)
