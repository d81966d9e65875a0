"""What llama.cpp says that it would take for a header is what it takes for the model."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from real_load import real_loads
from tiny import CONFIG, checkpoint, refused

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.config import parse_config
from localchat.convert.layout import layout
from localchat.convert.sketch import sketched
from localchat.convert.write import write
from localchat.gguf_file import read_header
from localchat.llama.dry_run import Case, dry_run
from localchat.llama.placement import Placement, Share
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.layout import kv_bytes

DATA = Path(__file__).parent / "data"
BATCH = 512
PLACEMENTS = [
    Placement(context, 1, BATCH, kv_type, is_mapped=False)
    for context, kv_type in product((256, 1000, 4096), ("f16", "q8_0"))
]
ROUNDING = 1 << 14  # llama.cpp's log has two digits behind the MiB


def made(folder: Path, quant: str, path: Path) -> Path:
    """The checkpoint as a model file."""
    for _ in write(layout(read_checkpoint(folder, "model"), quant), path, threads=1):
        pass
    return path


@pytest.mark.parametrize(
    ("name", "quant"), [("chatml", "Q8_0"), ("chatml", "Q4_K_M"), ("mixtral-tiny", "Q8_0"), ("zephyr-bin", "F16")]
)
def test_a_dry_run_of_a_header_says_what_a_real_load_takes(name: str, quant: str, tmp_path: Path) -> None:
    whole = made(DATA / name, quant, tmp_path / "whole.gguf")
    shape, parts = shape_of(read_header(whole)), candidate_of(read_header(whole))
    config = parse_config(json.loads((DATA / name / "config.json").read_text()))
    with sketched(replace(config, vocabulary=shape.vocabulary), quant) as path:
        predicted = dry_run([Case(path, placement) for placement in PLACEMENTS])
    from_file = dry_run([Case(whole, placement) for placement in PLACEMENTS])
    actual = real_loads([Case(whole, placement) for placement in PLACEMENTS])
    assert [work.host_bytes for work in predicted] == [work.host_bytes for work in from_file]
    for placement, work, (host,) in zip(PLACEMENTS, predicted, actual, strict=True):
        assert work.devices_bytes == {}
        assert abs(work.host_bytes - host.compute_bytes) <= ROUNDING
        kv = shape.layers * kv_bytes(shape, placement.context, placement.kv_type)
        assert abs(kv - host.kv_bytes) <= ROUNDING
        assert abs(parts.weights_bytes - host.weights_bytes) <= ROUNDING * (1 + work.copies_weights)


def test_a_longer_context_and_a_larger_model_take_more(tmp_path: Path) -> None:
    small = made(checkpoint(tmp_path / "small"), "F16", tmp_path / "small.gguf")
    large = made(DATA / "chatml", "F16", tmp_path / "large.gguf")
    short, long = PLACEMENTS[0], PLACEMENTS[-2]
    found = dry_run([Case(path, placement) for path in (small, large) for placement in (short, long)])
    small_short, small_long, large_short, large_long = (work.host_bytes for work in found)
    assert small_short < small_long < large_long
    assert small_short < large_short < large_long


def test_works_come_in_the_order_of_the_cases(tmp_path: Path) -> None:
    """Cases of one model that do not follow each other are loaded twice, and answered in their places all the same."""
    small = made(checkpoint(tmp_path / "small"), "F16", tmp_path / "small.gguf")
    large = made(DATA / "chatml", "F16", tmp_path / "large.gguf")
    mixed = dry_run([Case(path, PLACEMENTS[0]) for path in (large, small, large)])
    assert mixed[0] == mixed[2] != mixed[1]


def test_nothing_asked_is_nothing_answered() -> None:
    assert dry_run([]) == []


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(1000), b"\x00" * 100])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with refused("could not load bad.gguf"):
        dry_run([Case(tmp_path / "bad.gguf", PLACEMENTS[0])])


def test_a_model_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with refused("could not load"):
        dry_run([Case(tmp_path / "gone.gguf", PLACEMENTS[0])])


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    small = made(checkpoint(tmp_path / "small"), "F16", tmp_path / "small.gguf")
    with refused("CUDA7"):
        dry_run([Case(small, replace(PLACEMENTS[0], shares=(Share("CUDA7", 1),)))])


def test_a_cache_that_the_heads_do_not_allow_is_refused(tmp_path: Path) -> None:
    """Such a plan is never made; were it made, llama.cpp must not take the program along."""
    odd = {**CONFIG, "head_dim": 40}
    with sketched(parse_config(odd), "F16") as path, refused():
        dry_run([Case(path, replace(PLACEMENTS[0], kv_type="q8_0"))])
    assert not list(tmp_path.iterdir())
