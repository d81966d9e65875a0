"""The stream: rows out of the checkpoint, through the quantizer, into the model file, each weight read once.

The hashes of every input and of the result are taken on the way. Blocks of rows are quantized by a thread for each
core (the C code runs without the interpreter lock); this thread hashes and writes. At most a few blocks are in memory.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from localchat.convert.header import aligned
from localchat.convert.inputs import Inputs
from localchat.convert.layout import Layout, TensorPlan
from localchat.convert.weights import Packed
from localchat.errors import LocalchatError
from localchat.llama.quantize import prepare, quantize

BLOCK_WEIGHTS = 1 << 18  # 1 MiB of float32: source, floats and result of a block stay in a core's own cache
BLOCKS_AHEAD = 4  # for each thread: enough that none waits, few enough that memory stays small


@dataclass(frozen=True, slots=True)
class Written:
    """Progress: this tensor is done; bytes are those of the checkpoint."""

    tensor: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The file is complete: its sha256 and that of each file of weights, by name. Always the last event."""

    sha256: str
    inputs: Mapping[str, str]


def write(plan: Layout, path: Path, threads: int) -> Generator[Written | Finished]:
    """Write the model file at `path`. Close the iterator to stop; the unfinished file then stays.

    Raises LocalchatError where a weight is not finite, OSError where the disk is full.
    """
    prepare(sorted({tensor.type for tensor in plan.tensors}))
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads, "quantize")
        stack.callback(pool.shutdown, cancel_futures=True)
        inputs = Inputs(plan.inputs)
        out = _Output(stack.enter_context(path.open("wb")))
        out.write(plan.header)
        done_bytes = 0
        for tensor, block, is_last in _in_order(pool, plan.tensors, inputs, threads * BLOCKS_AHEAD):
            out.write(block.data)
            if is_last:
                out.pad()
                for ref in tensor.weights.refs:
                    inputs.done_with(ref)
                done_bytes += tensor.source_bytes
                yield Written(tensor.target.name, done_bytes, plan.source_bytes)
        finished = Finished(out.sha256.hexdigest(), inputs.digests())
    yield finished  # once the file is closed and can be read back


class _Output:
    """The model file, written forward only, and its hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._position = file, 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.sha256.update(data)
        self._position += memoryview(data).nbytes

    def pad(self) -> None:
        self.write(bytes(aligned(self._position) - self._position))


@dataclass(frozen=True, slots=True)
class _Job:
    """Some rows of one matrix: those of an expert share its importance."""

    tensor: TensorPlan
    first: int
    last: int


def _in_order(
    pool: ThreadPoolExecutor, tensors: Sequence[TensorPlan], inputs: Inputs, window: int
) -> Iterator[tuple[TensorPlan, NDArray[np.uint8], bool]]:
    """Finished blocks in the order of the file, with `window` of them being made at any time."""
    waiting: deque[tuple[_Job, Future[NDArray[np.uint8]]]] = deque()
    for job in _jobs(tensors):
        waiting.append((job, pool.submit(_quantized, job, inputs)))
        if len(waiting) == window:
            yield _finished(*waiting.popleft())
    while waiting:
        yield _finished(*waiting.popleft())


def _finished(job: _Job, future: Future[NDArray[np.uint8]]) -> tuple[TensorPlan, NDArray[np.uint8], bool]:
    return job.tensor, future.result(), job.last == job.tensor.target.rows


def _jobs(tensors: Sequence[TensorPlan]) -> Iterator[_Job]:
    for tensor in tensors:
        target = tensor.target
        step = max(1, BLOCK_WEIGHTS // target.columns)
        for matrix in range(0, target.rows, target.matrix_rows):
            for first in range(matrix, matrix + target.matrix_rows, step):
                yield _Job(tensor, first, min(first + step, matrix + target.matrix_rows))


def _quantized(job: _Job, inputs: Inputs) -> NDArray[np.uint8]:
    tensor, rows = job.tensor, np.arange(job.first, job.last)
    floats = tensor.weights.read(inputs, rows)
    if isinstance(tensor.weights, Packed) and tensor.weights.type == tensor.type and np.isfinite(floats).all():
        return tensor.weights.packed(inputs, rows)  # to quantize again what has the type already would only lose
    importance = tensor.importance
    if importance is not None:
        importance = importance[job.first // tensor.target.matrix_rows]
    try:
        return quantize(tensor.type, floats, importance)
    except LocalchatError as error:
        raise LocalchatError(f"{tensor.target.name}: {error}", error.hint) from error
