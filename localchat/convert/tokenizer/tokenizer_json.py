"""`tokenizer.json`: a BPE vocabulary as the `tokenizers` library writes it, with byte fallback or byte-level.

The format is that library's own (its documentation of BPE, and of normalizers and pre-tokenizers by their `type`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from localchat.convert.tokenizer.rows import BYTE, NORMAL, ROWS_LIMIT, UNKNOWN, Piece, Source
from localchat.errors import BadFile, LocalchatError

FILE = "tokenizer.json"
BYTE_TEXT = re.compile(r"<0x[0-9A-Fa-f]{2}>")
BYTE_SPACE = chr(ord(" ") + 256)  # how byte-level vocabularies write a space
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS_AND_NUMBERS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The steps of a pre-tokenizer, as `_steps` writes them, and llama.cpp's name of the same rule.
RULES = {
    (TEKKEN, "bytes"): "tekken",
    (WORDS_AND_NUMBERS % "{1,3}", "bytes"): "llama-bpe",
    (WORDS_AND_NUMBERS % "", "bytes"): "qwen2",
    ("single digits", "bytes of words"): "smollm",
    ("bytes of words",): "gpt-2",
}
# Steps that leave the text as SentencePiece has it.
KNOWN_STEPS = {"Metaspace", "Prepend", "Replace", " "}


def read_tokenizer_json(raw: Mapping[str, Any]) -> Source:
    """The vocabulary in a parsed tokenizer.json. Raises LocalchatError for any that is not BPE, or is damaged."""
    model = _object(raw, "model")
    kind = model.get("type", "BPE" if "merges" in model else "an unnamed")
    if kind != "BPE":
        raise LocalchatError(
            f"{FILE} is {str(kind)[:40]}, and only BPE vocabularies can be converted",
            "look for a repository of the same model that has tokenizer.model",
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise LocalchatError(f"{FILE} marks the ends of words, which llama.cpp does not", "choose another model")
    vocabulary = _vocabulary(_object(model, "vocab"))
    merges = _merges(model, vocabulary)
    steps = tuple(_steps(raw.get("pre_tokenizer")))
    if model.get("byte_fallback"):
        return _with_byte_fallback(raw, vocabulary, merges, steps)
    if steps not in RULES:
        raise LocalchatError(
            f"{FILE} splits text by a rule that is not known here ({' then '.join(steps)[:80] or 'none'!r})",
            "choose a model with the tokenizer of Mistral or Llama",
        )
    return Source(
        file=FILE,
        pieces={number: Piece(text, 0.0, NORMAL) for text, number in vocabulary.items()},
        model="gpt2",
        pre=RULES[steps],
        # A space inside a piece would look like the one between the two.
        merges=[" ".join(part.replace(" ", BYTE_SPACE) for part in pair) for pair in merges],
        scored=False,
    )


def _with_byte_fallback(
    raw: Mapping[str, Any], vocabulary: Mapping[str, int], merges: list[tuple[str, str]], steps: tuple[str, ...]
) -> Source:
    """SentencePiece's algorithm joins what has the highest score, so the score is minus the rank of the merge.

    Of several merges with one result the first counts. What no merge makes comes last, as single characters do in
    SentencePiece's own files; their score decides nothing, since a single character is never the result of joining.
    """
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    unknown = _object(raw, "model").get("unk_token")
    pieces = {}
    for text, number in vocabulary.items():
        kind = UNKNOWN if text == unknown else BYTE if BYTE_TEXT.fullmatch(text) else NORMAL
        pieces[number] = Piece(text, 0.0 - ranks.get(text, len(merges)) if kind == NORMAL else 0.0, kind)
    normalizer = raw.get("normalizer")
    strange = sorted({step for step in (*steps, *_steps(normalizer)) if step not in KNOWN_STEPS})
    notes = (f"llama.cpp does not do what {FILE} does to text: {', '.join(strange)[:80]!r}",) if strange else ()
    prefixed = any(map(_puts_space, (*_parts(normalizer), *_parts(raw.get("pre_tokenizer")))))
    return Source(
        file=FILE, pieces=pieces, model="llama", space_prefix=None if prefixed else False, notes=notes,
        special={"unk": vocabulary[unknown]} if isinstance(unknown, str) and unknown in vocabulary else {},
    )  # fmt: skip


def _vocabulary(raw: Mapping[str, Any]) -> dict[str, int]:
    if len(raw) > ROWS_LIMIT:
        raise BadFile(f"{FILE} has more tokens than any vocabulary", "do not trust this checkpoint")
    if not raw or not all(type(number) is int and number >= 0 for number in raw.values()):
        raise BadFile(f"{FILE} has a token without a usable id, or no token at all", "download the file again")
    if len(set(raw.values())) != len(raw):
        raise BadFile(f"{FILE} gives one id to two tokens", "download the file again")
    return dict(raw)


def _merges(model: Mapping[str, Any], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs, best first. Until 2024 the library wrote a pair as one text with a space in the middle."""
    raw = model.get("merges")
    found = []
    for entry in raw if isinstance(raw, list) else []:
        if isinstance(entry, str) and entry.startswith("#version"):
            continue
        pair = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise BadFile(f"{FILE} has a merge that is no pair of texts", "download the file again")
        left, right = pair
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise BadFile(
                f"{FILE} merges {left[:40]!r} and {right[:40]!r}, which it does not have", "download it again"
            )
        found.append((left, right))
    if not found:
        raise BadFile(f"{FILE} has no merges", "download the file again")
    return found


def _parts(raw: Any) -> Iterator[Mapping[str, Any]]:
    """The normalizers or pre-tokenizers of a file, which are one object or a sequence of them."""
    if not isinstance(raw, dict):
        return
    inner = raw.get("normalizers", raw.get("pretokenizers"))
    for part in inner if raw.get("type") == "Sequence" and isinstance(inner, list) else [raw]:
        if isinstance(part, dict):
            yield part


def _steps(raw: Any) -> Iterator[str]:
    """Each step in one word, or as its regular expression."""
    for part in _parts(raw):
        kind = str(part.get("type"))
        pattern = part.get("pattern")
        if kind == "Split" and isinstance(pattern, dict):
            yield str(pattern.get("Regex", pattern.get("String")))
        elif kind == "ByteLevel":
            yield "bytes of words" if part.get("use_regex", True) else "bytes"
        elif kind == "Digits":
            yield "single digits" if part.get("individual_digits") else "digits"
        else:
            yield kind


def _puts_space(part: Mapping[str, Any]) -> bool:
    """Does this step put a space before the text, as SentencePiece does by default?"""
    if part.get("type") == "Metaspace":
        return part.get("prepend_scheme", "always") != "never" and part.get("add_prefix_space", True) is not False
    return part.get("type") == "Prepend"


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise BadFile(f"{FILE} has no {key}", "download the file again")
    return value
