"""Where the time of a conversion goes: seconds of each kind of work, and the limit that the page cache sets."""

from __future__ import annotations

import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench_rows import Row

from localchat.convert import write as writing
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.inputs import MappedInputs
from localchat.convert.layout import layout
from localchat.convert.output import Output
from localchat.convert.proof.prove import prove

COLUMNS = ("seconds", "of all")
READ_BYTES = 1 << 20

# What the thread that hashes and writes does; `quantize` is that of all others together.
WORK: tuple[tuple[str, type, str], ...] = (
    ("hash what was read", MappedInputs, "release"),
    ("write and hash the result", Output, "write"),
    ("wait for the quantizers", Future, "result"),
)


def stage_rows(checkpoint: Path, quant: str, threads: int) -> Iterator[Row]:
    """One conversion in this process, each part of it by the clock, and the rates of the whole beside the limit."""
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, owner, method in WORK:
            stack.enter_context(_timed(seconds, name, owner, method))
        stack.enter_context(_timed(seconds, "quantize, all threads together", writing, "_quantized"))
        with _clock(seconds, "open the checkpoint"):
            opened = read_checkpoint(checkpoint, "model")
            plan = layout(opened, quant)
        out, began, used = Path(folder) / "model.gguf", time.perf_counter(), _processor_seconds()
        for _ in writing.write(plan, out, threads):
            pass
        whole, busy = time.perf_counter() - began, _processor_seconds() - used
        with _clock(seconds, "prove the result"):
            for _ in prove(opened, plan, out):
                pass
    for name, spent in seconds.items():
        yield Row(f"convert: {name}", "s, share of the stream", spent, spent / whole, columns=COLUMNS)
    yield Row("convert: the stream, from open to closed", "s, cores busy", whole, busy / whole, columns=COLUMNS)
    rate = plan.source_bytes / whole / 1e6
    yield Row("convert: bytes read, beside the page cache", "MB/s", rate, _page_cache(opened.files), columns=COLUMNS)


def _page_cache(files: tuple[Path, ...]) -> float:
    """The rate in MB/s at which the checkpoint can be read as it lies, once more, by one thread."""
    began, buffer, count = time.perf_counter(), bytearray(READ_BYTES), 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(buffer):
                count += size
    return count / (time.perf_counter() - began) / 1e6


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - began


@contextmanager
def _timed(seconds: dict[str, float], name: str, owner: Any, method: str) -> Iterator[None]:
    """Every call of this function is measured meanwhile; calls on several threads add up."""
    original = getattr(owner, method)
    setattr(owner, method, _measuring(seconds, name, original))
    yield
    setattr(owner, method, original)


def _measuring(seconds: dict[str, float], name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def measured(*arguments: Any, **named: Any) -> Any:
        with _clock(seconds, name):
            return original(*arguments, **named)

    return measured
