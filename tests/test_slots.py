"""Which slot a prompt goes to, and how much of it is there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.slots import Choice, Slot, choose, shared_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=40)


def slots(*texts: Sequence[int], busy: Sequence[int] = ()) -> list[Slot]:
    """Each was used later than the one before."""
    return [Slot(number, list(text), number in busy, number + 1) for number, text in enumerate(texts)]


def chosen(found: Choice | None) -> tuple[int, int, int]:
    """Numbers of the slot and of the one that has most of the prompt, and how much that is."""
    assert found is not None
    return found.slot.number, found.source.number, found.shared


CHOICES = [
    ("what goes on is continued", slots([9], [1, 2]), [1, 2, 3], (1, 1, 2)),
    ("the longest of those is", slots([1], [1, 2], [1, 2, 3]), [1, 2, 3, 4], (2, 2, 3)),
    ("a slot without anything is taken before others", slots([9], []), [1, 2], (1, 0, 0)),
    ("the one that was not used for the longest time gives way", slots([8], [9]), [1, 2], (0, 0, 0)),
    ("an edit leaves what it changes alone", slots([9], [1, 2, 3]), [1, 2, 4], (0, 1, 2)),
    ("a busy slot is copied from", slots([1, 2, 3], [9], busy=[0]), [1, 2, 4], (1, 0, 2)),
    ("a busy slot that has more is better than a free one that goes on", slots([1, 2, 3], [1], [], busy=[0]),
     [1, 2, 3, 4], (2, 0, 3)),
    ("one that goes on is used where no other has more", slots([1, 2, 5], [1, 2], []), [1, 2, 3], (1, 1, 2)),
    ("the only one gives way", slots([1, 2, 3]), [1, 9], (0, 0, 1)),
    ("a prompt of one token finds nothing", slots([1, 2], []), [], (1, 0, 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "prompt", "expected"), [choice[1:] for choice in CHOICES], ids=[c[0] for c in CHOICES]
)
def test_a_slot_is_chosen(known: list[Slot], prompt: list[int], expected: tuple[int, int, int]) -> None:
    assert chosen(choose(known, prompt)) == expected


def test_where_all_are_busy_there_is_none() -> None:
    assert choose(slots([1], [2], busy=[0, 1]), [1, 2]) is None


@given(st.lists(st.tuples(TOKENS, st.booleans()), min_size=1, max_size=5), TOKENS)
def test_a_choice_is_free_and_has_what_it_says(texts: list[tuple[list[int], bool]], prompt: list[int]) -> None:
    known = [Slot(number, text, is_busy, number) for number, (text, is_busy) in enumerate(texts)]
    choice = choose(known, prompt)
    if choice is None:
        assert all(slot.is_busy for slot in known)
        return
    assert not choice.slot.is_busy
    assert choice.source.tokens[: choice.shared] == prompt[: choice.shared]
    assert choice.shared == max(naive(slot.tokens, prompt) for slot in known)


# What two begin with


def naive(first: Sequence[int], second: Sequence[int]) -> int:
    """One after the other."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return same


@pytest.mark.parametrize(("first", "second", "length"), [
    ([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 3], 1), ([1, 2], [1, 2, 3], 2), ([1], [2], 0),
])  # fmt: skip
def test_a_shared_prefix_ends_where_the_first_difference_is(first: list[int], second: list[int], length: int) -> None:
    assert shared_prefix(first, second) == shared_prefix(second, first) == length


@given(TOKENS, TOKENS)
def test_a_shared_prefix_is_that_of_one_look_after_the_other(first: list[int], second: list[int]) -> None:
    assert shared_prefix(first, second) == shared_prefix(tuple(first), tuple(second)) == naive(first, second)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.data())
def test_one_difference_anywhere_is_found(tokens: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(tokens) - 1))
    other = [*tokens[:place], 10, *tokens[place + 1 :]]
    assert shared_prefix(tokens, other) == place
