"""How far a row may be from its source: near enough for every type, and never so far that another row would pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray
from proving import finished, opened, rows_of, written
from tiny import CONFIG, checkpoint, weights

from localchat.convert.imatrix import Imatrix
from localchat.convert.layout import layout
from localchat.convert.proof.rows import ALLOWED, Checking, Files, check_finite, check_rows, sampled
from localchat.convert.recipe import BASE, NEED_IMPORTANCE
from localchat.convert.write import write
from localchat.gguf_file import read_header
from localchat.library import Check
from localchat.llama.quantize import dequantize, quantize

Floats = NDArray[np.float32]
WIDE = {**CONFIG, "hidden_size": 256, "intermediate_size": 256, "vocab_size": 9}
random = np.random.default_rng(3)
KINDS: dict[str, Callable[[], Floats]] = {
    "normal": lambda: random.standard_normal((8, 1024), np.float32) * np.float32(0.02),
    "uniform": lambda: random.uniform(-0.1, 0.1, (8, 1024)).astype(np.float32),
    "large": lambda: random.standard_normal((8, 1024), np.float32) * np.float32(30),
}


@pytest.mark.parametrize("rows", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("kind", sorted(ALLOWED.keys() - {"MXFP4", "IQ2_S", "IQ2_XS"}))  # test_imatrix.py has these
def test_rows_lose_less_than_is_allowed_and_other_rows_are_much_farther_away(
    kind: str, rows: Callable[[], Floats]
) -> None:
    is_near_its_source_alone(kind, rows)


def is_near_its_source_alone(kind: str, rows: Callable[[], Floats]) -> None:
    source, type_ = rows(), GGMLQuantizationType[kind]
    guide = np.ones(1024, np.float32) if type_ in NEED_IMPORTANCE else None
    found = dequantize(type_, quantize(type_, source, guide), 1024)
    lengths = np.linalg.norm(source, axis=1)
    own, others = (np.linalg.norm(found - there, axis=1) / lengths for there in (source, np.roll(source, 1, axis=0)))
    assert own.max() <= ALLOWED[kind]
    assert others.min() > 1.5 * ALLOWED[kind]


ROWS = {
    "zero": np.zeros(256), "minus zero": np.full(256, -0.0), "constant": np.full(256, 0.013),
    "tiny": np.full(256, 1e-9), "below half precision": np.linspace(-3e-8, 3e-8, 256), "one spike": np.eye(1, 256)[0],
    "a spike among tiny ones": np.where(np.arange(256) == 7, 5.0, 1e-6),
    "half zero": np.where(np.arange(256) % 64 < 32, 0.0, 0.02),
}  # fmt: skip


# ggml fills the tables of these for seconds in each process; TQ1_0 is, like IQ1, a type without an allowance.
@pytest.mark.parametrize("quant", sorted(BASE.keys() - {"IQ1_S", "IQ1_M", "IQ2_S", "IQ2_M", "IQ2_XS"}))
def test_rows_that_quantizers_trip_over_are_still_those_of_the_source(quant: str, tmp_path: Path) -> None:
    tensors = weights(WIDE)
    for place, row in enumerate(ROWS.values()):
        tensors["model.layers.0.mlp.down_proj.weight"][place] = row
        tensors["lm_head.weight"][place] = row
    tensors["lm_head.weight"][-1] = tensors["model.layers.0.mlp.down_proj.weight"][-1] = ROWS["a spike among tiny ones"]
    assert {check.verdict for check in checked(tmp_path, quant, tensors)} == {"passed"}


def checked(folder: Path, quant: str, tensors: dict[str, Floats]) -> tuple[Check, ...]:
    """The checks of a model file made with an importance matrix that makes differences."""
    made = opened(checkpoint(folder / "checkpoint", WIDE, tensors=tensors))
    values = {target.name: np.linspace(0.1, 5, target.columns, dtype=np.float32) for target, _ in made.tensors}
    plan, path = layout(made, quant, Imatrix(values, {})), folder / "m.gguf"
    for _ in write(plan, path, threads=2):
        pass
    return finished(check_rows(plan.tensors, Files(plan.inputs), read_header(path)))


def test_a_row_of_zeros_that_is_none_in_the_file_is_noticed(tmp_path: Path) -> None:
    tensors = weights(WIDE)
    tensors["model.layers.0.mlp.down_proj.weight"][0] = 0
    made = opened(checkpoint(tmp_path / "checkpoint", WIDE, tensors=tensors))
    path = written(made, tmp_path / "m.gguf")
    rows = rows_of(path, "blk.0.ffn_down.weight")
    rows[0] = rows[1]
    plan = layout(made, "Q8_0")
    check = finished(check_rows(plan.tensors, Files(plan.inputs), read_header(path)))[1]
    assert (check.verdict, check.detail[:30]) == ("failed", "row 0 of blk.0.ffn_down.weight")


def test_a_type_that_is_not_in_the_table_must_have_the_bytes_of_the_quantizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ALLOWED, "Q8_0")
    made = opened(checkpoint(tmp_path / "checkpoint", WIDE))
    path, plan = written(made, tmp_path / "m.gguf"), layout(made, "Q8_0")
    assert not finished(check_rows(plan.tensors, Files(plan.inputs), read_header(path)))[1].is_failed
    rows_of(path, "blk.0.ffn_up.weight")[0, 2] ^= 1
    assert finished(check_rows(plan.tensors, Files(plan.inputs), read_header(path)))[1].is_failed


def test_the_account_names_the_worst_row(tmp_path: Path) -> None:
    detail = checked(tmp_path, "Q4_0", weights(WIDE))[1].detail
    assert "rows of 12 tensors are those of the source; worst error 0." in detail
    assert "allows 0." in detail


def test_first_and_last_row_of_every_expert_are_looked_at_and_always_the_same_ones() -> None:
    rows = sampled("blk.0.ffn_up_exps.weight", 4, 100)
    assert {row for expert in range(4) for row in (expert * 100, expert * 100 + 99)} <= set(rows.tolist())
    assert len(rows) > 12
    assert rows.tolist() == sorted(set(sampled("blk.0.ffn_up_exps.weight", 4, 100).tolist()))
    assert rows.tolist() != sampled("blk.1.ffn_up_exps.weight", 4, 100).tolist()
    assert sampled("norm", 1, 1).tolist() == [0]


def test_without_a_source_weights_are_only_looked_at(chatml_file: Path, tmp_path: Path) -> None:
    model = read_header(chatml_file)
    events = list(check_finite(model))
    assert len(events) == len(model.tensors)
    assert events[-1] == Checking(events[-1].item, events[-1].total_bytes, events[-1].total_bytes)
    (tmp_path / "m.gguf").write_bytes(chatml_file.read_bytes())
    rows_of(tmp_path / "m.gguf", "output.weight")[0, :2] = (0x00, 0x7C)  # half precision infinity
    (check,) = finished(check_finite(read_header(tmp_path / "m.gguf")))
    assert check.is_failed
    assert "output.weight" in check.detail
