"""What comes from the clipboard: never trusted, sometimes the path of a file, sometimes too much for an input box."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from localchat.text import CONTROLS, NONCHARACTERS, SURROGATES

LARGE_CHARACTERS, LARGE_LINES = 2_000, 40
PATH_CHARACTERS = 4_096
LINE_BREAKS = re.compile("\r\n?|[\u2028\u2029]")
DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # of Windows, where a backslash is no escape
ESCAPED = re.compile(r"\\(.)")  # as terminals of macOS and Linux write the spaces of a file that is dropped on them

# Overrides and isolates of the writing direction, and tags: they hide text, or show it in another order than it has.
# What some scripts need stays: marks of direction, joiners, variation selectors.
DECEIVING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)]
REMOVED = dict.fromkeys([*CONTROLS, *DECEIVING, *NONCHARACTERS, *SURROGATES])


def typeable(text: str) -> str:
    """What of a text can stand in an input box: all but controls, and characters that hide others."""
    return LINE_BREAKS.sub("\n", text).translate(REMOVED)


def is_large(text: str) -> bool:
    """Is this more than anybody wants to see in an input box?"""
    return len(text) > LARGE_CHARACTERS or text.count("\n") >= LARGE_LINES


def as_path(text: str) -> Path | None:
    """The path that was pasted, or dropped on the terminal, if that is all there is; it need not exist."""
    line = text.strip()
    if not line or len(line) > PATH_CHARACTERS or not line.isprintable():
        return None
    if line[0] in "'\"" and line[-1] == line[0] and len(line) > 2:
        return Path(line[1:-1])
    if line.startswith("file://"):
        return Path(unquote("/" + line.removeprefix("file://").partition("/")[2]))
    if not DRIVE.match(line):
        line = ESCAPED.sub(r"\1", line)
    return Path(line)
