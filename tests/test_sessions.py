"""Sessions on disk: found by what they begin with, and never a reason for an error or another text."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from localchat import files
from localchat.engine.sessions import ABANDONED_SECONDS, Sessions, Stored
from localchat.engine.slots import Slot
from localchat.engine.store import Store

SLOW, FAST = 0.01, 0.0001  # seconds of a token
LONG = list(range(1000, 1300))
BYTES = 4096


class FileContext:
    """Writes what a slot has into a file, as llama.cpp does, and reads it from there."""

    def __init__(self, *, works: bool = True, raises: OSError | None = None) -> None:
        self.works, self.raises = works, raises
        self.slots: dict[int, list[int]] = {}
        self.saves = 0

    def save(self, slot: int, tokens: Sequence[int], path: Path) -> bool:
        self.saves += 1
        path.write_bytes(json.dumps(list(tokens)).encode().ljust(BYTES))
        if self.raises:
            raise self.raises
        return self.works

    def restore(self, slot: int, path: Path) -> list[int] | None:
        self.slots[slot] = json.loads(path.read_bytes())
        return list(self.slots[slot]) if self.works else None

    def keep(self, slot: int, count: int) -> int:
        self.slots[slot] = self.slots.get(slot, [])[:count]
        return count


def sessions(folder: Path, budget: int = 1 << 30, model: str = "model") -> Sessions:
    return Sessions(Store(str(folder), budget, model))


def save(one: Sessions, tokens: Sequence[int], context: FileContext | None = None, seconds: float = SLOW) -> None:
    one.save(cast("Any", context or FileContext()), Slot(0, list(tokens)), seconds)


def restored(one: Sessions, prompt: Sequence[int], context: FileContext | None = None) -> list[int]:
    """The tokens of the session for this prompt; none where there is none."""
    found = one.find(prompt)
    return one.restore(cast("Any", context or FileContext()), 0, found) if found and found.shared else []


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def made_old(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


# Finding


def test_what_was_saved_is_found_by_the_next_process(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    assert restored(sessions(tmp_path), [*LONG, 1, 2]) == LONG
    assert names(tmp_path) == [".json", ".kv"]


def test_it_is_found_by_the_same_process(tmp_path: Path) -> None:
    one = sessions(tmp_path)
    save(one, LONG)
    assert restored(one, LONG) == LONG


def test_the_one_with_most_in_common_is_found(tmp_path: Path) -> None:
    one = sessions(tmp_path)
    for other in ([*LONG[:260], 1], [*LONG[:290], 2], [3, *LONG]):
        save(one, other)
    found = one.find([*LONG, 7])
    assert found is not None
    assert (list(found.tokens), found.shared) == ([*LONG[:290], 2], 290)


def test_what_has_nothing_in_common_has_nothing(tmp_path: Path) -> None:
    one = sessions(tmp_path)
    assert one.find([1, 2, 3]) is None
    save(one, LONG)
    found = one.find([1, 2, 3])
    assert found is not None
    assert found.shared == 0


@pytest.mark.parametrize(("tokens", "seconds"), [(LONG[:255], SLOW), (LONG, FAST), (LONG, 0.0), ([], SLOW)])
def test_what_is_quickly_read_is_not_saved(tokens: list[int], seconds: float, tmp_path: Path) -> None:
    save(sessions(tmp_path), tokens, seconds=seconds)
    assert names(tmp_path) == []


def test_a_slot_that_keeps_nearly_all_is_not_saved(tmp_path: Path) -> None:
    one, context = sessions(tmp_path), FileContext()
    slot = Slot(0, list(LONG))
    one.save(cast("Any", context), slot, 1.0, len(LONG) - 10)
    assert context.saves == 0
    one.save(cast("Any", context), slot, 1.0, len(LONG) - 256)
    assert context.saves == 1


def test_the_sessions_of_another_model_are_left_alone(tmp_path: Path) -> None:
    save(sessions(tmp_path, model="one"), LONG)
    other = sessions(tmp_path, model="other")
    assert other.find(LONG) is None
    save(other, LONG)
    assert len(names(tmp_path)) == 4
    assert restored(sessions(tmp_path, model="one"), LONG) == LONG


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.json").write_text("{}")
    one, context = Sessions(Store()), FileContext()
    save(one, LONG, context)
    assert one.find(LONG) is None
    assert context.saves == 0
    assert names(tmp_path) == [".json"]


# Replacing


def test_a_longer_one_replaces_what_it_begins_with(tmp_path: Path) -> None:
    one = sessions(tmp_path)
    save(one, LONG[:260])
    save(one, LONG)
    assert names(tmp_path) == [".json", ".kv"]
    assert restored(sessions(tmp_path), [*LONG[:260], 5]) == LONG


def test_what_a_longer_one_has_is_not_saved_again(tmp_path: Path) -> None:
    one, context = sessions(tmp_path), FileContext()
    for tokens in (LONG, LONG, LONG[:260]):
        save(one, tokens, context)
    assert context.saves == 1


def test_a_branch_is_kept_beside_the_other(tmp_path: Path) -> None:
    one = sessions(tmp_path)
    save(one, [*LONG, 1])
    save(one, [*LONG, 2])
    assert [restored(one, [*LONG, last])[-1] for last in (1, 2)] == [1, 2]


# The budget


def test_those_that_were_not_used_for_the_longest_time_leave(tmp_path: Path) -> None:
    one = sessions(tmp_path, budget=2 * BYTES)
    for number in range(3):
        save(one, [number, *LONG])
        for path in tmp_path.iterdir():
            made_old(path, time.time() - path.stat().st_mtime + 10)
    assert [restored(one, [number, *LONG]) == [number, *LONG] for number in range(3)] == [False, True, True]
    assert len(names(tmp_path)) == 4


def test_one_that_is_restored_counts_as_used(tmp_path: Path) -> None:
    one = sessions(tmp_path, budget=2 * BYTES)
    for number in range(2):
        save(one, [number, *LONG])
    for path in tmp_path.iterdir():
        made_old(path, 100)
    restored(one, [0, *LONG])
    save(one, [2, *LONG])
    assert [bool(restored(sessions(tmp_path), [number, *LONG])) for number in range(3)] == [True, False, True]


def test_the_budget_holds_for_all_models_together(tmp_path: Path) -> None:
    save(sessions(tmp_path, model="one"), LONG)
    for path in tmp_path.iterdir():
        made_old(path, 100)
    save(sessions(tmp_path, budget=BYTES, model="other"), LONG)
    assert restored(sessions(tmp_path, model="one"), LONG) == []
    assert restored(sessions(tmp_path, model="other"), LONG) == LONG


def test_the_newest_stays_although_the_clock_was_set_back(tmp_path: Path) -> None:
    one = sessions(tmp_path, budget=BYTES)
    save(one, [1, *LONG])
    for path in tmp_path.iterdir():
        made_old(path, -100_000)
    save(one, [2, *LONG])
    assert restored(one, [2, *LONG]) == [2, *LONG]
    assert len(names(tmp_path)) == 2


def test_one_that_is_larger_than_the_budget_is_not_kept(tmp_path: Path) -> None:
    one = sessions(tmp_path, budget=BYTES - 1)
    save(one, LONG)
    assert names(tmp_path) == []
    assert one.find(LONG) is None


# Damage


def test_a_session_whose_cache_was_changed_is_deleted(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    (data,) = tmp_path.glob("*.kv")
    data.write_bytes(data.read_bytes().replace(b"1000", b"1001"))
    context = FileContext()
    assert restored(sessions(tmp_path), LONG, context) == []
    assert context.slots == {0: []}
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, BYTES - 1])
def test_a_session_that_was_cut_is_deleted(size: int, tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    os.truncate(next(tmp_path.glob("*.kv")), size)
    assert restored(sessions(tmp_path), LONG) == []
    assert names(tmp_path) == []


def test_a_session_without_its_cache_is_deleted(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    next(tmp_path.glob("*.kv")).unlink()
    assert restored(sessions(tmp_path), LONG) == []
    assert names(tmp_path) == []


def test_a_session_that_llama_cpp_refuses_is_deleted(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    context = FileContext(works=False)
    assert restored(sessions(tmp_path), LONG, context) == []
    assert context.slots == {0: []}
    assert names(tmp_path) == []


def test_a_session_of_other_tokens_than_it_says_is_deleted(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    (facts,) = tmp_path.glob("*.json")
    facts.write_text(facts.read_text().replace("1000", "1001"))
    context = FileContext()
    assert restored(sessions(tmp_path), [1001, *LONG[1:]], context) == []
    assert context.slots == {0: []}
    assert names(tmp_path) == []


FACTS = [
    "", "{", "[]", "null", "{}", '{"model": "model"}', '{"model": "model", "tokens": [1], "sha256": }',
    '{"model": "model", "tokens": 7, "sha256": "x"}', '{"model": "model", "tokens": ["1"], "sha256": "x"}',
    '{"model": "model", "tokens": "123", "sha256": "x"}', '{"model": "model", "tokens": [1.5], "sha256": "x"}',
    '{"model": "model", "tokens": [null], "sha256": "x"}', '{"model": "model", "tokens": [[1]], "sha256": "x"}',
    "[" * 100_000, "\x00" * 100, '{"model": "model", "model": "model", "tokens": [], "sha256": ""}',
]  # fmt: skip


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts[:60])
def test_facts_that_say_nothing_are_deleted_with_their_cache(facts: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(facts)
    (tmp_path / "x.kv").write_bytes(b"cache")
    one = sessions(tmp_path)
    assert one.find([1, 2, 3]) is None
    assert names(tmp_path) == []


@pytest.mark.parametrize("tokens", [[], [2**70], [-1]])
def test_facts_of_tokens_that_cannot_be_are_never_used(tokens: list[int], tmp_path: Path) -> None:
    facts = {"model": "model", "tokens": tokens, "sha256": "x"}
    (tmp_path / "x.json").write_text(json.dumps(facts))
    one = sessions(tmp_path)
    assert restored(one, tokens or [1]) == []
    save(one, LONG)
    assert restored(one, LONG) == LONG


# What was left half done


@pytest.mark.parametrize("name", ["x.kv", "x.kv.123.partial", "x.json.123.partial"])
@pytest.mark.parametrize("is_old", [True, False])
def test_what_a_killed_process_has_left_is_deleted_after_a_while(name: str, is_old: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"half")
    made_old(tmp_path / name, ABANDONED_SECONDS * (1.1 if is_old else 0.9))
    sessions(tmp_path)
    assert (tmp_path / name).exists() is not is_old


def test_a_whole_session_is_no_leftover_however_old(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    for path in tmp_path.iterdir():
        made_old(path, 1000 * ABANDONED_SECONDS)
    assert restored(sessions(tmp_path), LONG) == LONG


# The disk


def test_only_the_owner_can_read_a_session(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


FAILURES = [
    FileContext(works=False),
    FileContext(raises=OSError(errno.ENOSPC, "no space left on device")),
    FileContext(raises=OSError(errno.EIO, "input/output error")),
]


@pytest.mark.parametrize("context", FAILURES)
def test_a_session_that_cannot_be_written_leaves_what_was_there(context: FileContext, tmp_path: Path) -> None:
    one = sessions(tmp_path)
    save(one, LONG[:260])
    save(one, LONG, context)
    assert names(tmp_path) == [".json", ".kv"]
    assert restored(one, LONG) == LONG[:260]


def test_a_disk_that_is_full_for_the_facts_leaves_a_session_that_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(files, "_sync", full)
    one = sessions(tmp_path)
    save(one, LONG)
    monkeypatch.undo()
    assert one.find(LONG) is None
    assert sessions(tmp_path).find(LONG) is None
    for path in tmp_path.iterdir():
        made_old(path, 2 * ABANDONED_SECONDS)
    sessions(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("is_file", [True, False])
def test_a_folder_that_is_none_is_no_error(is_file: bool, tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    if is_file:
        folder.touch()
    one = sessions(folder)
    save(one, LONG)
    assert one.find(LONG) is None
    assert sessions(folder).find(LONG) is None


def test_a_folder_that_vanishes_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    folder.mkdir()
    one = sessions(folder)
    save(one, LONG)
    shutil.rmtree(folder)
    assert restored(one, LONG) == []
    save(one, LONG)
    assert one.find(LONG) is None


def test_something_else_under_the_name_of_a_session_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder.kv").mkdir()
    (tmp_path / "folder.json").mkdir()
    one = sessions(tmp_path, budget=BYTES + (1 << 20))
    save(one, LONG)
    assert restored(one, LONG) == LONG


# Two processes


def test_two_processes_on_one_folder_do_not_harm_each_other(tmp_path: Path) -> None:
    one, other = sessions(tmp_path), sessions(tmp_path)
    save(one, [1, *LONG])
    save(other, [2, *LONG])
    save(other, [1, *LONG])  # the same once more
    assert restored(one, [1, *LONG]) in ([1, *LONG], [])
    assert restored(other, [2, *LONG]) == [2, *LONG]
    assert restored(sessions(tmp_path), [2, *LONG]) == [2, *LONG]


def test_one_that_another_process_deleted_is_forgotten(tmp_path: Path) -> None:
    save(sessions(tmp_path), LONG)
    one = sessions(tmp_path)
    save(sessions(tmp_path, budget=0), [1, *LONG])
    assert names(tmp_path) == []
    assert restored(one, LONG) == []
    save(one, LONG)
    assert restored(one, LONG) == LONG


def test_where_its_files_are_is_known(tmp_path: Path) -> None:
    assert Stored(tmp_path / "x.json", (), "").data == tmp_path / "x.kv"
