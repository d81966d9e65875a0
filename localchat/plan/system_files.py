"""The small files in which Linux tells about the machine; one that is missing tells nothing."""

from __future__ import annotations

from pathlib import Path

FILE_LIMIT_BYTES = 1 << 20


def whole(text: str) -> int | None:
    """A whole number of a system file; None for anything else, and for what is below 0."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def read(path: Path) -> str:
    """The text of a small file of the system; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
