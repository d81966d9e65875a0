"""Tokens of one reply become text: whole characters only, without what ends the reply."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from localchat.engine.stops import StopScanner
from localchat.llama.model import Model


class Writer:
    """The text of one reply so far."""

    def __init__(self, model: Model, stops: Sequence[str]) -> None:
        self._model = model
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scanner = StopScanner(stops)
        self.tokens = 0
        self.ended = False

    @property
    def stop(self) -> str:
        """The stop string that ended it; empty where none did."""
        return self._scanner.stop

    def take(self, token: int) -> str:
        """The text that this token makes complete."""
        self.tokens += 1
        if self._model.is_end(token):
            self.ended = True
            return ""
        # SentencePiece puts a space before a text; the first piece of a reply carries it.
        strip = 1 if self.tokens == 1 and self._model.is_sentencepiece else 0
        text = self._scanner.feed(self._decoder.decode(self._model.piece(token, strip)))
        self.ended = self._scanner.stopped
        return text

    def finish(self) -> str:
        """What is left when no more tokens come."""
        if self._scanner.stopped:
            return ""
        return self._scanner.feed(self._decoder.decode(b"", True)) + self._scanner.finish()
