"""What a user may wish for, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning import GIB, MACHINES, MIB, MISTRAL, NEMO, SMALL, Summary, machine, made_up, planned, summary
from tiny import refused

from localchat.errors import LocalchatError
from localchat.plan.rungs import GOOD
from localchat.plan.shape import candidate
from localchat.plan.wish import Wish

ONE = {"CUDA0": 33}


@pytest.fixture(autouse=True)
def no_dry_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.make.find_works", made_up())


@pytest.mark.parametrize(
    ("wish", "wanted", "cost"),
    [
        (Wish(quant="Q4_K_M"), ("Q4_K_M", 8192, "f16", "gpu", ONE), "costs Q4_K_M instead of Q6_K"),
        (Wish(quant="Q2_K"), ("Q2_K", 8192, "f16", "gpu", ONE), "costs Q2_K instead of Q6_K"),
        (Wish(context=1024), ("Q6_K", 1024, "f16", "gpu", ONE), "costs 1,024 instead of 8,192 tokens of context"),
        (Wish(context=16384), ("Q4_K_M", 16384, "f16", "gpu", ONE), "costs Q4_K_M instead of Q6_K"),
        (
            Wish(context=32768), ("Q4_K_M", 32768, "q8_0", "gpu", ONE),
            "costs Q4_K_M instead of Q6_K, a q8_0 KV cache instead of f16",
        ),
        (Wish(size_bytes=int(4.5 * GIB)), ("Q4_K_M", 8192, "f16", "gpu", ONE), "costs Q4_K_M instead of Q6_K"),
        (Wish(size_bytes=3 * GIB), ("Q2_K", 8192, "f16", "gpu", ONE), "costs Q2_K instead of Q6_K"),
        (
            Wish(quant="Q8_0"), ("Q8_0", 8192, "f16", "partial", {"CUDA0": 26}),
            "costs running partly on the CPU instead of on the GPU alone, about 18 instead of 37 tokens a second",
        ),
        (
            Wish(goal="quality"), ("Q8_0", 8192, "f16", "partial", {"CUDA0": 26}),
            "costs running partly on the CPU instead of on the GPU alone, about 18 instead of 37 tokens a second",
        ),
        (Wish(goal="speed"), ("Q4_K_M", 8192, "f16", "gpu", ONE), "costs Q4_K_M instead of Q6_K"),
        (
            Wish(goal="context"), ("Q4_K_M", 32768, "q8_0", "gpu", ONE),
            "costs Q4_K_M instead of Q6_K, a q8_0 KV cache instead of f16",
        ),
        (Wish(quant="Q6_K"), ("Q6_K", 8192, "f16", "gpu", ONE), "costs nothing"),
        (Wish(goal="quality", quant="Q6_K"), ("Q6_K", 8192, "f16", "gpu", ONE), "costs nothing"),
    ],
)  # fmt: skip
def test_a_wish_is_obeyed_on_an_8_gb_gpu_and_its_cost_is_said(wish: Wish, wanted: Summary, cost: str) -> None:
    found = planned(MISTRAL, MACHINES["nvidia-8gb"], wish)
    assert summary(found) == wanted
    assert f"what was asked for {cost}" in found.reasons


def test_who_asks_for_nothing_is_told_of_no_cost() -> None:
    for wish in (Wish(), Wish(threads=3), Wish(gpu_memory_bytes=6 * GIB), Wish(memory_bytes=20 * GIB)):
        found = planned(MISTRAL, MACHINES["nvidia-8gb"], wish)
        assert not any("asked for" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (Wish(gpu_memory_bytes=5 * GIB), ("Q4_K_M", 8192, "q8_0", "gpu", ONE)),
        # with no room for a single layer the machine is like one without a GPU
        (Wish(gpu_memory_bytes=1), ("Q8_0", 8192, "f16", "memory", {})),
        (Wish(gpu_memory_bytes=1, goal="quality"), ("Q8_0", 8192, "f16", "memory", {})),
        (Wish(gpu_memory_bytes=1, goal="speed"), ("Q4_K_M", 8192, "f16", "memory", {})),
        (Wish(gpu_memory_bytes=1, goal="context"), ("Q8_0", 32768, "f16", "memory", {})),
        (Wish(gpu_memory_bytes=1, memory_bytes=5 * GIB), ("Q4_K_M", 8192, "q8_0", "memory", {})),
        (Wish(gpu_memory_bytes=1 << 50, memory_bytes=1 << 50), ("Q6_K", 8192, "f16", "gpu", ONE)),
    ],
)
def test_no_more_memory_is_used_than_the_user_allows(wish: Wish, wanted: Summary) -> None:
    assert summary(planned(MISTRAL, MACHINES["nvidia-8gb"], wish)) == wanted


def test_the_whole_context_of_a_model_is_had_where_that_is_the_goal() -> None:
    assert planned(NEMO, machine(128, 120), Wish(goal="context")).context == 131072
    assert planned(NEMO, MACHINES["nvidia-24gb"], Wish(goal="context")).context == 131072
    assert planned(NEMO, MACHINES["nvidia-12gb"], Wish(goal="context")).context == 65536


def test_more_threads_are_a_wish_too() -> None:
    assert planned(SMALL, MACHINES["laptop-8gb"], Wish(threads=13)).threads == 13


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(context=32769), ["32,768", "32,769"]),
        (Wish(quant="Q4_0"), ["Q4_0"]),
        (Wish(size_bytes=GIB), ["1.0 GiB", "no type"]),
        (Wish(quant="Q8_0", size_bytes=4 * GIB), ["4.0 GiB", "Q8_0"]),
    ],
)
def test_a_wish_that_cannot_be_is_refused(wish: Wish, words: list[str]) -> None:
    with refused(*words):
        planned(MISTRAL, MACHINES["nvidia-24gb"], wish)


def test_a_size_that_nothing_fits_names_the_smallest_there_is() -> None:
    with pytest.raises(LocalchatError) as caught:
        planned(MISTRAL, MACHINES["nvidia-24gb"], Wish(size_bytes=GIB))
    assert caught.value.hint == "the smallest is Q2_K with 2.5 GiB"


def test_a_context_that_does_not_fit_is_refused_and_not_made_shorter() -> None:
    with refused("needs at least", "Q2_K", "32,768"):
        planned(MISTRAL, MACHINES["laptop-8gb"], Wish(context=32768))


def test_a_model_file_of_any_type_is_planned_for_as_it_is() -> None:
    names = ["token_embd.weight", "output.weight", *(f"blk.{number}.attn_q.weight" for number in range(32))]
    odd = candidate("IQ1_M", 32, [(name, "IQ1_M", MIB) for name in names])
    found = planned(replace(MISTRAL, candidates=(odd,)), MACHINES["laptop-8gb"])
    assert found.quant == "IQ1_M"
    for goal in ("quality", "speed", "context"):
        assert planned(replace(MISTRAL, candidates=(odd,)), MACHINES["laptop-8gb"], Wish(goal=goal)).quant == "IQ1_M"


def test_speed_takes_fewer_bits_though_more_would_fit() -> None:
    found = planned(MISTRAL, MACHINES["nvidia-24gb"], Wish(goal="speed"))
    assert found.quant == GOOD[-1]
    assert "best of the quick types" in found.reasons[0]
    assert not any(" would need " in reason for reason in found.reasons)
