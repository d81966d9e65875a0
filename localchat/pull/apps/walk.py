"""Files below a folder, with bounds: other apps' folders may be huge, and links in them may lead in circles."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from localchat.errors import BadFile
from localchat.pull.apps.candidate import Candidate
from localchat.pull.gguf_names import model_in

ENTRIES_LIMIT = 100_000
DEPTH_LIMIT = 10
SUFFIX = ".gguf"
FORMAT = re.compile(r"[-._]gguf$", re.IGNORECASE)
NAMELESS = re.compile(r"((ggml-)?model|gguf|weights)?", re.IGNORECASE)


def is_file(path: Path) -> bool:
    """Is there an ordinary file? Unlike `Path.is_file` it takes folders that are closed to us."""
    return _mode(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Is there a folder, as far as we may know?"""
    return _mode(path, stat.S_ISDIR)


def whole_path(text: object) -> list[Path]:
    """The path that an app's settings name, if it is a whole one: what another would be relative to is not known."""
    is_path = isinstance(text, str) and "\0" not in text and Path(text).is_absolute()
    return [Path(str(text))] if is_path else []


def _mode(path: Path, is_such: Callable[[int], bool]) -> bool:
    try:
        return is_such(path.stat().st_mode)
    except OSError:
        return False


def files_below(folder: Path, entries: int = ENTRIES_LIMIT) -> Iterator[Path]:
    """Everything below a folder that is no folder, by name. Links to folders are followed, each folder once.

    What cannot be read is left out. Raises BadFile after so many entries.
    """
    seen: set[tuple[int, int]] = set()
    waiting, left = [(folder, 0)], entries
    while waiting:
        current, depth = waiting.pop()
        found = _entries(current, seen, left)
        left -= len(found)
        if left < 0:
            raise BadFile(f"{folder} has more than {entries:,} files", "name a smaller folder with --from")
        yield from (path for path, is_folder in found if not is_folder)
        if depth < DEPTH_LIMIT:
            waiting += [(path, depth + 1) for path, is_folder in reversed(found) if is_folder]


def _entries(folder: Path, seen: set[tuple[int, int]], limit: int) -> list[tuple[Path, bool]]:
    """What is in a folder that was not seen before, by name; of more than the limit one more, to tell."""
    found: list[tuple[Path, bool]] = []
    try:
        facts = folder.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            return []
        seen.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                found.append((Path(entry.path), _is_folder(entry)))
                if len(found) > limit:
                    break
    except OSError:
        pass
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def model_files(app: str, folder: Path) -> Iterator[Candidate]:
    """A candidate for each model file below a folder, called by its path in it."""
    for path in files_below(folder):
        if path.suffix.lower() == SUFFIX:
            yield Candidate(app, path.relative_to(folder).as_posix(), path, suggested(path))


def suggested(path: Path, elder: str = "") -> str:
    """What to call the model of a file: the file's name without its type, or its folder's where that says nothing."""
    name = plain(path.name)
    return plain(elder or path.parent.name) if NAMELESS.fullmatch(name) else name


def plain(name: str) -> str:
    """A name without its ending and the type of the weights."""
    return FORMAT.sub("", model_in(name))
