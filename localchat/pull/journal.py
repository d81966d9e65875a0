"""What of an unfinished model file is done, kept beside it so that the next pull goes on from there.

One JSON object a line: first what the file will be, then a line for each step. A line that was cut, and all behind it,
does not count.
"""

from __future__ import annotations

import json
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
        self._path, self._identity = path, identity
        self.entries: list[Entry] = list(_read(path, identity))

    def append(self, entry: Entry) -> None:
        """One step more. Raises OSError where the disk is full."""
        if not self.entries:
            self._write([])
        with self._path.open("a", encoding="ascii") as file:
            file.write(_line(entry))
        self.entries.append(entry)

    def cut(self, count: int) -> None:
        """Only the first so many steps are done."""
        if count < len(self.entries):
            self._write(self.entries[:count])

    def marks(self) -> dict[str, Mark]:
        """How far each input is used up."""
        found: dict[str, Mark] = {}
        for entry in self.entries:
            found.update(entry.marks)
        return found

    def _write(self, entries: list[Entry]) -> None:
        text = "".join([json.dumps({"identity": self._identity}) + "\n", *map(_line, entries)])
        self._path.write_text(text, "ascii")
        self.entries = entries


def used_bytes(path: Path) -> int:
    """How much of all inputs an unfinished file has used up, whatever it will be."""
    found: dict[str, int] = {}
    for raw in _objects(path):
        if (entry := _entry(raw)) is not None:
            found.update({name: mark.at for name, mark in entry.marks.items()})
    return sum(found.values())


def _line(entry: Entry) -> str:
    marks = {name: [mark.at, mark.state] for name, mark in entry.marks.items()}
    return json.dumps({"sha256": entry.sha256, "marks": marks}) + "\n"


def _read(path: Path, identity: str) -> Iterator[Entry]:
    objects = _objects(path)
    if next(objects, None) != {"identity": identity}:
        return
    for raw in objects:
        if (entry := _entry(raw)) is None:
            return
        yield entry


def _objects(path: Path) -> Iterator[Any]:
    if not path.is_file() or path.stat().st_size > JOURNAL_LIMIT_BYTES:
        return
    with path.open("rb") as file:
        while (line := file.readline(LINE_LIMIT_BYTES)).endswith(b"\n"):
            try:
                yield json.loads(line)
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
