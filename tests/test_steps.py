"""The order of a conversion, and what of its files must be there at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import Layout, layout
from localchat.convert.steps import Step, steps
from localchat.convert.tensors import TensorRef
from localchat.pull.segments import edges, peak_bytes, pieces

DATA = Path(__file__).parent / "data"
FILE = Path("file")


@pytest.fixture(params=["chatml", "zephyr-bin", "mixtral-tiny", "fp32-single"])
def plan(request: pytest.FixtureRequest) -> Layout:
    return layout(read_checkpoint(DATA / request.param, "x"), "Q4_K_M")


def test_every_row_is_made_once(plan: Layout) -> None:
    rows: dict[str, list[tuple[int, int]]] = {}
    for step in steps(plan):
        rows.setdefault(step.tensor.target.name, []).append((step.first, step.last))
    for tensor in plan.tensors:
        found = sorted(rows[tensor.target.name])
        assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
        assert found[-1][1] == tensor.target.rows


def test_nothing_is_released_that_is_still_read(plan: Layout) -> None:
    released: dict[Path, int] = {}
    for step in steps(plan):
        assert all(ref.start >= released.get(ref.file, 0) for ref in step.refs)
        for path, up_to in step.releases:
            place = path.stat().st_size if up_to is None else up_to
            assert place >= released.get(path, 0)
            released[path] = place
    assert all(released[path] == path.stat().st_size for path in released)


def test_weights_are_read_forward(plan: Layout) -> None:
    order = [max((plan.inputs.index(ref.file), ref.end) for ref in step.refs) for step in steps(plan) if step.refs]
    assert order == sorted(order)


def test_an_expert_is_a_step_of_its_own() -> None:
    found = steps(layout(read_checkpoint(DATA / "mixtral-tiny", "x"), "Q8_0"))
    gates = [step for step in found if step.tensor.target.name == "blk.0.ffn_gate_exps.weight"]
    assert len(gates) == gates[0].tensor.target.shape[0]
    assert all(len(step.refs) == 1 for step in gates)


def test_far_less_than_a_layer_is_needed_at_once() -> None:
    plan = layout(read_checkpoint(DATA / "mixtral-tiny", "x"), "Q8_0")
    found = steps(plan)
    largest = max(ref.end - ref.start for step in found for ref in step.refs)
    assert peak_bytes(found, {path: path.stat().st_size for path in plan.inputs}) <= 2 * largest


def ref(start: int, end: int) -> TensorRef:
    return TensorRef("t", "U8", (end - start,), FILE, start, end)


SPANS = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 99)), max_size=12)


@given(SPANS)
def test_segments_are_the_whole_file_and_no_tensor_is_cut(spans: list[tuple[int, int]]) -> None:
    refs = [ref(start, start + length) for start, length in spans]
    borders = edges(refs, 0, 1000)
    assert borders == sorted(set(borders))
    assert (borders[0], borders[-1]) == (0, 1000)
    for one in refs:
        before = max(place for place in borders if place <= one.start)
        after = min(place for place in borders if place >= one.end)
        assert not [place for place in borders if before < place < after], "it is in one segment"


@given(SPANS, st.integers(1, 400))
def test_pieces_are_the_whole_file_in_order(spans: list[tuple[int, int]], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("localchat.pull.segments.PIECE_BYTES", size)
        found = list(pieces(edges([ref(start, start + length) for start, length in spans], 0, 1000)))
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == 1000


def test_what_is_needed_at_once_is_from_the_first_that_is_still_needed_to_the_last_that_must_be_there() -> None:
    plan = layout(read_checkpoint(DATA / "chatml", "x"), "Q8_0")
    tensor = plan.tensors[0]
    todo = [Step(tensor, 0, 1, (ref(0, 10), ref(90, 100))), Step(tensor, 1, 2, (ref(50, 60), ref(100, 110)))]
    assert peak_bytes(todo, {FILE: 1000}) == 100
    assert peak_bytes(todo[1:], {FILE: 1000}) == 60
    assert peak_bytes([], {FILE: 1000}) == 0
