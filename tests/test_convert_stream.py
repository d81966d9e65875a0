"""Conversion as a stream: who closes it stops its threads, memory stays small, the result does not depend on timing."""

from __future__ import annotations

import hashlib
import itertools
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONFIG, checkpoint, refused, shapes, shard, weights

from localchat.convert import write as writer
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import Layout, layout
from localchat.convert.write import BLOCK_WEIGHTS, Finished, Written, write

BLOCK_BYTES = 4 * BLOCK_WEIGHTS
# Embedding and output of twenty blocks each beside which the rest does not count.
LARGE = {**CONFIG, "hidden_size": 256, "intermediate_size": 256, "vocab_size": 20 * BLOCK_WEIGHTS // 256}


def quantizers() -> list[str]:
    """Threads of conversions that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("quantize")]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A made-up checkpoint more than thirty times larger than a block."""
    folder = checkpoint(tmp_path_factory.mktemp("large"), LARGE, tensors={})
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes(LARGE).items()}
    (folder / "model.safetensors").write_bytes(shard(zeros))
    plan = layout(read_checkpoint(folder, "large"), "Q8_0")
    assert plan.source_bytes > 30 * BLOCK_BYTES
    return plan


def test_memory_stays_at_a_few_blocks(large: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the results that may be ahead of the thread that writes."""
    monkeypatch.setattr(writer, "AHEAD_BYTES", BLOCK_BYTES)
    tracemalloc.start()
    try:
        for _ in write(large, tmp_path / "model.gguf", threads=1):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * BLOCK_BYTES
    assert (tmp_path / "model.gguf").stat().st_size == large.file_bytes > 8 * BLOCK_BYTES


def test_who_closes_the_stream_stops_its_threads(large: Layout, tmp_path: Path) -> None:
    events = write(large, tmp_path / "model.gguf", threads=2)
    with closing(events):
        assert isinstance(next(events), Written)
        assert quantizers()
    assert quantizers() == []
    assert (tmp_path / "model.gguf").stat().st_size < large.file_bytes


def test_no_thread_is_left_when_all_is_written(large: Layout, tmp_path: Path) -> None:
    with closing(write(large, tmp_path / "model.gguf", threads=2)) as events:
        for event in events:
            if isinstance(event, Finished):
                # The file is closed by now, so that a reader of the event may check it.
                assert hashlib.sha256((tmp_path / "model.gguf").read_bytes()).hexdigest() == event.sha256
                assert quantizers() == []
    assert isinstance(event, Finished)


@pytest.mark.parametrize("file", ["Q8_0", "F32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"]
)
def test_a_weight_that_is_not_finite_stops_it(name: str, dtype: str, value: float, file: str, tmp_path: Path) -> None:
    source = weights()
    source[name].reshape(-1)[37] = value
    plan = layout(read_checkpoint(checkpoint(tmp_path / "checkpoint", dtype=dtype, tensors=source), "x"), file)
    with refused("not a finite number"):
        list(write(plan, tmp_path / "model.gguf", threads=2))
    assert quantizers() == []


def test_a_disk_that_is_full_stops_the_threads_too(large: Layout, tmp_path: Path) -> None:
    full = tmp_path / "model.gguf"
    full.symlink_to("/dev/full")  # a link, so that nothing could ever take the place of the device itself
    with pytest.raises(OSError, match="No space left"):
        list(write(large, full, threads=2))
    assert quantizers() == []


def test_every_thread_has_a_block_at_the_same_time(
    chatml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantized, calls, together = writer._quantized, itertools.count(), threading.Barrier(3, timeout=60)

    def met(*arguments: Any) -> Any:
        if next(calls) < together.parties:
            together.wait()  # breaks if the others never come
        return quantized(*arguments)

    monkeypatch.setattr(writer, "_quantized", met)
    *_, last = write(layout(read_checkpoint(chatml, "x"), "Q8_0"), tmp_path / "model.gguf", threads=3)
    assert isinstance(last, Finished)


def test_the_file_does_not_depend_on_the_number_of_threads(chatml: Path, tmp_path: Path) -> None:
    plan = layout(read_checkpoint(chatml, "x"), "Q4_K_M")
    files = []
    for threads in (1, 2, 5):
        list(write(plan, tmp_path / "model.gguf", threads))
        files.append((tmp_path / "model.gguf").read_bytes())
    assert files[0] == files[1] == files[2]
