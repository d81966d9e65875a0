"""The stream: rows out of the checkpoint, through the quantizer, into the model file, each weight read once.

Tensors are written in the order in which they lie in the checkpoint, so that a disk reads and writes forward only and
the hashes of every input and of the result are taken on the way. Blocks of rows are quantized by a thread for each
core (the C code runs without the interpreter lock); this thread hashes and writes. At most a few blocks are in memory.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.header import TensorEntry, aligned, encode
from localchat.convert.metadata import metadata
from localchat.convert.names import Target, matched, rotary_order, targets
from localchat.convert.recipe import tensor_type
from localchat.convert.tensors import TensorRef
from localchat.llama.quantize import prepare, quantize, row_bytes, to_floats

BLOCK_WEIGHTS = 1 << 18  # 1 MiB of float32: source, floats and result of a block stay in a core's own cache
BLOCKS_AHEAD = 4  # for each thread: enough that none waits, few enough that memory stays small
RAW = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the model file, where its weights come from, and where it goes."""

    target: Target
    ref: TensorRef
    type: GGMLQuantizationType
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A model file before it is written: every byte has its place."""

    header: bytes
    tensors: tuple[TensorPlan, ...]
    inputs: tuple[Path, ...]

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        last = self.tensors[-1]
        return len(self.header) + aligned(last.offset + last.bytes)

    @property
    def source_bytes(self) -> int:
        """Bytes of the checkpoint that are read."""
        return sum(plan.ref.end - plan.ref.start for plan in self.tensors)


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


def weights_bytes(targets_: Sequence[Target], types: Sequence[GGMLQuantizationType]) -> int:
    """Bytes of the tensor data, padding included."""
    return sum(
        aligned(row_bytes(kind, target.columns) * target.rows) for target, kind in zip(targets_, types, strict=True)
    )


def layout(checkpoint: Checkpoint, file: str) -> Layout:
    """Where every byte of a model file of the type `file` goes. Raises BadFile where tensors do not fit the config."""
    pairs = matched(targets(checkpoint.config), checkpoint.tensors)
    pairs.sort(key=lambda pair: (pair[1].file.name, pair[1].start))
    plans, offset = [], 0
    for target, ref in pairs:
        kind = tensor_type(file, target, checkpoint.config)
        count = row_bytes(kind, target.columns) * target.rows
        plans.append(TensorPlan(target, ref, kind, offset, count))
        offset = aligned(offset + count)
    entries = [TensorEntry(plan.target.name, plan.type, plan.target.shape, plan.offset) for plan in plans]
    inputs = sorted({ref.file for ref in checkpoint.tensors.values()})
    return Layout(encode(metadata(checkpoint, file), entries), tuple(plans), tuple(inputs))


def write(plan: Layout, path: Path, threads: int) -> Generator[Written | Finished]:
    """Write the model file at `path`. Close the iterator to stop; the unfinished file then stays.

    Raises LocalchatError where a weight is not finite, OSError where the disk is full.
    """
    prepare(sorted({tensor.type for tensor in plan.tensors}))
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads, "quantize")
        stack.callback(pool.shutdown, cancel_futures=True)
        inputs = {file: _Input(file) for file in plan.inputs}
        out = _Output(stack.enter_context(path.open("wb")))
        out.write(plan.header)
        done_bytes = 0
        blocks = _in_order(pool, plan.tensors, inputs, threads * BLOCKS_AHEAD)
        for tensor, block, is_last in blocks:
            out.write(block.data)
            if is_last:
                out.pad()
                inputs[tensor.ref.file].done_up_to(tensor.ref.end)
                done_bytes += tensor.ref.end - tensor.ref.start
                yield Written(tensor.target.name, done_bytes, plan.source_bytes)
        finished = Finished(out.sha256.hexdigest(), {file.name: inputs[file].digest() for file in plan.inputs})
    yield finished  # once the file is closed and can be read back


class _Input:
    """One mapped file of weights and the hash of its bytes so far."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self._map, np.uint8)
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def rows(self, tensor: TensorPlan) -> NDArray[Any]:
        """The tensor's weights as they lie: shape (rows, columns)."""
        raw = self.bytes[tensor.ref.start : tensor.ref.end].view(np.dtype(RAW[tensor.ref.dtype]))
        return raw.reshape(tensor.target.rows, tensor.target.columns)

    def done_up_to(self, end: int) -> None:
        """Hash what was not hashed yet, and let go of the pages, which would count as memory of this process."""
        self._sha256.update(self.bytes[self._hashed : end].data)
        self._hashed = max(self._hashed, end)
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, 0, self._hashed // mmap.PAGESIZE * mmap.PAGESIZE)

    def digest(self) -> str:
        self.done_up_to(len(self.bytes))
        return self._sha256.hexdigest()


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
    tensor: TensorPlan
    first: int
    last: int


def _in_order(
    pool: ThreadPoolExecutor, tensors: Sequence[TensorPlan], inputs: Mapping[Path, _Input], window: int
) -> Iterator[tuple[TensorPlan, NDArray[np.uint8], bool]]:
    """Finished blocks in the order of the file, with `window` of them being made at any time."""
    waiting: deque[tuple[_Job, Future[NDArray[np.uint8]]]] = deque()
    for job in _jobs(tensors):
        waiting.append((job, pool.submit(_quantized, job, inputs[job.tensor.ref.file])))
        if len(waiting) == window:
            yield _finished(*waiting.popleft())
    while waiting:
        yield _finished(*waiting.popleft())


def _finished(job: _Job, future: Future[NDArray[np.uint8]]) -> tuple[TensorPlan, NDArray[np.uint8], bool]:
    return job.tensor, future.result(), job.last == job.tensor.target.rows


def _jobs(tensors: Sequence[TensorPlan]) -> Iterator[_Job]:
    for tensor in tensors:
        rows, step = tensor.target.rows, max(1, BLOCK_WEIGHTS // tensor.target.columns)
        for first in range(0, rows, step):
            yield _Job(tensor, first, min(first + step, rows))


def _quantized(job: _Job, source: _Input) -> NDArray[np.uint8]:
    target, rows = job.tensor.target, source.rows(job.tensor)
    if target.rope_heads:
        rows = rows[rotary_order(target.rows, target.rope_heads)[job.first : job.last]]
    else:
        rows = rows[job.first : job.last]
    floats = np.empty(rows.shape, np.float32)
    to_floats(rows, job.tensor.ref.dtype, floats)
    return quantize(job.tensor.type, floats)
