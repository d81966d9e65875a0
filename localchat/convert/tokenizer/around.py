"""What a tokenizer puts around a text by itself.

Read from tokenizer.json's post-processor before tokenizer_config.json, as gguf's SpecialVocab does for llama.cpp's
converter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from localchat.convert.tokenizer.tokenizer_files import TokenizerFiles

Words = Mapping[str, str | None]
"""The text of each role: `bos`, `eos`, `cls`, `sep`."""


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a text, as far as the files say so."""

    adds: Mapping[str, bool]
    """`bos`, `eos`, `sep`: is the token put before, behind or between texts?"""
    bos: str | None
    """The token before a text, where the post-processor has one."""
    eos: str | None
    notes: tuple[str, ...]


def read_around(files: TokenizerFiles, words: Words) -> Around:
    """What the files say of the tokens around a text; `words` are the texts of the special tokens."""
    adds: dict[str, bool] = {}
    bos = eos = None
    for part in _processors(files.fast.get("post_processor")):
        if part.get("type") == "ByteLevel":
            adds = {"bos": False, "eos": False, **adds}
        elif part.get("type") == "TemplateProcessing":
            found = _around_template(part, words)
            adds, bos, eos = {**adds, **found.adds}, found.bos or bos, found.eos or eos
    notes = []
    for kind in ("bos", "eos"):
        value = files.settings.get(f"add_{kind}_token")
        if isinstance(value, bool) and adds.setdefault(kind, value) != value:
            notes.append(
                f"tokenizer.json {'adds' if adds[kind] else 'does not add'} the {kind} token to a text and "
                "tokenizer_config.json says otherwise; tokenizer.json counts"
            )
    return Around(adds, bos, eos, tuple(notes))


def _around_template(part: Mapping[str, Any], words: Words) -> Around:
    single, pair = _names(part.get("single")), _names(part.get("pair"))
    first, last = (single[0], single[-1]) if len(single) > 1 else (None, None)
    bos = (words.get("bos") or words.get("cls") or first) if first else None
    adds = {"eos": True} if last else {}
    if first:
        adds["bos"] = words.get("cls") is None or first in (bos, words.get("cls"))
    separated = _separated(pair, first, last, (words.get("sep"), last or words.get("eos")))
    return Around(adds if separated is None else {**adds, "sep": separated}, bos, last, ())


def _processors(raw: Any) -> Iterator[Mapping[str, Any]]:
    inner = raw.get("processors", [raw]) if isinstance(raw, dict) else []
    yield from (part for part in (inner if isinstance(inner, list) else []) if isinstance(part, dict))


def _names(raw: Any) -> list[str | None]:
    """The special tokens of a template, and None for each place of a text."""
    found: list[str | None] = []
    for entry in raw if isinstance(raw, list) else []:
        token = entry.get("SpecialToken") if isinstance(entry, dict) else None
        name = token.get("id") if isinstance(token, dict) else None
        found.append(name if isinstance(name, str) and name else None)
    return found


def _separated(
    pair: list[str | None], first: str | None, last: str | None, separators: tuple[str | None, ...]
) -> bool | None:
    """Does a token stand between two texts? None where gguf's SpecialVocab does not say."""
    if first and pair and pair[0] == first:
        pair = pair[1:]
    if last and pair and pair[-1] == last:
        pair = pair[:-1]
    if len(pair) < 3 or pair[0] is not None or pair[-1] is not None:
        return None
    middle = [name in separators if name else False for name in pair[1:-1]]
    return (middle[0] and not last) or (len(middle) == 2 and middle[1])
