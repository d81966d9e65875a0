"""Damage around the pickle: archives whose parts contradict each other, the old format's frame, cuts, flips."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused
from torch_bytes import (
    FACTS,
    FALSE,
    FULL,
    NONE,
    Part,
    archive,
    found,
    legacy,
    mapping,
    number,
    ordered,
    parts_of,
    pickled,
    storage,
    tensor,
    text,
    values,
)

VALUE = ordered({"a": tensor(storage()), "b": tensor(storage(count=3, key="1"), (3,))})
OLD_VALUE = mapping({"a": tensor(storage("F32", 6, "0", NONE)), "b": tensor(storage("F32", 3, "1", NONE), (3,))})
DATA = {"0": struct.pack("<6f", *range(6)), "1": struct.pack("<3f", *range(3))}
PARTS = parts_of(VALUE, DATA)
COUNTED = {key: (len(data) // 4, data) for key, data in DATA.items()}
SOUND = {"zip": archive(PARTS), "before 1.6": legacy(OLD_VALUE, COUNTED)}


def changed(name: str, **changes: Any) -> bytes:
    """The archive with one of its parts changed."""
    parts = [replace(part, **changes) if part.name == f"archive/{name}" else part for part in PARTS]
    assert parts != PARTS
    return archive(parts)


def more(name: str, data: bytes = b"") -> bytes:
    """The archive with one more part."""
    return archive([*PARTS, Part(name, data)])


def renamed(folder: str) -> bytes:
    """The archive with another name of its folder."""
    return archive(parts_of(VALUE, DATA, folder))


LAST = SOUND["zip"].rindex(b"PK\3\4")
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "only a signature": (b"PK\3\4", "cut short"),
    "no entries": (archive([Part("x", b"")]).replace(b"PK\1\2", b"PK\1\3"), "directory is damaged"),
    "nothing but an end": (b"PK\3\4" + archive([]), "directory"),
    "compressed weights": (changed("data/0", method=8), "compressed"),
    "a compressed pickle": (changed("data.pkl", method=8), "compressed"),
    "an encrypted pickle": (changed("data.pkl", flags=0x0809), "encrypted"),
    "strong encryption": (changed("data/0", flags=0x0840), "encrypted"),
    "hidden headers": (changed("data/0", flags=0x2800), "encrypted"),
    "a pickle with another checksum": (changed("data.pkl", checksum=1, flags=0x0808), "damaged"),
    "two pickles": (more("archive/data.pkl", pickled(VALUE)), "twice"),
    "a pickle further in": (more("archive/data/data.pkl", pickled(VALUE)), "several"),
    "two folders": (more("other/version", b"3"), "several"),
    "two folders with pickles": (more("other/data.pkl", pickled(VALUE)), "several"),
    "no folder": (archive([Part("data.pkl", pickled(VALUE))]), "something else"),
    "no pickle": (archive(PARTS[1:]), "something else"),
    "weights twice": (more("archive/data/0", DATA["0"]), "twice"),
    "a name that climbs": (more("archive/../../x"), "not safe"),
    "an absolute name": (more("/etc/passwd"), "not safe"),
    "a name of a drive": (more("archive/c:x"), "not safe"),
    "a name with a backslash": (more("archive\\..\\x"), "not safe"),
    "a folder as an entry": (more("archive/data/"), "not safe"),
    "an empty name": (more(""), "not safe"),
    "a name with an escape": (more("archive/\x1b[31m"), "not safe"),
    "a folder that climbs": (renamed(".."), "not safe"),
    "the highest byte first": (changed("byteorder", data=b"big"), "lowest byte"),
    "an unknown order of bytes": (changed("byteorder", data=b"pdp"), "lowest byte"),
    "an endless order of bytes": (changed("byteorder", data=b"little" * 9), "too long"),
    "a program": (more("archive/constants.pkl", pickled(b")")), "TorchScript"),
    "a program's code": (more("archive/code/__torch__.py", b"1"), "TorchScript"),
    "another name before the data": (changed("data/0", local_name="archive/data/1"), "two ways"),
    "another size before the data": (changed("data/0", local_size=4), "two ways"),
    "no size before the data, none behind": (changed("data/0", flags=0, local_size=0), "two ways"),
    "another size in the directory": (changed("data/0", flags=0, size=20, local_size=24), "two ways"),
    "weights that are too short": (changed("data/0", data=bytes(20)), "another size"),
    "weights that are too long": (changed("data/0", data=bytes(28)), "another size"),
    "weights that run over the next": (changed("data/0", size=600), "overlaps"),
    "weights that run over the directory": (changed(".data/serialization_id", size=400), "overlaps"),
    "weights of 4 GiB": (changed("data/0", size=FULL - 1), "overlaps"),
    "a wide size that wraps around": (changed("data/0", size=(1 << 64) - 8, wide=True), "overlaps"),
    "two entries in one place": (changed("data/1", header=0), "overlaps"),
    "an entry behind the end": (changed("data/1", header=1 << 31), "overlaps"),
    "an entry far behind the end": (changed("data/1", header=(1 << 64) - 1, wide=True), "overlaps"),
    "an entry inside another": (changed("data/1", header=40), "overlaps"),
    "an entry where there is none": (changed(".data/serialization_id", header=LAST + 1), "cut short"),
    "a comment": (SOUND["zip"] + b"x", "cut short"),
    "a comment that is announced": (archive(PARTS, comment=1) + b"x", "cut short"),
    "a comment that is not there": (archive(PARTS, comment=1), "cut short"),
    "entries on another disk": (archive(PARTS, here=3), "cut short"),
    "several disks": (archive(PARTS, disk=1), "cut short"),
    "fewer entries than there are": (archive(PARTS, count=3), "contradicts"),
    "fewer entries in both records": (archive(PARTS, count=3, wide_count=3), "behind its directory"),
    "more entries in both records": (archive(PARTS, count=99, wide_count=99), "cut short"),
    "another directory": (archive(PARTS, offset=0), "contradicts"),
    "a directory somewhere else": (archive(PARTS, offset=0, wide_offset=0), "not where"),
    "a directory behind the end": (archive(PARTS, offset=FULL, wide_offset=(1 << 64) - 1), "not where"),
    "a directory of great size": (archive(PARTS, size=FULL, wide_size=1 << 40), "not where"),
    "a wide record somewhere else": (archive(PARTS, wide_place=0), "not where"),
    "a wide record behind the end": (archive(PARTS, wide_place=(1 << 64) - 1), "not where"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_archives_that_contradict_themselves_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with refused("pytorch_model.bin", words):
        found(tmp_path, data)


def test_a_directory_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    many = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 16) * 60_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 60_000, 60_000, len(many), 4, 0)
    with refused("pytorch_model.bin", "too large"):
        found(tmp_path, b"PK\3\4" + many + end)


OLD: dict[str, tuple[bytes, str]] = {
    "another magic number": (legacy(OLD_VALUE, COUNTED, magic=0x1950A86A20F9469CFC6D), "something else"),
    "another version": (legacy(OLD_VALUE, COUNTED, version=1002), "not supported"),
    "the highest byte first": (
        legacy(OLD_VALUE, COUNTED, facts=mapping({**FACTS, "little_endian": FALSE})), "not supported",
    ),
    "no order of bytes": (legacy(OLD_VALUE, COUNTED, facts=mapping({})), "not supported"),
    "facts that are a number": (legacy(OLD_VALUE, COUNTED, facts=number(1)), "not supported"),
    "keys that are a text": (legacy(OLD_VALUE, COUNTED, keys=text("01")), "list of storages"),
    "a key that is a number": (legacy(OLD_VALUE, COUNTED, keys=b"](" + text("0") + number(1) + b"e"), "list of"),
    "a key that is missing": (legacy(OLD_VALUE, COUNTED, keys=b"](" + text("0") + b"e"), "list of storages"),
    "a key that is there twice": (legacy(OLD_VALUE, COUNTED, keys=b"](" + text("0") * 2 + b"e"), "list of storages"),
    "one key more": (legacy(OLD_VALUE, {**COUNTED, "2": (0, b"")}), "list of storages"),
    "a storage in the keys": (legacy(OLD_VALUE, COUNTED, keys=b"]" + storage() + b"a"), "asks for torch.FloatStorage"),
    "a persistent id in the keys": (legacy(OLD_VALUE, COUNTED, keys=b"]" + text("0") + b"Qa"), "refers to data"),
    "a count that is too small": (legacy(OLD_VALUE, {**COUNTED, "0": (5, DATA["0"])}), "another size"),
    "a count that is too large": (legacy(OLD_VALUE, {**COUNTED, "1": (1 << 63, DATA["1"])}), "another size"),
    "weights that are too short": (legacy(OLD_VALUE, {**COUNTED, "1": (3, bytes(8))}), "cut short"),
    "something behind the weights": (SOUND["before 1.6"] + b"\0", "behind its last tensor"),
    "a view on another storage": (
        legacy(mapping({"a": tensor(storage("F32", 6, "0", tensor(storage("F32", 6, "0", NONE))))}), COUNTED),
        "no sound description",
    ),
    "a tar archive": (b"storages" + bytes(504), "neither"),
    "nothing": (b"", "neither"),
    "safetensors": (b"\x02\0\0\0\0\0\0\0{}", "neither"),
    "another pickle": (pickled(mapping({})), "something else"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), OLD.values(), ids=OLD.keys())
def test_the_old_format_is_kept_to(data: bytes, words: str, tmp_path: Path) -> None:
    with refused("pytorch_model.bin", words):
        found(tmp_path, data)


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND.keys())
def test_every_truncation_is_refused(data: bytes, tmp_path: Path) -> None:
    refs = found(tmp_path, data)
    assert values(refs["a"]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert values(refs["b"]).tolist() == [0, 1, 2]
    for length in range(len(data)):
        with refused("pytorch_model.bin"):
            found(tmp_path, data[:length])


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4)


LENIENT = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_changes(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The bytes, some of them replaced."""
    out = bytearray(data)
    for place, value in changes:
        out[place % len(out)] = value
    return bytes(out)


def check(folder: Path, data: bytes) -> None:
    """Tensors that can be read, or a sentence."""
    with sound_or_refused():
        for ref in found(folder, data).values():
            if math.prod(ref.shape) < 1000:  # more are weights that are repeated
                values(ref)


@LENIENT
@given(st.sampled_from(sorted(SOUND)), CHANGES)
def test_any_change_of_bytes_gives_tensors_inside_the_file_or_a_sentence(
    tmp_path: Path, name: str, changes: list[tuple[int, int]]
) -> None:
    check(tmp_path, with_changes(SOUND[name], changes))


@LENIENT
@given(CHANGES)
def test_any_change_of_a_pickle_whose_checksum_is_right_gives_tensors_or_a_sentence(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    check(tmp_path, archive([Part("archive/data.pkl", with_changes(PARTS[0].data, changes)), *PARTS[1:]]))


@pytest.mark.parametrize("name", SOUND)
def test_no_single_byte_of_a_file_does_harm(name: str, tmp_path: Path) -> None:
    for place in range(len(SOUND[name])):
        check(tmp_path, with_changes(SOUND[name], [(place, SOUND[name][place] ^ 0xFF)]))
