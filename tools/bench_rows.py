"""What a benchmark finds, as rows of a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

Item = TypeVar("Item")

BESIDE_LLAMA_CPP = ("ours", "llama.cpp")
PREDICTIONS = ("predicted", "actual")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing: medians of ours and, where it was there, of theirs."""

    test: str
    unit: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    """Median over the pairs of ours to theirs: of rates, above 1 where ours is better."""
    columns: tuple[str, str] = BESIDE_LLAMA_CPP
    """What `ours` and `theirs` are."""


def in_turn(ways: Sequence[Callable[[int], Item]], runs: int, rest_seconds: float = 0.0) -> list[list[Item]]:
    """What each way gives in each run, whose number it hears.

    Who comes first changes: what a machine gives falls and rises. In the rest, the last one's threads stop spinning.
    """
    found: list[list[Item]] = [[] for _ in ways]
    for run in range(runs):
        for way in range(len(ways)) if run % 2 else reversed(range(len(ways))):
            found[way].append(ways[way](run))
            time.sleep(rest_seconds)
    return found


def paired(test: str, unit: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """A row from what was measured in turn; `theirs` may be empty."""
    if not theirs:
        return Row(test, unit, statistics.median(ours))
    ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
    return Row(test, unit, statistics.median(ours), statistics.median(theirs), ratio)


def print_rows(rows: Sequence[Row]) -> None:
    """The table, with a heading for each kind of comparison."""
    for columns, group in groupby(rows, key=lambda row: row.columns):
        print(f"{'':48} {columns[0]:>9} {columns[1]:>10} {'ratio':>6}")
        for row in group:
            theirs = f"{row.theirs:10.1f}" if row.theirs is not None else f"{'-':>10}"
            ratio = f"{row.ratio:6.2f}" if row.ratio is not None else f"{'-':>6}"
            print(f"{row.test:48} {row.ours:9.1f} {theirs} {ratio}  {row.unit}")
