"""Where sessions are kept, as a value that travels to the engine's process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of sessions, and whose they are."""

    folder: str = ""
    """Empty keeps none."""
    budget_bytes: int = 0
    model: str = ""
    """What the cache depends on besides the tokens: the model file's sha256, the KV type, llama.cpp's version."""


NO_STORE = Store()
