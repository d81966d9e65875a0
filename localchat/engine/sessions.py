"""What was read of conversations, kept on disk, so that one that is opened again need not be read again.

A session is a file of llama.cpp's with the KV cache of one slot, and beside it a small one that says which tokens that
are, for which model, and its hash. What a prompt begins with is found by its tokens alone: a branch or an edit of a
conversation finds as much of it as they have in common, and text that was changed finds nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from pathlib import Path

from localchat.engine.slots import Slot, shared_prefix
from localchat.engine.store import Store
from localchat.errors import LocalchatError
from localchat.files import PARTIAL, read_json, write_text, writing
from localchat.llama.context import Context

WORTH_SAVING_TOKENS, WORTH_SAVING_SECONDS = 256, 1.0
FACTS_LIMIT_BYTES = 16 << 20
ABANDONED_SECONDS = 3600.0
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A session and how much of a prompt it has."""

    facts: Path
    tokens: tuple[int, ...]
    sha256: str
    shared: int = 0

    @property
    def data(self) -> Path:
        """The file with the cache."""
        return self.facts.with_suffix(".kv")


class Sessions:
    """The sessions of one model. What goes wrong with one costs the time to read its text again, and is no error."""

    def __init__(self, store: Store) -> None:
        self._store, self._folder = store, Path(store.folder)
        self._known: dict[Path, Stored] = {}
        if store.folder:
            self._sweep()
            self._known = {stored.facts: stored for stored in self._readable()}

    def find(self, tokens: Sequence[int]) -> Stored | None:
        """The session that has most of the beginning of these tokens."""
        prompt = tuple(tokens)
        found = (
            Stored(one.facts, one.tokens, one.sha256, shared_prefix(one.tokens, prompt)) for one in self._known.values()
        )
        return max(found, key=lambda stored: stored.shared, default=None)

    def restore(self, context: Context, slot: int, stored: Stored) -> list[int]:
        """Put a session into an empty slot; its tokens, or none where it cannot be used any more."""
        with suppress(OSError):
            if _sha256(stored.data) == stored.sha256:
                tokens = context.restore(slot, stored.data)
                if tokens == list(stored.tokens):
                    os.utime(stored.facts)
                    return tokens
        context.keep(slot, 0)
        self._forget(stored)
        return []

    def save(self, context: Context, slot: Slot, token_seconds: float, staying: int = 0) -> bool:
        """Keep what is in a slot, where it would take long to read again what will not stay there. Was it written?"""
        tokens, lost = tuple(slot.tokens), len(slot.tokens) - staying
        is_worth_it = lost >= WORTH_SAVING_TOKENS and lost * token_seconds >= WORTH_SAVING_SECONDS
        if not self._store.folder or not is_worth_it or self.has(tokens):
            return False
        with suppress(LocalchatError, OSError):
            saved = self._saved(context, slot.number, tokens)
            for older in [one for one in self._known.values() if one.tokens == tokens[: len(one.tokens)]]:
                self._forget(older)
            self._known[saved.facts] = saved
            self._keep_to_budget(saved)
            return True
        return False

    def has(self, tokens: Sequence[int]) -> bool:
        """Is there a session that begins with these?"""
        wanted = tuple(tokens)
        return any(one.tokens[: len(wanted)] == wanted for one in self._known.values())

    def lift(self, context: Context, slot: Slot) -> Stored | None:
        """A session of just what is in a slot, to `land` in the next moment; None where the disk takes none."""
        tokens = tuple(slot.tokens)
        with suppress(LocalchatError, OSError):
            kept = (one for one in self._known.values() if one.tokens == tokens)
            return next(kept, None) or self._saved(context, slot.number, tokens)
        return None

    def land(self, context: Context, slot: int, lifted: Stored) -> list[int]:
        """Put it into an empty slot, as `restore` does."""
        tokens = self.restore(context, slot, lifted)
        if lifted.facts not in self._known:
            self._forget(lifted)
        return tokens

    def _saved(self, context: Context, slot: int, tokens: tuple[int, ...]) -> Stored:
        """Raises LocalchatError where the disk has no room, or llama.cpp cannot write it."""
        name = hashlib.sha256(json.dumps([self._store.model, tokens]).encode()).hexdigest()[:32]
        facts = self._folder / f"{name}.json"
        with writing(facts.with_suffix(".kv"), is_synced=False) as partial:
            partial.touch(mode=0o600)
            if not context.save(slot, tokens, partial):
                raise LocalchatError("llama.cpp could not write the session", "free some space on the disk")
            sha256 = _sha256(partial)
        write_text(facts, json.dumps({"model": self._store.model, "sha256": sha256, "tokens": tokens}))
        return Stored(facts, tokens, sha256)

    def _keep_to_budget(self, newest: Stored) -> None:
        """Delete what was not used for the longest time, of any model; the newest one alone may be too large."""
        files = {path: _age(path) for path in self._folder.glob("*.kv")}
        total = sum(_bytes(path) for path in files)
        for path in sorted(files, key=lambda path: (path == newest.data, -files[path])):
            if total <= self._store.budget_bytes:
                return
            total -= _bytes(path)
            self._forget(Stored(path.with_suffix(".json"), (), ""))

    def _forget(self, stored: Stored) -> None:
        self._known.pop(stored.facts, None)
        for path in (stored.facts, stored.data):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _readable(self) -> Iterator[Stored]:
        """Those of this model; what is no session is deleted."""
        for path in self._folder.glob("*.json"):
            try:
                facts = read_json(path, FACTS_LIMIT_BYTES)
                stored = Stored(path, tuple(map(index, facts["tokens"])), str(facts["sha256"]))
                if facts["model"] == self._store.model:
                    yield stored
            except (LocalchatError, KeyError, TypeError):
                self._forget(Stored(path, (), ""))

    def _sweep(self) -> None:
        """Delete what a process that was killed has left half done."""
        for path in [*self._folder.glob(f"*{PARTIAL}"), *self._folder.glob("*.kv")]:
            is_half = path.suffix == PARTIAL or not path.with_suffix(".json").exists()
            if is_half and _age(path) > ABANDONED_SECONDS:
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since a session was used last, by the date of its facts."""
    facts = path.with_suffix(".json")
    with suppress(OSError):
        return time.time() - (facts if facts.exists() else path).stat().st_mtime
    return 0.0


def _bytes(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
