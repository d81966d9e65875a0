"""The zip archive that PyTorch 1.6 and later write, read strictly: where each of its entries lies, stored as it is.

Layout: a local header before each entry, then the central directory, then its end record, as in PKWARE's APPNOTE.TXT
(4.3.6 to 4.3.16). Readers that trust different ones of these see different files, so all must tell the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO

from localchat.convert.torch.unpickler import Unsound, decoded
from localchat.paths import is_safe_name

DIRECTORY_LIMIT_BYTES = 16 << 20
ENTRIES_LIMIT = 50_000
SIGNATURE = b"PK\x03\x04"
SIZES_LATER, NAME_IS_UTF8 = 1 << 3, 1 << 11
"""PyTorch sets both: sizes are written behind the data and in the directory."""
WIDE_FIELD, FULL = 0x0001, 0xFFFFFFFF
"""In place of a number that does not fit into 4 bytes stands FULL, and the number in an extra field of this id."""

LOCAL = Struct("<4s5H3I2H")  # version, flags, method, time, date; checksum, sizes; lengths of name and extra
CENTRAL = Struct("<4s6H3I5H2I")  # the same after one more version; then comment, disk, attributes, offset
END = Struct("<4s4H2IH")  # disks, entries here and in all; size and offset of the directory; comment
WIDE_LOCATOR = Struct("<4sIQI")  # disk, offset of the wide end record, disks
WIDE_END = Struct("<4sQ2H2I4Q")  # its size, versions, disks, entries here and in all, size and offset of the directory


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file: `size` bytes from byte `start` of the archive."""

    start: int
    size: int
    checksum: int
    """CRC-32, as in the directory; not verified here."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """An entry as the central directory has it."""

    name: str
    flags: int
    checksum: int
    size: int
    header: int
    is_plain: bool
    """Neither compressed nor encrypted."""


def read_archive(file: BinaryIO) -> dict[str, Entry]:
    """All entries by name, in the order they lie. Raises Unsound for whatever PyTorch does not write for weights."""
    directory, data, count = _directory(file)
    listed = sorted(_parsed(data, count), key=lambda entry: entry.header)
    _refuse_programs(listed)
    found: dict[str, Entry] = {}
    position = 0
    for entry in listed:
        start = _data_start(file, entry) if position <= entry.header < directory else directory + 1
        if start + entry.size > directory:
            raise Unsound(f"{entry.name} overlaps another part")
        if entry.name in found:
            raise Unsound(f"{entry.name} is in it twice")
        found[entry.name] = Entry(start, entry.size, entry.checksum)
        position = start + entry.size
    return found


def header_places(file: BinaryIO) -> list[int]:
    """Where the headers lie that `read_archive` reads, one for each entry. Raises Unsound like it."""
    _, data, count = _directory(file)
    return [entry.header for entry in _parsed(data, count)]


def _refuse_programs(listed: list[_Listed]) -> None:
    """TorchScript's archives look much the same; their code is compressed."""
    for entry in listed:
        _, _, inner = entry.name.partition("/")
        if inner == "constants.pkl" or inner.startswith("code/"):
            raise Unsound("it is a TorchScript program, which is code, and not a file of weights")
        if not entry.is_plain:
            raise Unsound(f"{entry.name} is compressed or encrypted")


def _directory(file: BinaryIO) -> tuple[int, bytes, int]:
    """Where the central directory lies, its bytes, and how many entries it has."""
    end = file.seek(0, 2) - END.size
    signature, disk, first, here, count, size, offset, comment = END.unpack(_read(file, end, END.size))
    if signature != b"PK\x05\x06" or disk or first or here != count or comment:
        raise Unsound("it does not end as it should; it may be cut short")
    narrow = count, size, offset
    if end >= WIDE_LOCATOR.size and _read(file, end - WIDE_LOCATOR.size, 4) == b"PK\x06\x07":
        end, (count, size, offset) = _wide_end(file, end - WIDE_LOCATOR.size)
    for short, wide, full in zip(narrow, (count, size, offset), (0xFFFF, FULL, FULL), strict=True):
        if short not in (wide, full):
            raise Unsound("its directory contradicts itself")
    if offset + size != end or size > DIRECTORY_LIMIT_BYTES or count > ENTRIES_LIMIT:
        raise Unsound("its directory is not where it should be, or too large")
    return offset, _read(file, offset, size), count


def _wide_end(file: BinaryIO, locator: int) -> tuple[int, tuple[int, int, int]]:
    """Where the wide end record lies; entries, and size and offset of the directory in bytes."""
    _, disk, end, disks = WIDE_LOCATOR.unpack(_read(file, locator, WIDE_LOCATOR.size))
    if disk or disks > 1 or end + WIDE_END.size != locator:
        raise Unsound("its directory is not where it should be")
    signature, rest, _, _, *disk_numbers, here, count, size, offset = WIDE_END.unpack(_read(file, end, WIDE_END.size))
    if signature != b"PK\x06\x06" or rest != WIDE_END.size - 12 or any(disk_numbers) or here != count:
        raise Unsound("its directory is not where it should be")
    return end, (count, size, offset)


def _parsed(data: bytes, count: int) -> Iterator[_Listed]:
    position = 0
    for _ in range(count):
        fields = CENTRAL.unpack(_part(data, position, CENTRAL.size))
        (signature, _, _, flags, method, _, _, checksum, packed, size, *lengths, disk, _, _, header) = fields
        position += CENTRAL.size
        raw_name, extra, _ = (
            _part(data, position + sum(lengths[:number]), length) for number, length in enumerate(lengths)
        )
        position += sum(lengths)
        if signature != b"PK\x01\x02" or disk:
            raise Unsound("its directory is damaged")
        size, packed, header = _widened(extra, size, packed, header)
        is_plain = not method and size == packed and not flags & ~(SIZES_LATER | NAME_IS_UTF8)
        yield _Listed(_checked_name(raw_name), flags, checksum, size, header, is_plain)
    if position != len(data):
        raise Unsound("there is something behind its directory")


def _checked_name(raw: bytes) -> str:
    name = decoded(raw)
    if not all(map(is_safe_name, name.split("/"))):
        raise Unsound("an entry in it has a name that is not safe")
    return name


def _widened(extra: bytes, *numbers: int) -> tuple[int, ...]:
    """The numbers, those that are FULL taken from the extra field, where they stand in this order."""
    wide = dict(_extra_fields(extra)).get(WIDE_FIELD, b"") if FULL in numbers else b""
    found = []
    for number in numbers:
        if number == FULL:
            number, wide = int.from_bytes(_part(wide, 0, 8), "little"), wide[8:]
        found.append(number)
    return tuple(found)


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Ids and contents."""
    position = 0
    while position < len(extra):
        field, length = (int.from_bytes(_part(extra, position + at, 2), "little") for at in (0, 2))
        yield field, _part(extra, position + 4, length)
        position += 4 + length


def _data_start(file: BinaryIO, entry: _Listed) -> int:
    """The first byte behind the local header, which must say what the directory says."""
    fields = LOCAL.unpack(_read(file, entry.header, LOCAL.size))
    signature, _, flags, method, _, _, checksum, packed, size, name_bytes, extra_bytes = fields
    tail = _read(file, entry.header + LOCAL.size, name_bytes + extra_bytes)
    size, packed = _widened(tail[name_bytes:], size, packed)
    same = (signature, flags, method, tail[:name_bytes]) == (SIGNATURE, entry.flags, 0, entry.name.encode())
    blank = flags & SIZES_LATER and (checksum, packed, size) == (0, 0, 0)
    if not same or not (blank or (checksum, packed, size) == (entry.checksum, entry.size, entry.size)):
        raise Unsound(f"{entry.name} is described in two ways")
    return entry.header + LOCAL.size + len(tail)


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    """`count` bytes of the file; the caller has bounded the count."""
    if start < 0:
        raise Unsound("it is cut short")
    file.seek(start)
    return _part(file.read(count), 0, count)


def _part(data: bytes, start: int, count: int) -> bytes:
    part = data[start : start + count]
    if len(part) < count:
        raise Unsound("it is cut short")
    return part
