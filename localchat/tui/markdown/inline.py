"""What is in the lines of a block: emphasis, code, links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from localchat.text import clean
from localchat.tui.markdown.lines import PLAIN, Look, Run, harmless

if TYPE_CHECKING:
    from markdown_it.token import Token

WEB_ADDRESS = re.compile(r"https?://[!-~]{1,2000}")
SWITCHES = {"strong": "bold", "em": "italic", "s": "strike"}


def runs_of(tokens: Sequence[Token], look: Look = PLAIN) -> list[Run]:
    """The runs of a paragraph. A newline in them is a line's end."""
    state = _Inline(look)
    for token in tokens:
        state.take(token)
    return state.runs


@dataclass(slots=True)
class _Inline:
    look: Look
    runs: list[Run] = field(default_factory=list)
    depth: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SWITCHES, 0))
    address: str = ""
    link_begins: int = 0

    def take(self, token: Token) -> None:
        kind = token.type.removesuffix("_open").removesuffix("_close")
        if kind in SWITCHES:
            self.depth[kind] += token.nesting
        elif token.type == "link_open":
            self.address, self.link_begins = clean(str(token.attrs.get("href", ""))), len(self.runs)
        elif token.type == "link_close":
            self._name_address()
        elif token.type in ("softbreak", "hardbreak"):
            self.runs.append(Run("\n"))
        elif token.type == "code_inline":
            self._say(token.content, ink="code")
        elif token.type == "image":
            self._say(f"{token.content or 'image'} ({clean(str(token.attrs.get('src', '')))})", ink="dim")
        else:
            self._say(token.content)

    def _say(self, text: str, **changes: object) -> None:
        """Entities can stand for anything: what they became is cleaned only now."""
        if text := harmless(clean(text)):
            self.runs.append(Run(text, self._look(**changes)))

    def _look(self, **changes: object) -> Look:
        found: dict[str, object] = {SWITCHES[kind]: True for kind, depth in self.depth.items() if depth > 0}
        if self.address:
            found |= {"ink": "link", "underline": True}
            if WEB_ADDRESS.fullmatch(self.address):
                found["link"] = self.address
        return replace(self.look, **(found | changes)) if found or changes else self.look  # type: ignore[arg-type]

    def _name_address(self) -> None:
        """Where a link leads stands beside it: its text may say anything."""
        shown = "".join(run.text for run in self.runs[self.link_begins :])
        address, self.address = self.address, ""
        if address not in (shown, f"mailto:{shown}"):
            self._say(f" ({address})", ink="dim")
