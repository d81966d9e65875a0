"""Which tokens begin and end texts and turns: what the files say, and who counts where they disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from localchat.convert.tokenizer.around import read_around
from localchat.convert.tokenizer.rows import Source
from localchat.convert.tokenizer.tokenizer_files import TokenizerFiles, several

KINDS = ("bos", "eos", "unk", "pad")
# Texts that end a turn wherever a chat template writes them.
TURN_ENDS = ("<|im_end|>", "<|end_of_turn|>", "<|eot_id|>", "</s>")
ENDING_KEYS = ("eos", "eot", "eom")  # the ids that llama.cpp stops at


@dataclass(frozen=True, slots=True)
class Special:
    """Ids by role, the ids that end a turn, and what is put around a text."""

    ids: Mapping[str, int]
    ends: tuple[int, ...]
    adds: Mapping[str, bool]
    notes: tuple[str, ...]


def find_special(
    owner: Mapping[str, int],
    files: TokenizerFiles,
    config_ids: Mapping[str, tuple[int, ...]],
    source: Source,
    template: str,
) -> Special:
    """Roles of tokens; `owner` is the id of each text, `template` is searched for texts that end a turn.

    The tokenizer's own word counts before config.json's; ids beyond the vocabulary do not count.
    """
    words = role_texts(files)
    around = read_around(files, words)
    words |= {"bos": around.bos or words.get("bos"), "eos": around.eos or words.get("eos")}
    known = {kind: owner[text] for kind in KINDS if (text := words.get(kind)) is not None and text in owner}
    notes = [*around.notes]
    config = {kind: _within(ids, len(owner), f"config.json's {kind}", notes) for kind, ids in config_ids.items()}
    generation = _ids(files.generation.get("eos_token_id"))
    ids = {**source.special, **{kind: found[0] for kind, found in config.items() if found}, **known}
    said = {
        "the tokenizer": [known["eos"]] if "eos" in known else [],
        "config.json": config.get("eos", []),
        "generation_config.json": _within(generation, len(owner), "generation_config.json's eos", notes),
        "the chat template": [owner[text] for text in TURN_ENDS if text in owner and text in template],
    }
    first = [ids["eos"]] if "eos" in ids else []
    ends = tuple(dict.fromkeys([*first, *(end for part in said.values() for end in part)]))
    notes += _disagreements(said, ends)
    if "bos" in known and config.get("bos", [known["bos"]])[0] != known["bos"]:
        notes.append(f"config.json's bos is {config['bos'][0]} and the tokenizer's is {known['bos']}, which counts")
    return Special({**ids, **dict(zip(ENDING_KEYS, ends, strict=False))}, ends, around.adds, tuple(notes))


def role_texts(files: TokenizerFiles) -> dict[str, str | None]:
    """The text of each role in tokenizer_config.json, else in special_tokens_map.json."""
    found: dict[str, str | None] = {}
    for kind in (*KINDS, "cls", "sep"):
        for raw in (files.settings, files.special):
            entry = raw.get(f"{kind}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str) and text:
                found.setdefault(kind, text)
    return found


def _ids(value: Any) -> list[int]:
    return [entry for entry in (value if isinstance(value, list) else [value]) if type(entry) is int and entry >= 0]


def _within(ids: Iterable[int], rows: int, whose: str, notes: list[str]) -> list[int]:
    ids = list(ids)
    if beyond := [str(number)[:20] for number in ids if number >= rows]:
        notes.append(f"{whose} lies beyond the {rows:,} tokens and does not count: {several(beyond)}")
    return [number for number in ids if number < rows]


def _disagreements(said: Mapping[str, list[int]], ends: tuple[int, ...]) -> Iterator[str]:
    views = {who: sorted(set(ids)) for who, ids in said.items() if ids and who != "the chat template"}
    if len({tuple(ids) for ids in views.values()}) > 1:
        words = "; ".join(f"{who} says {several([str(number) for number in ids])}" for who, ids in views.items())
        yield f"it is not agreed which token ends a turn, so each of them does: {words}"
    if len(ends) > len(ENDING_KEYS):
        left = several([str(number) for number in ends[len(ENDING_KEYS) :]])
        yield f"a model file has room for {len(ENDING_KEYS)} tokens that end a turn, so these are not in it: {left}"
