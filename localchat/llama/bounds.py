"""Numbers between two bounds as GBNF: `minimum`, `maximum` and their exclusive forms in a JSON schema.

A bound is compared digit by digit: numbers that agree with it so far are looked at further, and once a digit lies
between the two bounds, anything may follow. Numbers have no exponent here, and as many digits as the converter's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from localchat.errors import LocalchatError

WORDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
KINDS = frozenset(("integer", "number"))
INSTEAD = frozenset(("$ref", "oneOf", "anyOf", "const", "enum"))  # beside these nothing else in a schema is looked at
DIGITS = 16  # before the point, and after it
FRACTION_LIMIT = 24
LIMIT = 10**DIGITS
ANY_FRACTION = f'("." [0-9]{{1,{DIGITS}}})?'


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of what is 0 or larger."""

    value: Decimal
    is_open: bool = False
    """Is the bound itself excluded?"""

    @property
    def whole(self) -> int:
        return int(self.value)

    def fraction(self) -> Edge:
        """Raises LocalchatError where it has more digits than anybody would write."""
        digits = f"{self.value % 1:f}".partition(".")[2].rstrip("0")
        if len(digits) > FRACTION_LIMIT:
            raise LocalchatError("a bound in the schema has too many digits", "use fewer behind the point")
        return Edge(digits, self.is_open)


@dataclass(frozen=True, slots=True)
class Edge:
    """What is left of a bound's digits behind the point; with none left, it is 0."""

    digits: str
    is_open: bool

    @property
    def rest(self) -> Edge:
        return Edge(self.digits[1:], self.is_open)


def is_bounded(schema: dict[str, Any]) -> bool:
    """Is this a number, or something else or a number, whose bounds are kept?"""
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return bool(KINDS & {each for each in kinds if isinstance(each, str)} and not schema.keys() & INSTEAD)


def number_gbnf(schema: dict[str, Any], *, is_whole: bool) -> str:
    """The decimal numbers, or whole numbers, that a schema allows. Raises LocalchatError where there are none."""
    low, high = _bound(schema, "minimum", "exclusiveMinimum", 1), _bound(schema, "maximum", "exclusiveMaximum", -1)
    negative = Bound(max(-high.value, Decimal(0)), high.value >= 0 or high.is_open), Bound(-low.value, low.is_open)
    positive = Bound(max(low.value, Decimal(0)), low.value >= 0 and low.is_open), high
    numbers = _wholes_between if is_whole else _numbers_between
    found = list(numbers(*positive)) if high.value >= 0 else []
    if low.value < 0 and (below := " | ".join(numbers(*negative))):
        found.append(f'"-" ({below})')
    if not found:
        raise LocalchatError("the schema allows no number between its minimum and its maximum", "correct one of them")
    return " | ".join(found)


def _bound(schema: dict[str, Any], plain: str, exclusive: str, sign: int) -> Bound:
    """The tighter one of the two; `sign` is 1 for a lower bound, and -1 for an upper one."""
    given = schema.get(exclusive)
    bounds = [(Decimal(-sign * LIMIT), True)]
    if plain in schema:
        bounds.append((_decimal(schema[plain], plain), given is True))  # so the old drafts had it
    if given is not None and not isinstance(given, bool):
        bounds.append((_decimal(given, exclusive), True))
    value, is_open = max(bounds, key=lambda bound: (sign * bound[0], bound[1]))
    return Bound(value, is_open)


def _decimal(value: object, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not Decimal(repr(value)).is_finite():
        raise LocalchatError(f"{name} is no number in the schema", "correct it")
    return Decimal(repr(value))


def _wholes_between(low: Bound, high: Bound) -> Iterator[str]:
    first, last = math.ceil(low.value), math.floor(high.value)
    yield from _wholes(first + (low.is_open and first == low.value), last - (high.is_open and last == high.value))


def _numbers_between(low: Bound, high: Bound) -> Iterator[str]:
    if low.whole == high.whole:
        yield from _with_fraction(low.whole, low.fraction(), high.fraction())
    elif low.whole < high.whole:
        yield from _with_fraction(low.whole, low.fraction(), None)
        if between := list(_wholes(low.whole + 1, high.whole - 1)):
            yield f"({' | '.join(between)}) {ANY_FRACTION}"
        yield from _with_fraction(high.whole, None, high.fraction())


def _wholes(first: int, last: int) -> Iterator[str]:
    """Whole numbers from 0 on, by how many digits they have: those of which all are wanted are one rule."""
    if first <= 0 <= last:
        yield '"0"'
    counts = range(1, len(str(last)) + 1)
    whole = [count for count in counts if first <= 10 ** (count - 1) and 10**count - 1 <= last]
    if whole:
        yield f"[1-9] [0-9]{{{whole[0] - 1},{whole[-1] - 1}}}"
    for count in (count for count in counts if count not in whole):
        low, high = max(first, 10 ** (count - 1)), min(last, 10**count - 1)
        if low <= high:
            yield _as_long(str(low), str(high))


def _as_long(low: str, high: str) -> str:
    """Between two numbers of as many digits."""
    if set(low) <= {"0"} and set(high) <= {"9"}:
        return f"[0-9]{{{len(low)}}}" if low else '""'
    first, last, count = int(low[0]), int(high[0]), len(low) - 1
    if first == last:
        return f'"{first}" ({_as_long(low[1:], high[1:])})'
    found = []
    if low[1:].strip("0"):
        found.append(f'"{first}" ({_as_long(low[1:], "9" * count)})')
        first += 1
    if high[1:].strip("9"):
        found.append(f'"{last}" ({_as_long("0" * count, high[1:])})')
        last -= 1
    return " | ".join((*found, *([f"[{first}-{last}] [0-9]{{{count}}}"] if first <= last else [])))


def _with_fraction(whole: int, low: Edge | None, high: Edge | None) -> Iterator[str]:
    """This whole number and the fractions between the two, where there are any."""
    return _followed(whole, '"." ', low, high)


def _followed(digits: int, point: str, low: Edge | None, high: Edge | None) -> Iterator[str]:
    """These digits, and behind the point what lies between the two."""
    more, is_end_allowed = list(_fractions(low, high)), _is_end_allowed(low, high)
    if more:
        yield f'"{digits}" ({point}({" | ".join(more)})){"?" if is_end_allowed else ""}'
    elif is_end_allowed:
        yield f'"{digits}"'


def _is_end_allowed(low: Edge | None, high: Edge | None) -> bool:
    """Does 0, that is nothing more, lie between the two?"""
    return (low is None or low == Edge("", False)) and high != Edge("", True)


def _fractions(low: Edge | None, high: Edge | None) -> Iterator[str]:
    """One digit or more that lie between the two; None is no bound."""
    low = None if low == Edge("", False) else low
    if high is not None and not high.digits:
        if low is None and not high.is_open:
            yield f'"0"{{1,{DIGITS}}}'
    elif low is None and high is None:
        yield f"[0-9]{{1,{DIGITS}}}"
    elif high is None and low is not None and not low.digits:
        yield f'"0"{{0,{DIGITS}}} [1-9] [0-9]{{0,{DIGITS}}}'
    else:
        yield from _digit(low, high)


def _digit(low: Edge | None, high: Edge | None) -> Iterator[str]:
    """The same where the next digit is to be looked at."""
    first = int(low.digits[:1] or 0) if low else 0
    last = int(high.digits[0]) if high else 9
    if low and high and first == last:
        yield from _followed(first, "", low.rest, high.rest)
        return
    if first > last:
        return
    if low:
        yield from _followed(first, "", low.rest, None)
    if high:
        yield from _followed(last, "", None, high.rest)
    first, last = first + (low is not None), last - (high is not None)
    if first <= last:
        yield f"[{first}-{last}] [0-9]{{0,{DIGITS}}}"
