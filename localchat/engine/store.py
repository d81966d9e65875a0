"""Where sessions are kept, as a value that travels to the engine's process."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of sessions, and whose they are."""

    folder: str = ""
    """Empty keeps none."""
    budget_bytes: int = 0
    model: str = ""
    """What the cache depends on besides the tokens: the model file's sha256, the KV type, llama.cpp's version."""


NO_STORE = Store()


def forget(folder: Path) -> None:
    """Delete all sessions, whose files have the tokens of conversations; they only save the time to read those again.

    Which session belongs to which conversation is not kept anywhere, so after one was deleted for good all must go.
    """
    for path in [*folder.glob("*.kv"), *folder.glob("*.json")]:
        with suppress(OSError):  # another program has it open: that one's budget will delete it
            path.unlink(missing_ok=True)
