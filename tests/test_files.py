"""Files that are read with suspicion, and files of which no half is ever found."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.errors import BadFile, LocalchatError
from localchat.files import (
    JSON_VALUES_LIMIT,
    PARTIAL,
    disk_error,
    parse_json,
    read_bytes,
    read_json,
    write_text,
    writing,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def left(folder: Path) -> list[str]:
    """What a test's folder holds, by name; the empty home that every test has is not made by a write."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b'{"a": -Infinity}', "not valid JSON"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"b": {"a": 1, "a": 2}}', "twice"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": ' + b"[" * 100_000, "not valid JSON"),
        (b'{"a": [' + b"0," * JSON_VALUES_LIMIT + b"0]}", "more values"),
        (b'{"a": ' + b"[{" * (JSON_VALUES_LIMIT // 2 + 1), "more values"),
        (b"[1]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'"text"', "no JSON object"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_strict_json_object_is_refused(data: bytes, why: str) -> None:
    with refused("thing.json", why):
        parse_json(data, "thing.json")


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_every_json_object_is_read_as_it_was_written(value: dict[str, object]) -> None:
    assert parse_json(json.dumps(value).encode(), "thing.json") == value


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40) | st.text(st.sampled_from('{}[]",:0123456789eE+-.truefalsn \\u'), max_size=30))
def test_any_bytes_are_json_or_refused(data: bytes | str) -> None:
    with sound_or_refused():
        parse_json(data.encode() if isinstance(data, str) else data, "thing.json")


def test_a_file_at_its_limit_is_read_and_a_larger_one_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_bytes(tmp_path / "file", 100) == b"x" * 100
    with refused("file is larger than 99 B"):
        read_bytes(tmp_path / "file", 99)


@pytest.mark.parametrize("name", ["absent", "folder", "absent/file"])
def test_a_file_that_cannot_be_read_is_a_bad_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with refused("cannot be read"):
        read_bytes(tmp_path / name, 100)
    with pytest.raises(BadFile):
        read_json(tmp_path / name)


def test_a_file_is_complete_before_it_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writing(path) as partial:
        partial.write_text("new")
        assert left(tmp_path) == [partial.name]
        assert partial.name.endswith(PARTIAL)
    assert left(tmp_path) == ["file"]
    assert path.read_text() == "new"


def half_written(path: Path, failure: BaseException) -> None:
    """Begin to write a file and fail."""
    with writing(path) as partial:
        partial.write_text("half")
        raise failure


FAILURES = [ValueError("a bug"), KeyboardInterrupt(), GeneratorExit(), SystemExit(1), LocalchatError("no", "do")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("before", [None, "old"])
def test_a_failed_write_leaves_what_was_there_before(
    failure: BaseException, before: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)
    with pytest.raises(type(failure)) as caught:
        half_written(path, failure)
    assert caught.value is failure
    assert left(tmp_path) == ([] if before is None else ["file"])
    assert before is None or path.read_text() == before


def test_a_writer_that_is_closed_midway_leaves_nothing(tmp_path: Path) -> None:
    def written() -> Generator[int]:
        with writing(tmp_path / "file") as partial:
            partial.write_text("half")
            yield 1
            partial.write_text("whole")

    events = written()
    next(events)
    assert [name for name in left(tmp_path) if name.endswith(PARTIAL)] == left(tmp_path) != []
    events.close()
    assert left(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_as_that_and_leaves_nothing(code: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with refused("the disk is full", "file"):
        half_written(tmp_path / "file", OSError(code, os.strerror(code)))
    assert left(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_only_at_the_end_leaves_nothing(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with refused("the disk is full"), writing(tmp_path / "file") as partial:
        partial.write_text("whole")
    assert left(tmp_path) == []


def test_the_bytes_are_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    write_text(tmp_path / "file", "text")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("name", ["absent/file", "folder", "plain/file"])
def test_a_place_that_cannot_be_written_is_explained(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / "full").mkdir(parents=True)
    (tmp_path / "plain").touch()
    with refused(Path(name).name, "no ordinary file" if name == "folder" else "could not be written"):
        write_text(tmp_path / name, "text")
    assert left(tmp_path) == ["folder", "plain"]


def test_a_body_that_wrote_nothing_is_an_error_and_not_an_empty_file(tmp_path: Path) -> None:
    with refused("could not be written"), writing(tmp_path / "file"):
        pass
    assert left(tmp_path) == []


def test_small_files_are_their_owners_alone_and_replace_the_old(tmp_path: Path) -> None:
    old = os.umask(0o000)
    try:
        write_text(tmp_path / "file", "old")
        write_text(tmp_path / "file", "né\n")
    finally:
        os.umask(old)
    assert (tmp_path / "file").read_bytes() == "né\n".encode()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert left(tmp_path) == ["file"]


def test_no_file_is_left_open(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    for _ in range(3):
        write_text(tmp_path / "file", "text")
        read_bytes(tmp_path / "file", 100)
    assert psutil.Process().num_fds() == before


def test_a_part_that_a_killed_process_left_does_not_get_into_the_next(tmp_path: Path) -> None:
    with writing(tmp_path / "file") as partial:
        name = partial.name
        partial.write_text("new")
    (tmp_path / name).write_text("a long piece of an older file, left by a process of the same number")
    write_text(tmp_path / "file", "newer")
    assert (tmp_path / "file").read_text() == "newer"
    assert left(tmp_path) == ["file"]


def test_a_device_or_a_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with refused("no ordinary file"), writing(tmp_path / "pipe"):
        pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_an_input_that_vanished_is_not_reported_as_the_output(tmp_path: Path) -> None:
    with refused("elsewhere/model.safetensors cannot be read"), writing(tmp_path / "file"):
        (tmp_path / "elsewhere" / "model.safetensors").open()
    assert left(tmp_path) == []


def test_other_errors_of_the_system_keep_their_reason(tmp_path: Path) -> None:
    error = disk_error(PermissionError(errno.EACCES, "Permission denied"), tmp_path / "file")
    assert "Permission denied" in str(error)
    assert str(tmp_path) in error.hint
    assert "full" not in str(error)
