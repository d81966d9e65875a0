"""Files that are read with suspicion and written so that nothing half-made is ever found."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from localchat.errors import BadFile, LocalchatError
from localchat.text import size

JSON_LIMIT_BYTES = 4 << 20
JSON_VALUES_LIMIT = 2_000_000  # the largest tokenizers that are published have a million
PARTIAL = ".partial"

Opener = Callable[[Path], BinaryIO]
"""Opens a file for reading."""


def opened(path: Path) -> BinaryIO:
    """The file as it is on the disk."""
    return path.open("rb")


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """The whole of a small file. Raises BadFile where it is larger than the limit or cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise BadFile(
            f"{path.name} cannot be read: {error.strerror or error}", f"check the file in {path.parent}"
        ) from error
    if len(data) > limit_bytes:
        raise BadFile(f"{path.name} is larger than {size(limit_bytes)}", "this is not the file it should be")
    return data


def read_json(path: Path, limit_bytes: int = JSON_LIMIT_BYTES) -> dict[str, Any]:
    """The object in a JSON file. Raises BadFile for anything else: too large, too deep, doubled keys, NaN."""
    return parse_json(read_bytes(path, limit_bytes), path.name)


def parse_json(data: bytes, name: str) -> dict[str, Any]:
    """The object in JSON text, read strictly; `name` says in errors whose text it is.

    A value takes up to 300 bytes of memory and only two in the text, so values are counted before they are made.
    """
    hint = "download the file again, or ask its authors"
    if sum(map(data.count, (b"[", b"{", b","))) > JSON_VALUES_LIMIT:
        raise BadFile(f"{name} has more values than any file of its kind", "do not trust where it came from")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} is not valid JSON ({str(error)[:80]})", hint) from error
    if not isinstance(value, dict):
        raise BadFile(f"{name} holds no JSON object", hint)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


@contextmanager
def writing(path: Path, *, is_synced: bool = True) -> Iterator[Path]:
    """Write beside, then rename: yields a `.partial` file, which becomes `path` only if the body ends well.

    The partial file is this process's own; it is synced before the rename, unless its readers check what is in it, and
    deleted when the body fails or is stopped. Raises LocalchatError in plain words when the disk is full or the folder
    cannot be written, or when there is something at `path` that is no ordinary file.
    """
    check_ordinary(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        put_in_place(partial, path, is_synced=is_synced)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_ordinary(path: Path) -> None:
    """Raises LocalchatError where there is something else than a file at this path, which is never replaced."""
    if path.exists() and not path.is_file():
        raise LocalchatError(f"{path} is no ordinary file", "choose another name to write to")


def put_in_place(partial: Path, path: Path, *, is_synced: bool = True) -> None:
    """Give a file that is complete its name, whatever happens to the machine. Raises OSError."""
    if is_synced:
        _sync(partial)
    partial.replace(path)
    if is_synced:
        _sync(path.parent)


def make_hollow(path: Path, count: int) -> None:
    """Make a file of so many bytes that takes no room until something is written to it. Raises OSError."""
    path.write_bytes(b"")
    if os.name == "nt":  # it keeps room for holes unless it is told that a file has some
        subprocess.run(["fsutil", "sparse", "setflag", str(path)], capture_output=True, check=False)
    os.truncate(path, count)


def write_text(path: Path, text: str) -> None:
    """Write a small private file so that readers see the old one or the new one, never a part."""
    with writing(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(text, "utf-8")


def disk_error(error: OSError, path: Path) -> LocalchatError:
    """What an error of the system means for the file that was being written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LocalchatError(
            f"the disk is full: {path.name} could not be written",
            f"free some space on the disk of {path.parent}, then run the same command again",
        )
    if error.filename is not None and Path(error.filename).parent != path.parent:
        return BadFile(f"{error.filename} cannot be read: {error.strerror or error}", "check that it is still there")
    return LocalchatError(
        f"{path.name} could not be written: {error.strerror or error}", f"check the folder {path.parent}"
    )


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; folders cannot be opened on Windows, where renames are durable anyway."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
