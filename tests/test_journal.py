"""The journal of an unfinished model file, and what a full disk or a kill may make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.pull.journal import Entry, Journal, Mark

ENTRIES = [Entry(str(number), {"a": Mark(number, "")}) for number in range(5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with three steps."""
    journal = Journal(tmp_path / "journal", "me")
    for entry in ENTRIES[:3]:
        journal.append(entry)
    return tmp_path / "journal"


def test_what_is_appended_is_read_again(path: Path) -> None:
    assert Journal(path, "me").entries == ENTRIES[:3]
    assert Journal(path, "another").entries == []


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_what_comes_after_a_line_that_was_cut_is_kept(path: Path, lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    journal = Journal(path, "me")
    assert journal.entries == ENTRIES[:2]
    journal.append(ENTRIES[3])
    journal.append(ENTRIES[4])
    assert Journal(path, "me").entries == [*ENTRIES[:2], *ENTRIES[3:]]


def test_nonsense_is_overwritten(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\xff[[[\n", *lines[2:]]))
    journal = Journal(path, "me")
    journal.append(ENTRIES[4])
    assert Journal(path, "me").entries == [ENTRIES[0], ENTRIES[4]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_journal_is_cut_and_goes_on(path: Path, count: int) -> None:
    journal = Journal(path, "me")
    journal.cut(count)
    assert Journal(path, "me").entries == journal.entries == ENTRIES[:count]
    journal.append(ENTRIES[4])
    assert Journal(path, "me").entries == [*ENTRIES[:count], ENTRIES[4]]


def test_another_file_of_that_name_begins_anew(path: Path) -> None:
    Journal(path, "another").append(ENTRIES[4])
    assert Journal(path, "another").entries == [ENTRIES[4]]
