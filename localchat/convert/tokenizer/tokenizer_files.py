"""The JSON files around a tokenizer, each of which may be absent, read once and within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat.files import read_json

# The largest that are published, tekken.json and tokenizer.json of 131,072 tokens, have 19 MB and a million values.
TOKENIZER_LIMIT_BYTES = 24 << 20
CONFIG_LIMIT_BYTES = 8 << 20  # published tokenizer_config.json have up to 1 MB


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What authors put beside the vocabulary itself; an absent file is an empty object."""

    settings: Mapping[str, Any]
    """tokenizer_config.json"""
    added: Mapping[str, Any]
    """added_tokens.json: text to id"""
    special: Mapping[str, Any]
    """special_tokens_map.json: role to text"""
    generation: Mapping[str, Any]
    """generation_config.json"""
    fast: Mapping[str, Any]
    """tokenizer.json"""


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """The JSON files of a checkpoint folder. Raises BadFile for one that is damaged or absurdly large."""
    return TokenizerFiles(
        settings=optional_json(folder / "tokenizer_config.json", CONFIG_LIMIT_BYTES),
        added=optional_json(folder / "added_tokens.json"),
        special=optional_json(folder / "special_tokens_map.json"),
        generation=optional_json(folder / "generation_config.json"),
        fast=optional_json(folder / "tokenizer.json", TOKENIZER_LIMIT_BYTES),
    )


def optional_json(path: Path, limit_bytes: int = 4 << 20) -> dict[str, Any]:
    """The object in a small JSON file that may be absent."""
    return read_json(path, limit_bytes) if path.is_file() else {}


def several(items: list[str]) -> str:
    """The first three of a list in words, and how many more there are."""
    more = f" and {len(items) - 3:,} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
