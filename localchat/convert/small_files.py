"""The files of a checkpoint that describe it: everything but its weights."""

from __future__ import annotations

import re
from pathlib import Path

from localchat.convert.weight_set import INDEXES
from localchat.errors import LocalchatError
from localchat.paths import is_safe_name

MORE_TEMPLATES = "additional_chat_templates"
NAMES = frozenset({
    "config.json", "params.json", "adapter_config.json", "generation_config.json", "tokenizer.model", "tokenizer.json",
    "tekken.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", *INDEXES,
})  # fmt: skip
VERSIONED = re.compile(r"tokenizer\.model\.v\d{1,4}(m\d{1,4})?")
TOKENIZER = re.compile(r"tokenizer\.model(\.v\d{1,4}(m\d{1,4})?)?|tokenizer\.json|tekken\.json")


def file_names(folder: Path) -> list[str]:
    """The names of the ordinary files in a folder, sorted; to read a pipe would take forever.

    Raises LocalchatError where the folder cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise LocalchatError(f"{folder} cannot be read: {error.strerror or error}", "give another folder") from error


def describes(name: str) -> bool:
    """Is a file of this name, relative to the checkpoint, read besides the weights?"""
    folder, _, file = name.rpartition("/")
    if folder:
        return folder == MORE_TEMPLATES and is_safe_name(file) and file.endswith(".jinja")
    return file in NAMES or VERSIONED.fullmatch(file) is not None


def small_files(folder: Path) -> dict[str, Path]:
    """The describing files that a folder has, by their names relative to it."""
    paths = [*folder.iterdir(), *(folder / MORE_TEMPLATES).glob("*.jinja")]
    names = {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
    return {name: path for name, path in names.items() if describes(name) and path.is_file()}


def has_tokenizer(folder: Path) -> bool:
    """Does the folder have a tokenizer of its own?"""
    return any(TOKENIZER.fullmatch(name) for name in file_names(folder))
