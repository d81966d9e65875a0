"""The stream: rows out of the checkpoint, through the quantizer, into the model file, each weight read once.

The hashes of every input and of the result are taken on the way. Blocks of rows are quantized by a thread for each
core (the C code runs without the interpreter lock); this thread hashes and writes. At most a few blocks are in memory.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localchat.convert.inputs import Inputs, MappedInputs
from localchat.convert.layout import Layout
from localchat.convert.names import Target
from localchat.convert.output import Output
from localchat.convert.steps import Step, steps
from localchat.convert.weights import Packed, raw
from localchat.errors import LocalchatError
from localchat.kernels.quantize import quantize, quantize_stored
from localchat.llama.quantize import prepare, row_bytes

BLOCK_WEIGHTS = 1 << 18  # 1 MiB of float32: source, floats and result of a block stay in a core's own cache
BLOCKS_AHEAD = 4  # for each thread at least
AHEAD_BYTES = 32 << 20  # of results: while this thread hashes a large tensor, the others have enough to do
PATIENCE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Written:
    """Progress: this tensor, or an expert of it, is done; bytes are those of the checkpoint."""

    tensor: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The file is complete: its sha256 and that of each file of weights, by name. Always the last event."""

    sha256: str
    inputs: Mapping[str, str]


def write(plan: Layout, path: Path, threads: int) -> Generator[Written | Finished]:
    """Write the model file at `path` from files on this disk. Close the iterator to stop; an unfinished file stays.

    Raises LocalchatError where a weight is not finite, OSError where the disk is full.
    """
    todo, done_bytes = steps(plan), 0
    with path.open("w+b") as file:
        out, inputs = Output(file), MappedInputs(plan.inputs)
        out.write(0, plan.header)
        with closing(make(plan, todo, inputs, out, threads)) as events:
            for made in events:
                if made is None:
                    continue
                for input, up_to in made.step.releases:
                    inputs.release(input, up_to)
                done_bytes += made.step.source_bytes
                yield Written(made.step.tensor.target.name, done_bytes, plan.source_bytes)
        finished = Finished(out.finish(plan.file_bytes), inputs.digests())
    yield finished  # once the file is closed and can be read back


@dataclass(frozen=True, slots=True)
class Made:
    """A step is done: its rows are in the file."""

    step: Step
    sha256: str
    """Of what was written, as `digest_of` takes it; empty where nobody wants it."""


class Sink(Protocol):
    """Where finished rows go."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Bytes of the model file and their place."""


def make(
    plan: Layout, todo: Sequence[Step], inputs: Inputs, out: Sink, threads: int, *, is_hashed: bool = False
) -> Generator[Made | None]:
    """Do these steps, one after the other; None says, a few times a second, that the next one is not done yet.

    Whoever reads releases the inputs. Close it to stop. Raises LocalchatError where a weight is not finite and what
    the inputs and the disk raise.
    """
    prepare(sorted({tensor.type for tensor in plan.tensors}))
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads, "quantize")
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.callback(inputs.stop)  # before the pool is waited for: its threads may wait for weights
        digests = hashlib.sha256()
        for done in _in_order(pool, todo, inputs, _blocks_ahead(plan, threads), is_hashed):
            if done is None:
                yield None
                continue
            job, block = done
            out.write(len(plan.header) + job.offset, block.data.data)
            digests.update(block.sha256)
            if job.is_last:
                yield Made(job.step, digests.hexdigest() if is_hashed else "")
                digests = hashlib.sha256()


def _blocks_ahead(plan: Layout, threads: int) -> int:
    largest = max(_block_rows(one.target) * row_bytes(one.type, one.target.columns) for one in plan.tensors)
    return max(threads * BLOCKS_AHEAD, AHEAD_BYTES // largest)


def _block_rows(target: Target) -> int:
    return max(1, BLOCK_WEIGHTS // target.columns)


def digest_of(plan: Layout, step: Step, out: Output) -> str:
    """What `Made` has of a step that was done earlier, from what is in the file."""
    found = hashlib.sha256()
    for job in _jobs((step,)):
        data = out.read(len(plan.header) + job.offset, job.bytes)
        found.update(hashlib.sha256(data).digest())
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class _Job:
    """Some rows of one matrix: those of an expert share its importance."""

    step: Step
    first: int
    last: int

    @property
    def is_last(self) -> bool:
        return self.last == self.step.last

    @property
    def offset(self) -> int:
        """Where its rows go, in bytes from the first tensor."""
        return self.step.tensor.offset + self.first * self._row_bytes

    @property
    def bytes(self) -> int:
        return (self.last - self.first) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return row_bytes(self.step.tensor.type, self.step.tensor.target.columns)


@dataclass(frozen=True, slots=True)
class _Block:
    """Quantized rows, shape (rows, bytes of a row), and their sha256 where it is wanted."""

    data: NDArray[np.uint8]
    sha256: bytes


def _in_order(
    pool: ThreadPoolExecutor, todo: Sequence[Step], inputs: Inputs, window: int, is_hashed: bool
) -> Iterator[tuple[_Job, _Block] | None]:
    """Finished blocks in the order of the steps, with `window` of them being made at any time."""
    waiting: deque[tuple[_Job, Future[_Block]]] = deque()
    for job in _jobs(todo):
        waiting.append((job, pool.submit(_made, job, inputs, is_hashed)))
        if len(waiting) == window:
            yield from _patiently(*waiting.popleft())
    while waiting:
        yield from _patiently(*waiting.popleft())


def _patiently(job: _Job, future: Future[_Block]) -> Iterator[tuple[_Job, _Block] | None]:
    while True:
        try:
            block = future.result(PATIENCE_SECONDS)
        except TimeoutError:
            if future.done():  # it was raised in there
                raise
            yield None
        else:
            yield job, block
            return


def _jobs(todo: Sequence[Step]) -> Iterator[_Job]:
    for step in todo:
        target = step.tensor.target
        length, first = _block_rows(target), step.first
        while first < step.last:
            matrix_end = (first // target.matrix_rows + 1) * target.matrix_rows
            last = min(first + length, matrix_end, step.last)
            yield _Job(step, first, last)
            first = last


def _made(job: _Job, inputs: Inputs, is_hashed: bool) -> _Block:
    data = np.ascontiguousarray(_quantized(job, inputs))
    return _Block(data, hashlib.sha256(data.data).digest() if is_hashed else b"")


def _quantized(job: _Job, inputs: Inputs) -> NDArray[np.uint8]:
    tensor, rows = job.step.tensor, np.arange(job.first, job.last)
    importance = tensor.importance
    if importance is not None:
        importance = importance[job.first // tensor.target.matrix_rows]
    try:
        if (found := raw(tensor.weights, inputs, rows)) is not None:
            return quantize_stored(tensor.type, found.stored, found.dtype, found.order, importance)
        floats = tensor.weights.read(inputs, rows)
        if isinstance(tensor.weights, Packed) and tensor.weights.type == tensor.type and np.isfinite(floats).all():
            return tensor.weights.packed(inputs, rows)  # to quantize again what has the type already would only lose
        return quantize(tensor.type, floats, importance)
    except LocalchatError as error:
        raise LocalchatError(f"{tensor.target.name}: {error}", error.hint) from error
