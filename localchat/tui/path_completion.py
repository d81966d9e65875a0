"""Names of files that begin as what was typed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

LOOKED_AT, SHOWN = 5_000, 200  # names in a folder; a slow disk should not be read to its end for a list


def completions(typed: str) -> list[str]:
    """Paths that begin with what was typed, folders first and with a slash at their end; none where there are none.

    Names that nobody could type are left out, hidden ones too unless a dot was typed.
    """
    folder, beginning = os.path.split(typed)
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            names = sorted(_names(itertools.islice(entries, LOOKED_AT), beginning))
    except (OSError, ValueError, RuntimeError):
        return []
    before = typed.removesuffix(beginning)
    return [before + name for _, name in names[:SHOWN]]


def longest(typed: str, found: Sequence[str]) -> str:
    """As much as all that was found has in common; what was typed, where that is more."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*found, strict=False))
    common = "".join(letters[0] for letters in alike)
    return common if len(common) > len(typed) else typed


def _names(entries: Iterator[os.DirEntry[str]], beginning: str) -> Iterator[tuple[bool, str]]:
    for entry in entries:
        if entry.name.startswith(beginning) and entry.name.isprintable():
            if entry.name.startswith(".") and not beginning:
                continue
            is_folder = _is_folder(entry)
            yield not is_folder, f"{entry.name}/" if is_folder else entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
