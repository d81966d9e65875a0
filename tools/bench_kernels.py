"""Our quantizers beside ggml's: the same bits on many weights of all kinds, then rates on one core, in turn."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from bench_rows import Row, paired
from gguf.constants import GGMLQuantizationType as Type
from kernel_weights import Floats, families, importances

from localchat.errors import LocalchatError
from localchat.kernels.library import kernels
from localchat.kernels.quantize import KINDS, Job, quantize_in_lanes
from localchat.llama.quantize import quantize
from localchat.plan.detect import usable_cores

ROWS, COLUMNS = 64, 4096  # what the conversion quantizes at a time
PROOF_COLUMNS = 1024
KERNEL_TYPES = [kind.name for kind in sorted(KINDS)]


def kernel_rows(names: Sequence[str], runs: int, million_weights: float) -> Iterator[Row]:
    """For each type the number of weights that came out equal, then its rates in each number of lanes."""
    if not kernels().lanes:
        sys.exit(f"there is nothing to measure: {kernels().reason}")
    for name in names:
        kind = Type[name]
        yield Row(f"{name}: weights with the bits of ggml", "M", proven(kind, million_weights * 1e6) / 1e6)
        for is_guided, lanes in itertools.product((False, True), kernels().lanes):
            guide = next(importances(0, COLUMNS)) if is_guided else None
            test = f"{name}{' with importance' if is_guided else ''}, {lanes} lanes"
            yield paired(test, "M weights/s and core", *_rates(kind, guide, lanes, runs))


def proven(kind: Type, weights: float) -> int:
    """How many weights were compared, at least so many; half with an importance. Ends the program at a difference."""
    count, seeds, threads = 0, itertools.count(), usable_cores()
    with ThreadPoolExecutor(threads) as pool, np.errstate(all="ignore"):
        while count < weights:
            count += sum(pool.map(lambda seed: _compared(kind, seed), itertools.islice(seeds, 2 * threads)))
    return count


def _compared(kind: Type, seed: int) -> int:
    """Those of one seed that ggml does not refuse."""
    guides, count = list(importances(seed, PROOF_COLUMNS)), 0
    for number, (name, rows) in enumerate(families(seed, ROWS, PROOF_COLUMNS)):
        guide = guides[(number + seed) % len(guides)] if seed % 2 else None
        job = Job(kind, rows, "F32", importance=guide)
        made = [quantize_in_lanes(job, lanes) for lanes in kernels().lanes]
        try:
            expected = quantize(kind, rows, guide)
        except LocalchatError:
            if any(found is not None for found in made):
                sys.exit(f"{kind.name}: weights that are {name} (seed {seed}) are made and ggml refuses them")
            continue
        if any(found is None or not np.array_equal(found, expected) for found in made):
            sys.exit(f"{kind.name}: weights that are {name} (seed {seed}) have other bits than ggml's")
        count += rows.size
    return count


def _rates(kind: Type, guide: Floats | None, lanes: int, runs: int) -> tuple[list[float], list[float]]:
    """Ours and ggml's in million weights a second."""
    rows = next(families(0, ROWS, COLUMNS))[1]
    job = Job(kind, rows, "F32", importance=guide)
    ours, theirs = [], []
    for _ in range(runs + 1):
        ours.append(rows.size / _seconds(lambda: quantize_in_lanes(job, lanes)) / 1e6)
        theirs.append(rows.size / _seconds(lambda: quantize(kind, rows, guide)) / 1e6)
    return ours[1:], theirs[1:]  # the first ones warm up


def _seconds(call: Callable[[], object]) -> float:
    """Of one call, from as many as take a few hundredths of a second."""
    start, calls = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < 0.04 or not calls:
        call()
        calls += 1
    return taken / calls
