"""Why a plan is as it is: the sentences of each situation, word for word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning import GIB, MACHINES, MISTRAL, MIXTRAL, NEMO, machine, made_up, planned

from localchat.plan.hardware import UnusedGpu
from localchat.plan.wish import Wish
from localchat.plan.works import Subject


@pytest.fixture(autouse=True)
def no_dry_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.make.find_works", made_up())


def one_type(quant: str) -> Subject:
    """The model as it is when it is a file already."""
    return replace(MISTRAL, candidates=tuple(one for one in MISTRAL.candidates if one.quant == quant))


BUILD = (
    'is there, but this llama.cpp was not built for it; run: CMAKE_ARGS="-DGGML_VULKAN=ON" python -m pip install '
    "--force-reinstall --no-cache-dir --no-deps llama-cpp-python==0.3.36"
)
LOSS = "loses more of the model's quality than types from Q4_K_M up"
SITUATIONS: dict[str, tuple[Subject, str, Wish, list[str]]] = {
    "there is room for more": (MISTRAL, "nvidia-24gb", Wish(), [
        "Q8_0 with 8,192 tokens of context is the best that stays in the memory of CUDA0: 8.2 GiB of the 22.4 GiB that "
        "can be used",
        "a context of up to about 32,768 tokens would fit as well: --context 32768",
    ]),
    "a better type does not fit": (MISTRAL, "nvidia-8gb", Wish(), [
        "Q6_K with 8,192 tokens of context is the best that stays in the memory of CUDA0: 6.6 GiB of the 6.6 GiB that "
        "can be used",
        "Q8_0 would need 1.6 GiB more",
    ]),
    "there is nothing to choose from": (one_type("Q8_0"), "nvidia-12gb", Wish(), [
        "Q8_0 with 8,192 tokens of context fits into the memory of CUDA0: 8.2 GiB of the 10.6 GiB that can be used",
        "a context of up to about 25,600 tokens would fit as well: --context 25600",
    ]),
    "much was given up": (NEMO, "nvidia-8gb", Wish(), [
        "IQ4_XS with 4,096 tokens of context is the best that stays in the memory of CUDA0: 6.4 GiB of the 6.6 GiB "
        "that can be used",
        "Q4_K_S would need 305 MiB more",
        f"IQ4_XS {LOSS}",
        "the KV cache is kept as q8_0: as f16 it would need 300 MiB more",
        "the context is 4,096 tokens: 8,192 would need 340 MiB more",
    ]),
    "a GPU is idle": (MISTRAL, "laptop-8gb", Wish(), [
        "Q3_K_M with 4,096 tokens of context is the best that stays in memory: 4.0 GiB of the 4.0 GiB that can be used",
        "IQ4_XS would need 406 MiB more",
        f"Q3_K_M {LOSS}",
        "the context is 4,096 tokens: 8,192 would need 512 MiB more",
        f"Intel GPU 0x5917 {BUILD}",
    ]),
    "experts stay on the host": (MIXTRAL, "nvidia-12gb", Wish(), [
        "Q4_K_M with 8,192 tokens of context is too large for CUDA0: the experts of 22 of 32 layers stay in main memory"
    ]),
    "layers stay on the host": (NEMO, "4 GB NVIDIA", Wish(), [
        "Q4_K_M with 8,192 tokens of context is too large for CUDA0: 15 of 41 layers run on CUDA0, the others on the "
        "CPU"
    ]),
    "two GPUs": (NEMO, "12 GB and 6 GB", Wish(), [
        "Q8_0 with 8,192 tokens of context is the best that stays in the memory of CUDA0 and CUDA1: 12.9 GiB of the "
        "16.4 GiB that can be used",
        "a context of up to about 27,648 tokens would fit as well: --context 27648",
    ]),
    "a GPU without any room": (MISTRAL, "nvidia-8gb", Wish(gpu_memory_bytes=1), [
        "Q8_0 with 8,192 tokens of context is the best that stays in memory: 8.4 GiB of the 22.7 GiB that can be used; "
        "no layer fits into GPU memory, so the CPU does all",
        "a context of up to about 32,768 tokens would fit as well: --context 32768",
    ]),
    "shared memory": (MISTRAL, "mac-16gb", Wish(), [
        "Q8_0 with 8,192 tokens of context is the best that stays in the memory of MTL0: 8.2 GiB of the 8.7 GiB that "
        "can be used",
    ]),
    "a slow machine": (MISTRAL, "server-2core", Wish(), [
        "Q8_0 with 8,192 tokens of context is the best that stays in memory: 8.4 GiB of the 21.5 GiB that can be used",
        "a context of up to about 32,768 tokens would fit as well: --context 32768",
        "about 2.6 tokens a second are expected, slower than most people read; --goal speed favors rate",
    ]),
    "speed on a slow machine": (MISTRAL, "server-2core", Wish(goal="speed"), [
        "Q4_K_M with 8,192 tokens of context is the best of the quick types that stays in memory: 5.3 GiB of the 21.5 "
        "GiB that can be used",
        "what was asked for costs Q4_K_M instead of Q8_0",
        "a context of up to about 32,768 tokens would fit as well: --context 32768",
        "about 4.6 tokens a second are expected, slower than most people read",
    ]),
    "the longest context": (MISTRAL, "nvidia-24gb", Wish(goal="context"), [
        "Q8_0 with 32,768 tokens of context is the longest context that stays in the memory of CUDA0: 11.2 GiB of the "
        "22.4 GiB that can be used",
        "what was asked for costs nothing",
    ]),
    "two wishes": (MISTRAL, "nvidia-8gb", Wish(context=1024, quant="Q4_K_M"), [
        "Q4_K_M with 1,024 tokens of context fits into the memory of CUDA0: 4.2 GiB of the 6.6 GiB that can be used",
        "what was asked for costs Q4_K_M instead of Q6_K, 1,024 instead of 8,192 tokens of context",
    ]),
    "more quality than fits": (MIXTRAL, "nvidia-24gb", Wish(quant="Q4_K_M"), [
        "Q4_K_M with 8,192 tokens of context is too large for CUDA0: the experts of 7 of 32 layers stay in main memory",
        "what was asked for costs running partly on the CPU instead of on the GPU alone, about 29 instead of 110 "
        "tokens a second",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_sentences_of_a_situation(name: str) -> None:
    what, on, wish, sentences = SITUATIONS[name]
    assert list(planned(what, MACHINES[on], wish).reasons) == sentences


def test_no_rate_is_named_that_is_not_known() -> None:
    hardware = machine(16, 12, screen=True)
    for wish in (Wish(), Wish(quant="Q4_K_M")):
        found = planned(MISTRAL, hardware, wish)
        assert found.tokens_per_second is None
        assert not any("second" in reason for reason in found.reasons)


def test_a_wish_that_nothing_can_be_compared_with_costs_nothing_that_is_known() -> None:
    """Without the wish nothing would fit: a size of context below the usual ones is what makes it possible."""
    hardware = machine(8, 3.3)
    found = planned(one_type("Q2_K"), hardware, Wish(context=64))
    assert not any("asked for" in reason for reason in found.reasons)


def test_a_user_who_allows_less_memory_is_told_of_what_he_allows() -> None:
    found = planned(MISTRAL, MACHINES["nvidia-24gb"], Wish(gpu_memory_bytes=7 * GIB))
    assert "of the 7.0 GiB that can be used" in found.reasons[0]


def test_every_idle_gpu_has_its_command() -> None:
    idle = (UnusedGpu("RTX", "make it so"), UnusedGpu("Arc", "and this"))
    found = planned(MISTRAL, replace(machine(16, 12), unused_gpus=idle))
    assert found.reasons[-2:] == (
        "RTX is there, but this llama.cpp was not built for it; run: make it so",
        "Arc is there, but this llama.cpp was not built for it; run: and this",
    )
