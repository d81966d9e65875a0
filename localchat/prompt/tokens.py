"""Tokens of a rendered prompt such that no text of a user's can become a control token.

Whatever in a message reads like a control token is replaced by a random mark before the template is rendered. The
rendered text is then cut at the control tokens that are left, which are the template's own, and the marks are turned
back into the plain text they stood for. Everything between control tokens is tokenized as plain text and in one
piece, so that the ids are those of llama.cpp for the whole text.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from localchat.conversation import Message

Tokenize = Callable[[Sequence[str]], list[list[int]]]
Part = str | int

MARK_CHARACTERS = 8
PRIVATE_USE = range(0xF0000, 0xFFFFE)


@dataclass
class Shield:
    """Hides control tokens in messages and brings their text back afterwards."""

    special_tokens: Mapping[str, int]
    _marks: dict[str, str] = field(default_factory=dict)

    def hide(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with a mark in the place of every text that reads like a control token."""
        return [Message(message.role, self._hidden(message.text)) for message in messages]

    def reveal(self, text: str) -> str:
        """The text with every mark turned back."""
        for mark, original in self._marks.items():
            text = text.replace(mark, original)
        return text

    def _hidden(self, text: str) -> str:
        for special in longest_first(self.special_tokens, text):
            mark = self._new_mark()
            self._marks[mark] = special
            text = text.replace(special, mark)
        return text

    def _new_mark(self) -> str:
        """Eight characters of private use, drawn by chance, none of which is in any control token."""
        taken = set("".join(self.special_tokens))
        mark = ""
        while len(mark) < MARK_CHARACTERS:
            character = chr(secrets.choice(PRIVATE_USE))
            mark += "" if character in taken else character
        return mark


def longest_first(special_tokens: Mapping[str, int], text: str) -> list[str]:
    """The control tokens that occur in the text, longest first, as llama.cpp looks for them."""
    return sorted((special for special in special_tokens if special and special in text), key=len, reverse=True)


def parts(text: str, special_tokens: Mapping[str, int]) -> list[Part]:
    """The text cut at its control tokens: plain text and ids in turn."""
    found: list[Part] = [text]
    for special in longest_first(special_tokens, text):
        found = [piece for part in found for piece in _cut(part, special, special_tokens[special])]
    return [part for part in found if part != ""]


def _cut(part: Part, special: str, token: int) -> list[Part]:
    if isinstance(part, int):
        return [part]
    pieces: list[Part] = []
    for text in part.split(special):
        pieces += [token, text]
    return pieces[1:]


def tokens(text: str, shield: Shield, tokenize: Tokenize, bos: int | None) -> list[int]:
    """Ids of a rendered prompt. `bos` is put in front where the template does not write it itself."""
    cut = parts(text, shield.special_tokens)
    plain = iter(tokenize([shield.reveal(part) for part in cut if isinstance(part, str)]))
    ids = [token for part in cut for token in ([part] if isinstance(part, int) else next(plain))]
    return ids if bos is None or ids[:1] == [bos] else [bos, *ids]
