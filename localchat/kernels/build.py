"""Compiles the quantizers with the C compiler of the system: python -m localchat.kernels.build

Needs nothing but the standard library: the build of the package calls it where localchat's dependencies are absent.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY = "libquantize.so"  # loaded by its path, so the name is the same everywhere
# The order of operations decides the bits: nothing may be reordered, and a product and a sum not be rounded as one.
FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wno-psabi")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
LANES: Mapping[str, Mapping[int, tuple[str, ...]]] = {"x86_64": {8: ("-mavx2",), 16: AVX512}, "aarch64": {4: ()}}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
SECONDS = 300


class NotBuilt(Exception):
    """Why there is no library, in one sentence."""


def compiler() -> str | None:
    """The C compiler: $CC, else cc; None where there is neither."""
    return shutil.which(os.environ.get("CC") or "cc")


def machine() -> str:
    """This processor's architecture, as `LANES` names it."""
    name = platform.machine().lower()
    return MACHINES.get(name, name)


def fingerprint() -> str:
    """Of the code and how it is compiled: a library is used with the very code that it was built from."""
    digest = hashlib.sha256(repr((FLAGS, LANES)).encode())
    for path in sorted((FOLDER / "c").iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build(target: Path, cc: str | None = None, architecture: str = "") -> Path:
    """Compile for all numbers of lanes of the architecture into the folder `target`; the path of the library.

    Raises NotBuilt where there is no compiler, or it fails, or the architecture has no kernels.
    """
    cc = cc or compiler()
    variants = LANES.get(architecture or machine())
    if variants is None:
        raise NotBuilt(f"there are no kernels for {architecture or machine()}")
    if cc is None:
        raise NotBuilt("there is no C compiler called cc")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        parts = [_compiled(cc, "choose.c", work / "choose.o", (f'-DFINGERPRINT="{fingerprint()}"',))]
        for lanes, flags in variants.items():
            parts.append(_compiled(cc, "quantize.c", work / f"{lanes}.o", (f"-DLANES={lanes}", *flags)))
        _run([cc, "-shared", "-o", str(work / LIBRARY), *map(str, parts)])
        beside = target / f"{LIBRARY}.{os.getpid()}"  # another process may have the old one loaded
        shutil.copy(work / LIBRARY, beside)
        return beside.replace(target / LIBRARY)


def _compiled(cc: str, source: str, out: Path, flags: tuple[str, ...]) -> Path:
    _run([cc, *FLAGS, *flags, "-c", str(FOLDER / "c" / source), "-o", str(out)])
    return out


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"the C compiler does not work: {error}") from error
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "it gave no reason")
        raise NotBuilt(f"the C compiler refused: {reason}")


def main() -> int:
    """Build in place and say so."""
    try:
        path = build(FOLDER)
    except (NotBuilt, OSError) as error:
        print(f"the quantizers are not built: {error}", file=sys.stderr)
        return 1
    print(f"built {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
