"""What can be said of a GBNF grammar by looking at it: a cheap refusal of what llama.cpp must not be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from localchat.errors import LocalchatError
from localchat.sampling import check_grammar_text

NESTING_LIMIT = 100
"""Parentheses in each other; llama.cpp's parser calls itself for each, and too many end the process."""
REPEATS_LIMIT = 2000
"""llama.cpp's own MAX_REPETITION_THRESHOLD; of more it makes "as often as wanted", in silence."""
REPEATS_TOGETHER_LIMIT = 20_000
"""llama.cpp makes a rule of each."""
SIZE_LIMIT = 20_000
SUSPECTS_LIMIT = 16
ROUNDS = 30
HINT = "simplify the grammar"

OPAQUE = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\r\n]*', re.DOTALL)
NAME = r"[A-Za-z0-9-]+"
RULE = re.compile(rf"({NAME})[ \t]*::=")
REFERENCE = re.compile(NAME)
REPEATS = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


def suspects(gbnf: str) -> list[str]:
    """The names of the rules from which a grammar is to be tried: those that contain themselves or unfold to much.

    The number of places that a reply may have come to at once is bounded by the size to which a rule unfolds.
    """
    bodies = _bodies(gbnf)
    references = {name: [word for word in REFERENCE.findall(REPEATS.sub(" ", body)) if word in bodies]
                  for name, body in bodies.items()}  # fmt: skip
    sizes = _unfolded(bodies, references)
    cyclic = _cyclic({name: set(words) for name, words in references.items()})
    large = sorted((name for name in bodies if sizes[name] > SIZE_LIMIT), key=lambda name: -sizes[name])
    return list(dict.fromkeys([*cyclic[:SUSPECTS_LIMIT], *large]))[:SUSPECTS_LIMIT]


def check_shape(gbnf: str) -> None:
    """Raises LocalchatError for a grammar that is empty, too large, nested too deeply, or names tokens.

    Rules that name tokens (`<[5]>`, `!<[5]>`) are refused because llama.cpp ends the process where a token's text
    goes on behind what comes before such a rule.
    """
    check_grammar_text(gbnf)
    if not gbnf.strip():
        raise LocalchatError("the grammar is empty", "write a rule that is called root")
    bare = _bare(gbnf)
    if "<" in bare or "!" in bare:
        raise LocalchatError("the grammar names tokens of the model, which is not supported", "name characters instead")
    if _nesting(bare) > NESTING_LIMIT:
        raise LocalchatError(f"the grammar has more than {NESTING_LIMIT} parentheses in each other", HINT)
    _check_repeats(_counts(bare))


def _bare(gbnf: str) -> str:
    """The grammar without its texts, character classes and comments."""
    return OPAQUE.sub(" ", gbnf)


def _nesting(bare: str) -> int:
    depth = deepest = 0
    for sign in bare:
        depth += (sign == "(") - (sign == ")")
        deepest = max(deepest, depth)
    return deepest


def _check_repeats(counts: Sequence[int]) -> None:
    if max(counts, default=0) > REPEATS_LIMIT:
        raise LocalchatError(f"the grammar repeats something more than {REPEATS_LIMIT:,} times", HINT)
    if sum(counts) > REPEATS_TOGETHER_LIMIT:
        raise LocalchatError("the grammar repeats too much", HINT)


def _bodies(gbnf: str) -> dict[str, str]:
    """What each rule is made of, without texts and classes."""
    parts = RULE.split(_bare(gbnf))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _unfolded(bodies: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """How long each rule would be without references; where it contains itself, a few rounds of that."""
    repeats = {name: 1 + sum(_counts(body)) for name, body in bodies.items()}
    sizes: dict[str, float] = dict.fromkeys(bodies, 1.0)
    for _ in range(ROUNDS):
        before = sizes
        sizes = {
            name: min(1e9, repeats[name] * (len(bodies[name]) + sum(before[word] for word in references[name])))
            for name in bodies
        }
    return sizes


def _cyclic(references: Mapping[str, set[str]]) -> list[str]:
    """The rules that contain themselves, and those on the way from one such to another."""
    left = dict(references)
    while True:
        used = set().union(*left.values()) if left else set()
        kept = {name: words & left.keys() for name, words in left.items() if name in used and words & left.keys()}
        if len(kept) == len(left):
            return list(kept)
        left = kept


def _counts(body: str) -> list[int]:
    return [int(digits[:9] or 0) for pair in REPEATS.findall(body) for digits in pair]
