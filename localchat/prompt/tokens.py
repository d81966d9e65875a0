"""Tokens of a rendered prompt such that no text of a user's can become a control token.

Whatever in a message reads like a control token is replaced by a random mark before the template is rendered, and so
is an end of a message that could become one together with what the template writes beside it. The rendered text is
then cut at the control tokens that are left, which are the template's own, and the marks are turned back into the
plain text they stood for. Everything between control tokens is tokenized as plain text and in one piece, so that the
ids are those of llama.cpp for the whole text.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from localchat.conversation import Message, Role
from localchat.errors import LocalchatError
from localchat.text import one_line

Tokenize = Callable[[Sequence[str]], list[list[int]]]
Part = str | int

ROLES = get_args(Role)
MARK_CHARACTERS = 8
PRIVATE_USE = range(0xF0000, 0xFFFFE)


class Shield:
    """Hides control tokens in messages and brings their text back afterwards."""

    def __init__(self, special_tokens: Mapping[str, int]) -> None:
        self.special_tokens = special_tokens
        self._marks: dict[str, str] = {}
        # A vocabulary may have a thousand control tokens and a conversation hundreds of messages: what most texts
        # lack is looked for first.
        specials = [special for special in special_tokens if special]
        self._starts = {special[:3] for special in specials}
        self._firsts, self._lasts = ({special[end] for special in specials} for end in (0, -1))
        self._longest = max(map(len, specials), default=0)
        self._letters = set("".join(specials))

    def hide(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with a mark in the place of every text that is a control token, or could become one.

        Raises LocalchatError for a role that is none: a template writes the name of a role as it is.
        """
        for message in messages:
            if message.role not in ROLES:
                role = one_line(str(message.role), 40)
                raise LocalchatError(f"a message cannot have the role {role!r}", f"the roles are {', '.join(ROLES)}")
        return [replace(message, text=self._hidden(message.text)) for message in messages]

    def hide_value(self, value: Any) -> Any:
        """The same for every text in a value of JSON."""
        if isinstance(value, str):
            return self._hidden(value)
        if isinstance(value, list | tuple):
            return [self.hide_value(part) for part in value]
        if isinstance(value, Mapping):
            return {self._hidden(str(key)): self.hide_value(part) for key, part in value.items()}
        return value

    def reveal(self, text: str) -> str:
        """The text with every mark turned back."""
        for mark, original in self._marks.items():
            text = text.replace(mark, original)
        return text

    def _hidden(self, text: str) -> str:
        if any(start in text for start in self._starts):
            for special in longest_first(self.special_tokens, text):
                text = text.replace(special, self._marked(special))
        return self._closed(text)

    def _closed(self, text: str) -> str:
        """The text with a mark for its first or last letter where a control token could begin before or end after it.

        Space around it stays as it is, for many templates trim it.
        """
        core = text.strip()
        if not core:
            return text
        before, _, after = text.partition(core)
        if self._could_begin_before(core):
            core = self._marked(core[0]) + core[1:]
        if self._could_end_after(core):
            core = core[:-1] + self._marked(core[-1])
        return before + core + after

    def _could_begin_before(self, text: str) -> bool:
        heads = [text[: place + 1] for place, letter in enumerate(text[: self._longest]) if letter in self._lasts]
        is_inside = len(text) < self._longest and any(text in special for special in self.special_tokens)
        return is_inside or any(special.endswith(head) for head in heads for special in self.special_tokens)

    def _could_end_after(self, text: str) -> bool:
        end = text[max(0, len(text) - self._longest) :]
        tails = [end[place:] for place, letter in enumerate(end) if letter in self._firsts]
        return any(special.startswith(tail) for tail in tails for special in self.special_tokens)

    def _marked(self, original: str) -> str:
        """A mark for this text: eight characters of private use, drawn by chance, none of them in a control token."""
        mark = ""
        while len(mark) < MARK_CHARACTERS:
            character = chr(secrets.choice(PRIVATE_USE))
            mark += "" if character in self._letters else character
        self._marks[mark] = original
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
    """Ids of a rendered prompt. `bos` is put in front where the template does not begin with it, space apart."""
    cut = parts(text, shield.special_tokens)
    plain = iter(tokenize([shield.reveal(part) for part in cut if isinstance(part, str)]))
    ids = [token for part in cut for token in ([part] if isinstance(part, int) else next(plain))]
    begins_with = next((part for part in cut if isinstance(part, int) or not part.isspace()), None)
    return ids if bos is None or begins_with == bos else [bos, *ids]
