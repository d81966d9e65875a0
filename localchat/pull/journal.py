"""What of an unfinished model file is done, kept beside it so that the next pull goes on from there.

One JSON object a line: first what the file will be, then a line for each step. A line that was cut, and all behind it,
does not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOURNAL_LIMIT_BYTES = 64 << 20
LINE_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an input was used up."""

    at: int
    """The first byte that is still needed."""
    state: str
    """Of the hash of the bytes before it, as `sha256` keeps it; empty where that is not possible here."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A step that is done."""

    sha256: str
    """Of what was written."""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """The inputs that were used up further, by their names."""


class Journal:
    """The steps that are done of one file; `identity` says exactly what it will be."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._first = path, json.dumps({"identity": identity}) + "\n"
        self.entries: list[Entry] = []
        self._ends = [len(self._first)]
        """Where the line of each entry ends; before them, where the first line does."""
        for entry, end in _read(path, identity):
            self.entries.append(entry)
            self._ends.append(end)

    def append(self, entry: Entry) -> None:
        """One step more, in the place of whatever could not be read. Raises OSError where the disk is full."""
        line = _line(entry).encode("ascii")
        self._path.touch(mode=0o600)
        with self._path.open("r+b") as file:
            if not self.entries:
                file.write(self._first.encode("ascii"))
            file.seek(self._ends[-1])
            file.write(line)
            file.truncate()
        self.entries.append(entry)
        self._ends.append(self._ends[-1] + len(line))

    def cut(self, count: int) -> None:
        """Only the first so many steps are done."""
        if count < len(self.entries):
            del self.entries[count:], self._ends[count + 1 :]
            os.truncate(self._path, self._ends[-1])

    def marks(self) -> dict[str, Mark]:
        """How far each input is used up."""
        found: dict[str, Mark] = {}
        for entry in self.entries:
            found.update(entry.marks)
        return found


def used_bytes(path: Path) -> int:
    """How much of all inputs an unfinished file has used up, whatever it will be."""
    found: dict[str, int] = {}
    for raw, _ in _objects(path):
        if (entry := _entry(raw)) is not None:
            found.update({name: mark.at for name, mark in entry.marks.items()})
    return sum(found.values())


def _line(entry: Entry) -> str:
    marks = {name: [mark.at, mark.state] for name, mark in entry.marks.items()}
    return json.dumps({"sha256": entry.sha256, "marks": marks}) + "\n"


def _read(path: Path, identity: str) -> Iterator[tuple[Entry, int]]:
    objects = _objects(path)
    if next(objects, (None, 0))[0] != {"identity": identity}:
        return
    for raw, end in objects:
        if (entry := _entry(raw)) is None:
            return
        yield entry, end


def _objects(path: Path) -> Iterator[tuple[Any, int]]:
    """What each line says, and where it ends."""
    if not path.is_file() or path.stat().st_size > JOURNAL_LIMIT_BYTES:
        return
    with path.open("rb") as file:
        while (line := file.readline(LINE_LIMIT_BYTES)).endswith(b"\n"):
            try:
                yield json.loads(line), file.tell()
            except (ValueError, RecursionError):
                return


def _entry(raw: Any) -> Entry | None:
    try:
        marks = {str(name): Mark(at, state) for name, (at, state) in raw["marks"].items()}
        entry = Entry(raw["sha256"], marks)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    is_sound = isinstance(entry.sha256, str) and all(
        type(mark.at) is int and mark.at >= 0 and isinstance(mark.state, str) for mark in marks.values()
    )
    return entry if is_sound else None
