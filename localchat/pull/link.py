"""The same file under another name: no byte is copied.

A reflink shares the blocks until one of the two files is changed, a hard link is the same file, and a reference is a
symbolic link. The first two outlive the name that they were made from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from localchat.errors import BadFile, LocalchatError

Kind = Literal["reflink", "hard link", "reference"]
Step = tuple[Kind, Callable[[Path, Path], None]]
FICLONE = 0x40049409  # of linux/fs.h; where it is another number the next step is taken


def reflink(path: Path, linked: Path) -> None:
    """A file of its own that shares the blocks. Raises OSError where the file system cannot."""
    if sys.platform == "linux":
        _clone_on_linux(path, linked)
    elif sys.platform == "darwin":
        _clone_on_macos(path, linked)
    else:
        raise OSError("no reflinks on this system")


def hard_link(path: Path, linked: Path) -> None:
    """Another name of the file. Raises OSError across file systems, and for strangers' files on Linux."""
    os.link(path, linked)


def reference(path: Path, linked: Path) -> None:
    """A symbolic link. Raises OSError on Windows where the user may make none."""
    linked.symlink_to(path)


LADDER: tuple[Step, ...] = (("reflink", reflink), ("hard link", hard_link), ("reference", reference))


def link(path: Path, linked: Path, ladder: Sequence[Step] = ()) -> Kind:
    """Make `linked` the same file as `path`, in the first way of the ladder that works; returns which that was.

    Without a ladder it is `LADDER`. What was at `linked` goes.
    Raises BadFile where there is no file, LocalchatError where no way works.
    """
    try:
        origin = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BadFile(f"the file {path} is gone", "look what there is: localchat adopt") from error
    linked.unlink(missing_ok=True)
    why = ""
    for kind, make in ladder or LADDER:
        try:
            make(origin, linked)
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return kind
    raise LocalchatError(
        f"{origin} cannot be linked: {why}", f"set LOCALCHAT_HOME to a folder on the disk of {origin.parent}"
    )


def kind_of_link(path: Path, linked: Path) -> Kind:
    """How `linked` came to be the same file as `path`."""
    if linked.is_symlink():
        return "reference"
    return "hard link" if path.exists() and linked.samefile(path) else "reflink"


def _clone_on_linux(path: Path, linked: Path) -> None:
    if sys.platform != "linux":
        return
    from fcntl import ioctl

    with path.open("rb") as origin:
        descriptor = os.open(linked, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            ioctl(descriptor, FICLONE, origin.fileno())
        except OSError:
            linked.unlink()
            raise
        finally:
            os.close(descriptor)


def _clone_on_macos(path: Path, linked: Path) -> None:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.clonefile(os.fsencode(path), os.fsencode(linked), 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    linked.chmod(0o600)
