"""The shared library of our quantizers: is it there, and how many lanes has this processor for it?"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from localchat.kernels.build import FOLDER, LANES, LIBRARY, compiler, fingerprint, machine
from localchat.text import one_line

WIDTHS = (16, 8, 4)
DONE = 0


class Task(ctypes.Structure):
    """`Task` of c/quantize.h."""

    _fields_ = (
        ("type", ctypes.c_int32),
        ("source", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("importance", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True)
class Kernels:
    """What was found."""

    lanes: tuple[int, ...]
    """The numbers of lanes that this processor has instructions for, the most first; none where `reason` says why."""
    reason: str = ""
    can_be_built: bool = False
    library: ctypes.CDLL | None = None


def find(path: Path) -> Kernels:
    """Load the library at this path."""
    if not path.exists():
        return _absent(machine(), compiler())
    try:
        library = ctypes.CDLL(str(path))
        library.kernels_fingerprint.restype = ctypes.c_char_p
        is_ours = library.kernels_fingerprint() == fingerprint().encode()
    except (OSError, AttributeError) as error:
        return Kernels((), f"{path.name} cannot be loaded: {one_line(str(error))}", can_be_built=True)
    if not is_ours:
        return Kernels((), f"{path.name} was built from other code than this", can_be_built=True)
    lanes = tuple(count for count in WIDTHS if library.kernels_can(count))
    return Kernels(lanes, "" if lanes else "this processor has neither AVX2 nor NEON", library=library)


def _absent(architecture: str, cc: str | None) -> Kernels:
    if architecture not in LANES:
        return Kernels((), f"there are none of ours for {architecture}")
    reason = "ours are not built" if cc else "ours are not built, for there is no C compiler called cc"
    return Kernels((), reason, can_be_built=True)


@cache
def kernels() -> Kernels:
    """Those of this installation, loaded once."""
    return find(FOLDER / LIBRARY)


def build_command() -> Sequence[str]:
    """The words of the command that builds them."""
    return (sys.executable, "-m", "localchat.kernels.build")


def run(task: Task, lanes: int) -> bool:
    """Carry it out; False where it has to be left to ggml: no such kernel, or weights that ggml refuses too."""
    library = kernels().library
    return library is not None and library.kernels_quantize(lanes, ctypes.byref(task)) == DONE
