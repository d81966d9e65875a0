"""A file of weights in the order it arrives: each tensor, or tensors that share bytes, and what lies between them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from localchat.convert.steps import Step
from localchat.convert.tensors import TensorRef

PIECE_BYTES = 16 << 20
"""Asked for at once: enough that the time of a request does not count, few enough that a cut costs little."""


def edges(refs: Iterable[TensorRef], start: int, file_bytes: int) -> list[int]:
    """Where segments begin and end, from `start` to the end of the file. None of these tensors lies before `start`."""
    spans: list[tuple[int, int]] = []
    for ref in sorted(refs, key=lambda ref: (ref.start, ref.end)):
        if spans and ref.start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], ref.end))
        else:
            spans.append((ref.start, ref.end))
    found = [start]
    for first, last in [*spans, (file_bytes, file_bytes)]:
        found += [*range(found[-1] + PIECE_BYTES, first, PIECE_BYTES), first, last]  # what nobody needs goes piecemeal
    return sorted(set(found))


def pieces(borders: Sequence[int]) -> Iterator[tuple[int, int]]:
    """What is asked for at once, the first byte and the one behind the last, all of the file in order."""
    for start in range(borders[0], borders[-1], PIECE_BYTES):
        yield start, min(start + PIECE_BYTES, borders[-1])


def segment_end(borders: Sequence[int], at: int) -> int:
    """Where the segment ends that has the byte before `at`."""
    return borders[bisect_left(borders, at)]


def peak_bytes(todo: Sequence[Step], sizes: Mapping[Path, int]) -> int:
    """How much must be in memory at once, at least, of files that arrive one behind the other in this order."""
    borders = {path: edges(_refs(todo, path), 0, count) for path, count in sizes.items()}
    bases, before = {}, 0
    for path, count in sizes.items():
        bases[path], before = before, before + count
    peak, low = 0, before
    for step in reversed(todo):
        refs = [ref for ref in step.refs if ref.file in bases]
        low = min([low, *(bases[ref.file] + _segment_start(borders[ref.file], ref.start) for ref in refs)])
        peak = max([peak, *(bases[ref.file] + segment_end(borders[ref.file], ref.end) - low for ref in refs)])
    return peak


def _refs(todo: Sequence[Step], path: Path) -> Iterator[TensorRef]:
    return (ref for step in todo for ref in step.refs if ref.file == path)


def _segment_start(borders: Sequence[int], at: int) -> int:
    return borders[bisect_right(borders, at) - 1]
