"""What is chosen for a model on a machine: a table of machines, wishes, and the order in which things are given up."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from planning import (
    GIB,
    LITTLE,
    MACHINES,
    MIB,
    MISTRAL,
    MIXTRAL,
    NEMO,
    SMALL,
    Summary,
    device,
    machine,
    made_up,
    planned,
    summary,
)
from tiny import refused

from localchat.errors import LocalchatError
from localchat.llama.placement import HOST
from localchat.plan import margins
from localchat.plan.hardware import Hardware
from localchat.plan.plan import Plan
from localchat.plan.rungs import kv_types
from localchat.plan.wish import Wish
from localchat.plan.works import Subject

MARGIN = margins.DEVICE["linux", "headless"].least_bytes


@pytest.fixture(autouse=True)
def no_dry_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.make.find_works", made_up())


ONE, BOTH = {"CUDA0": 33}, {"CUDA0": 21, "CUDA1": 20}
TABLE = [
    # machine, model: type, context, KV type, where it fits, layers on devices
    ("laptop-8gb", MISTRAL, ("Q3_K_M", 4096, "f16", "memory", {})),
    ("laptop-16gb", MISTRAL, ("Q8_0", 8192, "f16", "memory", {})),
    ("server-2core", MISTRAL, ("Q8_0", 8192, "f16", "memory", {})),
    ("mac-16gb", MISTRAL, ("Q8_0", 8192, "f16", "gpu", {"MTL0": 33})),
    ("integrated", MISTRAL, ("Q6_K", 8192, "f16", "gpu", {"Vulkan0": 33})),
    ("4 GB NVIDIA", MISTRAL, ("Q2_K", 8192, "q8_0", "gpu", ONE)),
    ("6 GB NVIDIA", MISTRAL, ("Q4_K_M", 8192, "f16", "gpu", ONE)),
    ("nvidia-8gb", MISTRAL, ("Q6_K", 8192, "f16", "gpu", ONE)),
    ("nvidia-12gb", MISTRAL, ("Q8_0", 8192, "f16", "gpu", ONE)),
    ("nvidia-24gb", MISTRAL, ("Q8_0", 8192, "f16", "gpu", ONE)),
    ("two-gpus", MISTRAL, ("Q8_0", 8192, "f16", "gpu", {"CUDA1": 33})),
    ("12 GB and 6 GB", MISTRAL, ("Q8_0", 8192, "f16", "gpu", ONE)),
    ("6 GB and 12 GB", MISTRAL, ("Q8_0", 8192, "f16", "gpu", {"CUDA1": 33})),
    ("accelerator alone", MISTRAL, ("Q8_0", 8192, "f16", "memory", {})),
    ("igpu beside 8 GB", MISTRAL, ("Q6_K", 8192, "f16", "gpu", ONE)),
    # a mixture of experts: on a GPU that is too small, experts leave first
    ("server-2core", MIXTRAL, ("Q3_K_M", 4096, "q8_0", "memory", {})),
    ("nvidia-8gb", MIXTRAL, ("Q4_K_M", 8192, "f16", "partial", ONE)),
    ("nvidia-12gb", MIXTRAL, ("Q4_K_M", 8192, "f16", "partial", ONE)),
    ("nvidia-24gb", MIXTRAL, ("Q3_K_M", 8192, "f16", "gpu", ONE)),
    ("two-gpus", MIXTRAL, ("Q2_K", 8192, "f16", "gpu", {"CUDA0": 16, "CUDA1": 17})),
    ("12 GB and 6 GB", MIXTRAL, ("Q4_K_M", 8192, "f16", "partial", {"CUDA0": 27, "CUDA1": 6})),
    ("6 GB and 12 GB", MIXTRAL, ("Q4_K_M", 8192, "f16", "partial", {"CUDA0": 20, "CUDA1": 13})),
    # 12 billion weights, a vocabulary of 131,072 tokens
    ("laptop-16gb", NEMO, ("Q5_K_M", 8192, "f16", "memory", {})),
    ("4 GB NVIDIA", NEMO, ("Q4_K_M", 8192, "f16", "partial", {"CUDA0": 15})),
    ("nvidia-8gb", NEMO, ("IQ4_XS", 4096, "q8_0", "gpu", {"CUDA0": 41})),
    ("nvidia-12gb", NEMO, ("Q6_K", 8192, "f16", "gpu", {"CUDA0": 41})),
    ("two-gpus", NEMO, ("Q8_0", 8192, "f16", "gpu", BOTH)),
    ("12 GB and 6 GB", NEMO, ("Q8_0", 8192, "f16", "gpu", {"CUDA0": 29, "CUDA1": 12})),
    ("6 GB and 12 GB", NEMO, ("Q8_0", 8192, "f16", "gpu", {"CUDA0": 13, "CUDA1": 28})),
    # a model of 135 million weights
    ("laptop-8gb", SMALL, ("Q8_0", 8192, "f16", "memory", {})),
    ("4 GB NVIDIA", SMALL, ("Q8_0", 8192, "f16", "gpu", {"CUDA0": 31})),
    ("integrated", SMALL, ("Q8_0", 8192, "f16", "gpu", {"Vulkan0": 31})),
]


@pytest.mark.parametrize(("name", "what", "wanted"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_chosen(name: str, what: Subject, wanted: Summary) -> None:
    found = planned(what, MACHINES[name])
    assert summary(found) == wanted
    assert found.threads == MACHINES[name].processor.performance_cores
    assert wanted[0] in found.reasons[0]


@pytest.mark.parametrize("name", ["laptop-8gb", "laptop-16gb", "mac-16gb", "integrated", "4 GB NVIDIA"])
def test_a_mixture_of_experts_that_is_too_large_is_refused_with_what_would_fit(name: str) -> None:
    with refused("needs at least", "Q2_K", "4,096 tokens"):
        planned(MIXTRAL, MACHINES[name])
    with pytest.raises(LocalchatError) as error:
        planned(MIXTRAL, MACHINES[name])
    assert "billion weights would fit" in error.value.hint


def test_things_are_given_up_in_the_order_of_their_value() -> None:
    """From all that one GPU can hold to what no machine can: each step is what the user misses least."""
    steps = [
        planned(MISTRAL, machine(16, 9, device("gpu", 24, size / 100 + MARGIN / GIB)))
        for size in range(900, 0, -2)
    ]  # fmt: skip
    seen = list(dict.fromkeys((found.quant, found.context, found.kv_type, found.fits) for found in steps))
    assert seen == [
        ("Q8_0", 8192, "f16", "gpu"), ("Q6_K", 8192, "f16", "gpu"), ("Q5_K_M", 8192, "f16", "gpu"),
        ("Q4_K_M", 8192, "f16", "gpu"), ("Q4_K_M", 8192, "q8_0", "gpu"), ("Q4_K_M", 4096, "f16", "gpu"),
        ("Q4_K_M", 4096, "q8_0", "gpu"), ("Q4_K_S", 4096, "q8_0", "gpu"), ("IQ4_XS", 4096, "q8_0", "gpu"),
        ("Q3_K_M", 8192, "q8_0", "gpu"), ("Q3_K_M", 4096, "f16", "gpu"), ("Q3_K_M", 4096, "q8_0", "gpu"),
        ("Q2_K", 8192, "q8_0", "gpu"), ("Q2_K", 4096, "f16", "gpu"), ("Q2_K", 4096, "q8_0", "gpu"),
        ("Q4_K_M", 8192, "f16", "partial"), ("Q6_K", 8192, "f16", "memory"),
    ]  # fmt: skip
    layers = [found.gpu_layers for found in steps if found.fits == "partial"]
    assert layers == sorted(layers, reverse=True)
    with refused("needs at least"):
        planned(MISTRAL, machine(16, 2, device("gpu", 24, 0.01)))


def one_type(quant: str = "Q6_K", what: Subject = MISTRAL) -> Subject:
    """The model as if it could be had in one type alone."""
    return replace(what, candidates=tuple(one for one in what.candidates if one.quant == quant))


@pytest.mark.parametrize(("missing", "kv_type"), [(0, "f16"), (1, "q8_0")])
def test_a_device_is_filled_to_its_last_byte(missing: int, kv_type: str) -> None:
    whole = planned(one_type(), MACHINES["nvidia-24gb"])
    room = whole.predicted[0].use.total_bytes + MARGIN - missing
    exact = replace(device("gpu", 24, 0), free_bytes=room)
    assert summary(planned(one_type(), machine(16, 8, exact)))[2:] == (kv_type, "gpu", ONE)


@pytest.mark.parametrize(("missing", "kv_type"), [(0, "f16"), (1, "q8_0")])
def test_the_main_memory_is_filled_to_its_last_byte(missing: int, kv_type: str) -> None:
    whole = planned(one_type(), MACHINES["laptop-16gb"])
    hardware = machine(8, 0)
    needed = whole.total_bytes + margins.HOST["linux", "headless"].of(hardware.memory.total_bytes) - missing
    hardware = replace(hardware, memory=replace(hardware.memory, available_bytes=needed))
    assert summary(planned(one_type(), hardware))[2:] == (kv_type, "memory", {})


@pytest.mark.parametrize("missing", [0, 1])
def test_the_host_part_of_a_model_on_a_gpu_counts_to_the_last_byte_too(missing: int) -> None:
    """A large vocabulary has an embedding of hundreds of megabytes, which no GPU takes off the main memory."""
    host = planned(one_type("Q8_0", NEMO), MACHINES["nvidia-24gb"]).predicted[-1].use.total_bytes
    assert host > 600 * MIB
    hardware = machine(8, 0, device("gpu", 24, 23))
    needed = host + margins.HOST["linux", "headless"].of(hardware.memory.total_bytes) - missing
    hardware = replace(hardware, memory=replace(hardware.memory, available_bytes=needed))
    if missing:
        with refused("needs at least"):
            planned(one_type("Q8_0", NEMO), hardware)
    else:
        assert planned(one_type("Q8_0", NEMO), hardware).fits == "gpu"


def test_heads_that_are_no_multiple_of_32_never_get_a_q8_0_cache() -> None:
    for head_dim, kinds in ((80, ["f16"]), (48, ["f16"]), (64, ["f16", "q8_0"]), (96, ["f16", "q8_0"])):
        odd = replace(MISTRAL, shape=replace(MISTRAL.shape, head_dim=head_dim))
        assert kv_types(odd.shape) == kinds
        found = {planned(odd, machine(16, 9, device("gpu", 8, size / 10))).kv_type for size in range(20, 60, 2)}
        assert found == set(kinds)


def test_one_gpu_is_preferred_where_it_suffices() -> None:
    for free in (11.0, 9.3, 8.6):
        found = planned(MISTRAL, machine(32, 26, device("gpu", 6, 5.6), device("gpu", 12, free, "CUDA1")))
        assert summary(found)[-1] == {"CUDA1": 33}
    found = planned(MISTRAL, machine(32, 26, device("gpu", 6, 5.6), device("gpu", 12, 8.4, "CUDA1")))
    assert (found.quant, set(summary(found)[-1])) == ("Q8_0", {"CUDA0", "CUDA1"})


def test_two_gpus_are_filled_to_the_same_part() -> None:
    found = planned(NEMO, MACHINES["12 GB and 6 GB"])
    parts = [part.use.total_bytes / part.room.limit_bytes for part in found.predicted[:-1]]
    assert abs(parts[0] - parts[1]) < 0.1


@pytest.mark.parametrize("name", ["Vulkan0", "MTL0"])
def test_shared_memory_is_never_counted_twice(name: str) -> None:
    """What an integrated GPU or Metal takes is taken from the main memory, however much it claims to have."""
    kind = "igpu" if name == "Vulkan0" else "gpu"
    for free in (2.0, 3.8, 5.0, 12.0):
        hardware = machine(8, 5, device(kind, 12, free, name))
        found = planned(MISTRAL, hardware)
        assert found.total_bytes <= found.predicted[-1].room.limit_bytes < hardware.memory.available_bytes
    with refused("needs at least 3.0 GiB", "2.6 GiB can be used"):
        planned(MISTRAL, machine(8, 3.1, device(kind, 12, 12, name)))


def test_a_card_of_its_own_adds_to_the_main_memory() -> None:
    found = planned(one_type("Q8_0"), machine(8, 5, device("gpu", 6, 5.5)))
    assert found.fits == "partial"
    assert found.total_bytes > 5 * GIB


def test_experts_leave_before_layers_and_as_few_as_possible() -> None:
    found = [
        planned(one_type("Q4_K_M", MIXTRAL), machine(64, 60, device("gpu", 32, free))) for free in range(30, 1, -1)
    ]
    experts = [one.layout.experts_on_host for one in found]
    assert experts == sorted(experts)
    assert experts[0] == 0
    for one in found:
        assert one.gpu_layers == 33 or one.layout.experts_on_host == 32, "layers leave when all experts have"
        left = one.predicted[0].left_bytes
        assert left < max(MIXTRAL.candidates[3].expert_bytes) + GIB or one.fits == "gpu"


def test_a_model_for_a_short_context_gets_no_longer_one() -> None:
    short = replace(SMALL, shape=replace(SMALL.shape, context=2048))
    assert planned(short, MACHINES["laptop-8gb"]).context == 2048
    assert planned(short, MACHINES["laptop-8gb"], Wish(goal="context")).context == 2048


@pytest.mark.parametrize(
    ("hardware", "instead"),
    [
        (machine(4, 2.5), "a model of up to 2.7 billion weights would fit"),
        (machine(2, 0.1), "close other programs"),
        (machine(4, 0), "close other programs"),
        (machine(4, 2, device("gpu", 1, 0.9)), "a model of up to"),
    ],
)
def test_a_machine_on_which_nothing_fits_is_told_what_would(hardware: Hardware, instead: str) -> None:
    with pytest.raises(LocalchatError) as caught:
        planned(MISTRAL, hardware)
    assert "needs at least 3.0 GiB as Q2_K with 4,096 tokens of context" in str(caught.value)
    assert caught.value.hint.startswith(instead)


def test_weights_are_mapped_only_where_they_lie_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the CPU copies into an order of its own, or what lies between layers of a GPU, would be there twice."""
    assert planned(MISTRAL, MACHINES["laptop-16gb"]).is_mapped
    assert planned(MISTRAL, MACHINES["nvidia-8gb"]).is_mapped
    assert not planned(MISTRAL, MACHINES["nvidia-8gb"], Wish(quant="Q8_0")).is_mapped
    monkeypatch.setattr("localchat.plan.make.find_works", made_up(replace(LITTLE, copies_weights=True)))
    assert not planned(MISTRAL, MACHINES["laptop-16gb"]).is_mapped


def test_the_placement_says_the_same_as_the_plan() -> None:
    found: Plan = planned(MIXTRAL, MACHINES["nvidia-8gb"], Wish(threads=5))
    placement = found.placement(("127.0.0.1:50052",))
    assert (placement.context, placement.kv_type, placement.threads) == (8192, "f16", 5)
    assert placement.shares == found.layout.shares
    assert placement.experts_on_host == found.layout.experts_on_host == 27
    assert placement.rpc == ("127.0.0.1:50052",)
    assert not placement.is_mapped
    assert [part.use.name for part in found.predicted] == ["CUDA0", HOST]


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_longer_context_that_is_said_to_fit_costs_nothing(name: str) -> None:
    for what in (MISTRAL, MIXTRAL, NEMO):
        with suppress(LocalchatError):
            found = planned(what, MACHINES[name])
            for context in (reason.rpartition("--context ")[2] for reason in found.reasons if "--context" in reason):
                longer = planned(what, MACHINES[name], Wish(context=int(context)))
                assert (longer.quant, longer.kv_type, longer.fits) == (found.quant, found.kv_type, found.fits)
