"""Texts whose tokens are known: a conversation that goes on is not tokenized anew with each question."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

LIMIT_CHARACTERS = 4 << 20  # about a million tokens, many long conversations
LIMIT_TEXTS = 1 << 15  # short ones take more for what is around them


class TokenCache:
    """Tokens of texts, asked for only once; the least recently used are forgotten. Threads may share it."""

    def __init__(self, tokenize: Callable[[list[str]], Iterable[Sequence[int]]], limit: int = LIMIT_CHARACTERS) -> None:
        """At most `LIMIT_TEXTS` are remembered, of at most `limit` characters together."""
        self._tokenize, self._limit = tokenize, limit
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text. Raises what `tokenize` raises; that is called where anything is not known."""
        with self._lock:
            found = {text: self._known[text] for text in texts if text in self._known}
        if new := [text for text in dict.fromkeys(texts) if text not in found]:
            found |= {text: array("i", ids) for text, ids in zip(new, self._tokenize(new), strict=True)}
        with self._lock:
            for text, ids in found.items():
                self._remember(text, ids)
        return [list(found[text]) for text in texts]

    def _remember(self, text: str, ids: array[int]) -> None:
        if len(text) > self._limit:
            return
        if text not in self._known:
            self._characters += len(text)
        self._known[text] = ids
        self._known.move_to_end(text)
        while self._characters > self._limit or len(self._known) > LIMIT_TEXTS:
            self._characters -= len(self._known.popitem(last=False)[0])
