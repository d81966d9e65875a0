"""Code in a reply: highlighted on a panel, and as text to copy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from localchat.text import clean, one_line
from localchat.tui.markdown.lines import Ink, Line, Look, Run, chopped, harmless, prefixed
from localchat.tui.markdown.parse import block_tokens

if TYPE_CHECKING:
    from markdown_it.token import Token

# The lexers of pygments that are used: a reply names the language, and not each of its 500 lexers is safe from a
# text made to keep it busy.
LANGUAGES = frozenset({
    "bash", "c", "c++", "clojure", "cpp", "c#", "cs", "csharp", "css", "dart", "diff", "dockerfile", "elixir",
    "erlang", "go", "golang", "graphql", "haskell", "html", "ini", "java", "javascript", "js", "json", "json5", "jsx",
    "julia", "kotlin", "latex", "lua", "make", "makefile", "matlab", "nix", "objective-c", "ocaml", "perl", "php",
    "powershell", "proto", "protobuf", "py", "python", "python3", "pycon", "r", "rb", "ruby", "rs", "rust", "scala",
    "scss", "sh", "shell", "sql", "swift", "tex", "toml", "ts", "tsx", "typescript", "vim", "xml", "yaml", "yml",
    "zig", "zsh", "console",
})  # fmt: skip
# Those of Java and C# take a time that grows with the square of the text; C++ has nearly the same words.
STAND_INS = dict.fromkeys(["java", "c#", "cs", "csharp"], "cpp")
HIGHLIGHTED_CHARACTERS, HIGHLIGHTED_LINE_CHARACTERS = 10_000, 500
INKS: dict[str, Ink] = {
    "Comment": "comment", "Keyword": "keyword", "Operator.Word": "keyword", "Literal.String": "string",
    "Literal.Number": "number", "Name.Function": "name", "Name.Class": "name", "Name.Decorator": "name",
    "Name.Builtin": "name", "Name.Tag": "keyword", "Name.Attribute": "name", "Generic.Deleted": "removed",
    "Generic.Inserted": "added", "Generic.Heading": "name", "Generic.Subheading": "name", "Generic.Prompt": "dim",
}  # fmt: skip
ON_PANEL = Look(is_on_panel=True)
INFO = re.compile(r"[^\s{]*")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Code as it stands in a reply."""

    language: str
    text: str


def code_blocks(source: str) -> list[CodeBlock]:
    """All code blocks of a text, wherever they stand in it."""
    return [
        CodeBlock(language_of(token), clean(token.content).removesuffix("\n"))
        for token in block_tokens(source)
        if token.type in ("fence", "code_block")
    ]


def language_of(token: Token) -> str:
    """The language that a fence names, empty where it names none."""
    found = INFO.match(token.info.strip())
    return one_line(found.group(), 30) if found else ""


def panel(code: str, language: str, width: int) -> list[Line]:
    """Code with the name of its language above it."""
    runs = _highlighted(harmless(clean(code)).removesuffix("\n"), language.lower())
    pad = Run(" ", ON_PANEL)
    body = prefixed(chopped(runs, max(1, width - 2)), pad, pad, counts_first=False)
    name = [Run(f" {language}", replace(ON_PANEL, ink="dim"))]
    head = [replace(line, decoration=len(line.text)) for line in chopped(name, width)[:1]] if language else []
    return [replace(line, is_panel=True) for line in [*head, *body]]


def _highlighted(code: str, language: str) -> list[Run]:
    longest = max(map(len, code.split("\n")))
    is_long = len(code) > HIGHLIGHTED_CHARACTERS or longest > HIGHLIGHTED_LINE_CHARACTERS
    if is_long or language not in LANGUAGES:
        return [Run(code, ON_PANEL)]
    return list(_tokens(code, language))


def _tokens(code: str, language: str) -> Iterator[Run]:
    for kind, text in _lexer(language).get_tokens(code):
        yield Run(text, _look(kind))


@cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]

    return get_lexer_by_name(STAND_INS.get(language, language), stripnl=False, ensurenl=False)


@cache
def _look(kind: Any) -> Look:
    """The look of a token of pygments, or of the nearest kind that it belongs to."""
    while kind:
        if ink := INKS.get(str(kind).removeprefix("Token.")):
            return Look(ink, italic=ink == "comment", bold=ink == "keyword", is_on_panel=True)
        kind = kind.parent
    return ON_PANEL
