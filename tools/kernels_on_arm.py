"""Proves that the NEON quantizers have the bits of ggml on x86-64, without a machine that has NEON.

    kernels_on_arm.py [--weights N]                    N million weights for each type; 1 by itself

Needs Debian's packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user. ggml of this machine, which must be
the ordinary x86-64 build, makes the expected bytes of all kinds of weights; the kernels are cross-compiled with the
flags of the package, looked through for instructions that round a product and a sum as one, and run under qemu. That
the cases would notice such instructions is proven as well: compiled to have them, the kernels must fail.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from kernel_weights import Floats, families, importances

from localchat.errors import LocalchatError
from localchat.kernels.build import FLAGS, FOLDER
from localchat.kernels.quantize import KINDS, SOURCES, Type
from localchat.llama.quantize import quantize

CC, OBJDUMP, RUN = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", ("qemu-aarch64", "-cpu", "max")
LANES = 4
ROWS, COLUMNS = 19, 512
FUSED = ("fmadd", "fmsub", "fnmadd", "fnmsub", "fmla", "fmls")


def cases(repeats: int) -> Iterator[bytes]:
    """For each type all kinds of weights, with and without an importance, as kernel_check.c reads them."""
    for kind in sorted(KINDS):
        for seed in range(repeats):
            guides = list(importances(seed, COLUMNS))
            for number, (_, rows) in enumerate(families(seed, ROWS, COLUMNS)):
                yield from (_case(kind, rows, None), _case(kind, rows, guides[number % len(guides)]))


def _case(kind: Type, rows: Floats, importance: Floats | None) -> bytes:
    try:
        expected = quantize(kind, rows, importance).tobytes()
    except LocalchatError:
        expected = b""
    head = struct.pack("<6i", kind, SOURCES["F32"], *rows.shape, importance is not None, len(expected))
    return head + rows.tobytes() + (b"" if importance is None else importance.tobytes()) + expected


def program(work: Path, name: str, extra: tuple[str, ...]) -> Path:
    """The kernels and the check for ARM, with these flags added to those of the package."""
    sources = [FOLDER / "c" / "choose.c", FOLDER / "c" / "quantize.c", Path(__file__).parent / "kernel_check.c"]
    flags = [*FLAGS, *extra, f"-DLANES={LANES}", f"-I{FOLDER / 'c'}", "-static"]
    subprocess.run([CC, *flags, *map(str, sources), "-o", str(work / name)], check=True)
    return work / name


def fused(work: Path) -> int:
    """How many instructions of the quantizers round once where plain code rounds twice."""
    quantizers = work / "quantize.o"
    subprocess.run(
        [CC, *FLAGS, f"-DLANES={LANES}", "-c", str(FOLDER / "c" / "quantize.c"), "-o", str(quantizers)], check=True
    )
    listing = subprocess.run([OBJDUMP, "-d", str(quantizers)], check=True, capture_output=True, text=True).stdout
    return sum(any(f"\t{name}\t" in line for name in FUSED) for line in listing.splitlines())


def main() -> None:
    """Run all of it; ends with an error where a bit is another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=float, default=1.0)
    options = parser.parse_args()
    each = 2 * ROWS * COLUMNS * len(list(families(0, ROWS, COLUMNS)))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if found := fused(work):
            sys.exit(f"{found} instructions of the kernels round a product and a sum as one")
        with np.errstate(all="ignore"), (work / "cases").open("wb") as file:
            file.writelines(cases(max(1, round(options.weights * 1e6 / each))))
        honest, loose = program(work, "honest", ()), program(work, "loose", ("-ffp-contract=fast",))
        command = [str(work / "cases"), str(LANES)]
        if subprocess.run([*RUN, str(honest), *command]).returncode:
            sys.exit("the kernels have other bits on ARM")
        if subprocess.run([*RUN, str(loose), *command], stdout=subprocess.DEVNULL).returncode == 0:
            sys.exit("the cases do not notice sums that are rounded otherwise")
    print(
        "the kernels have the same bits on ARM; no instruction of theirs is fused, and the cases notice those that are"
    )


if __name__ == "__main__":
    main()
