"""The `pattern` of a JSON schema as GBNF.

Only regular expressions that are also a plain grammar can be had: no looking around, no back references, no anchors
inside. Characters that JSON escapes are left out of classes, so that the text is always a valid string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from localchat.errors import LocalchatError

Ranges = list[tuple[int, int]]

LAST = 0x10FFFF
ESCAPED: Ranges = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
DIGIT: Ranges = [(0x30, 0x39)]
WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
SPACE: Ranges = [(0x09, 0x0D), (0x20, 0x20)]
LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D)]
CLASSES = {"d": DIGIT, "w": WORD, "s": SPACE}
CONTROLS = {"t": 0x09, "n": 0x0A, "r": 0x0D, "f": 0x0C, "v": 0x0B}
HINT = "write it with plain classes, groups and repetitions, between ^ and $"

UNIT = re.compile(
    r"(?P<escape>\\.)|\[(?P<not>\^?)(?P<class>(?:\\.|[^\]\\])*)\]|(?P<repeats>\{\d+(?:,\d*)?\}|[*+?])"
    r"|(?P<open>\((?:\?:)?)|(?P<sign>[)|])|(?P<dot>\.)|(?P<wrong>[{}\[\]^$\\])|(?P<plain>.)",
    re.DOTALL,
)
MEMBER = re.compile(r"(\\.|.)(?:-(\\.|[^\]\\]))?", re.DOTALL)


def pattern_gbnf(pattern: str) -> str:
    """What may stand between the quotes of a JSON string that matches. Raises LocalchatError for what is no grammar."""
    if not (pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")):
        raise _unknown(pattern)
    return "(" + " ".join(_parts(pattern[1:-1])) + ")"


def _parts(body: str) -> Iterator[str]:
    repeats, depth = "", 0
    for unit in UNIT.finditer(body):
        kind = unit.lastgroup
        before, repeats = repeats, unit["repeats"] or ""
        depth += (kind == "open") - (unit[0] == ")")
        is_lookaround = unit[0] == "(" and body.startswith("?", unit.end())
        if kind == "wrong" or (before and repeats) or is_lookaround or depth < 0:
            raise _unknown(body)
        match kind:
            case "escape":
                yield _set(_escape(unit[0][1], body))
            case "class":
                yield _set(_class(unit["class"], body, is_not=bool(unit["not"])))
            case "dot":
                yield _set(_without([(0, LAST)], LINE_ENDS))
            case "plain":
                yield _set([(ord(unit[0]), ord(unit[0]))])
            case "open":
                yield "("
            case _:
                yield unit[0]
    if depth:
        raise _unknown(body)


def _class(text: str, body: str, *, is_not: bool) -> Ranges:
    found: Ranges = []
    for first, last in MEMBER.findall(text):
        low = _escape(first[1], body) if first.startswith("\\") else [(ord(first), ord(first))]
        high = _escape(last[1], body) if last.startswith("\\") else [(ord(last), ord(last))] if last else low
        if last and (_is_class(low) or _is_class(high) or low[0] > high[0]):
            raise _unknown(body)
        found += [(low[0][0], high[0][1])] if last else low
    return _without([(0, LAST)], found) if is_not else found


def _is_class(ranges: Ranges) -> bool:
    return len(ranges) > 1 or ranges[0][0] != ranges[0][1]


def _escape(sign: str, body: str) -> Ranges:
    """What a backslash and this sign stand for."""
    if sign.lower() in CLASSES:
        known = CLASSES[sign.lower()]
        return known if sign.islower() else _without([(0, LAST)], known)
    if sign in CONTROLS:
        return [(CONTROLS[sign], CONTROLS[sign])]
    if sign.isalnum():
        raise _unknown(body)
    return [(ord(sign), ord(sign))]


def _set(ranges: Ranges) -> str:
    """One character of these; where JSON escapes all of them, the escape of one of them."""
    plain = _without(ranges, ESCAPED)
    if plain:
        return "[" + "".join(_code(low) + "-" + _code(high) for low, high in plain) + "]"
    escapes = [json.dumps(chr(code))[1:-1] for low, high in ranges for code in range(low, min(high, low + 0x20) + 1)]
    return "(" + " | ".join('"' + "".join(map(_code, map(ord, escape))) + '"' for escape in escapes) + ")"


def _without(ranges: Iterable[tuple[int, int]], holes: Ranges) -> Ranges:
    """The ranges without what is in the holes, in order."""
    left = sorted(ranges)
    for first, last in holes:
        left = [
            part
            for low, high in left
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
    return left


def _code(code: int) -> str:
    """A character as GBNF can have it in a text and in a class."""
    return f"\\U{code:08X}" if code > 0xFFFF else f"\\u{code:04X}"


def _unknown(pattern: str) -> LocalchatError:
    return LocalchatError(f"the schema's pattern {pattern[:60]!r} cannot be made into a grammar", HINT)
