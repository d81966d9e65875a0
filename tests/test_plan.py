"""The choice of type, context and placement: a table of machines, and what holds for every machine there could be."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.catalog import lookup
from localchat.convert.config import parse_config
from localchat.errors import LocalchatError
from localchat.llama.devices import Device
from localchat.plan.hardware import Hardware
from localchat.plan.plan import GOOD, LOW, Candidate, Plan, Shape, Wish, compute_bytes, kv_bytes, plan
from localchat.pull.decide import candidates, shape_for

GIB = 1 << 30
TYPES = [*GOOD, *LOW]


def device(kind: str, total: float, free: float) -> Device:
    """One device; sizes in GiB."""
    return Device(kind, "made up", kind, "none", int(total * GIB), int(free * GIB))


def machine(memory: float, available: float, *devices: Device, cores: int = 8) -> Hardware:
    """A machine; sizes in GiB."""
    return Hardware(cores, int(memory * GIB), int(available * GIB), 100 * GIB, devices)


def model(name: str) -> tuple[Shape, list[Candidate]]:
    """Shape of a published model and the sizes it could have."""
    entry = lookup(name)
    assert entry is not None
    config = parse_config(entry.config)
    return shape_for(config), candidates(config, TYPES)


MISTRAL, SMALL = model("mistral-7b-instruct-v0.2"), model("smollm2")

MACHINES = {
    "8 GB laptop": machine(8, 5.5, cores=4),
    "16 GB laptop": machine(16, 12),
    "2-core server": machine(24, 22, cores=2),
    "8 GB NVIDIA": machine(32, 26, device("gpu", 8, 7.2)),
    "12 GB NVIDIA": machine(32, 26, device("gpu", 12, 11.2)),
    "16 GB NVIDIA": machine(32, 26, device("gpu", 16, 15.2)),
    "24 GB NVIDIA": machine(32, 26, device("gpu", 24, 23.2)),
    "6 GB NVIDIA": machine(16, 12, device("gpu", 6, 5.4)),
    "4 GB NVIDIA": machine(16, 12, device("gpu", 4, 3.5)),
    "integrated GPU": machine(16, 12, device("igpu", 8, 7.2)),
    "integrated and 8 GB": machine(32, 26, device("igpu", 16, 15), device("gpu", 8, 7.2)),
    "two of 6 GB": machine(32, 26, device("gpu", 6, 5.5), device("gpu", 6, 5.5)),
    "an accelerator": machine(16, 12, device("accelerator", 16, 16)),
}
TABLE = [
    # machine, 7B of Mistral's shape: type, context, KV type, where it fits, layers on the GPU
    ("8 GB laptop", MISTRAL, ("Q2_K", 4096, "f16", "memory", 0)),
    ("16 GB laptop", MISTRAL, ("Q8_0", 8192, "f16", "memory", 0)),
    ("2-core server", MISTRAL, ("Q8_0", 8192, "f16", "memory", 0)),
    ("8 GB NVIDIA", MISTRAL, ("Q5_K_M", 8192, "f16", "gpu", 33)),
    ("12 GB NVIDIA", MISTRAL, ("Q8_0", 8192, "f16", "gpu", 33)),
    ("16 GB NVIDIA", MISTRAL, ("Q8_0", 8192, "f16", "gpu", 33)),
    ("24 GB NVIDIA", MISTRAL, ("Q8_0", 8192, "f16", "gpu", 33)),
    ("6 GB NVIDIA", MISTRAL, ("Q3_K_M", 4096, "f16", "gpu", 33)),
    ("4 GB NVIDIA", MISTRAL, ("Q8_0", 8192, "f16", "partial", 9)),
    ("integrated GPU", MISTRAL, ("Q5_K_M", 8192, "f16", "gpu", 33)),
    ("integrated and 8 GB", MISTRAL, ("Q5_K_M", 8192, "f16", "gpu", 33)),
    ("two of 6 GB", MISTRAL, ("Q8_0", 8192, "f16", "gpu", 33)),
    ("an accelerator", MISTRAL, ("Q8_0", 8192, "f16", "memory", 0)),
    # the same for SmolLM2
    ("8 GB laptop", SMALL, ("Q8_0", 8192, "f16", "memory", 0)),
    ("2-core server", SMALL, ("Q8_0", 8192, "f16", "memory", 0)),
    ("4 GB NVIDIA", SMALL, ("Q8_0", 8192, "f16", "gpu", 31)),
    ("integrated GPU", SMALL, ("Q8_0", 8192, "f16", "gpu", 31)),
]


def summary(found: Plan) -> tuple[str, int, str, str, int]:
    """What a user sees of a plan."""
    return found.quant, found.context, found.kv_type, found.fits, found.gpu_layers


@pytest.mark.parametrize(("name", "of", "wanted"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_chosen(name: str, of: tuple[Shape, list[Candidate]], wanted: tuple[str, int, str, str, int]) -> None:
    found = plan(*of, MACHINES[name], Wish())
    assert summary(found) == wanted
    assert found.threads == MACHINES[name].physical_cores
    assert wanted[0] in found.reasons[0]


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (Wish(quant="Q4_K_M"), ("Q4_K_M", 8192, "f16", "gpu", 33)),
        (Wish(quant="Q2_K"), ("Q2_K", 8192, "f16", "gpu", 33)),
        (Wish(context=1024), ("Q6_K", 1024, "f16", "gpu", 33)),
        (Wish(context=16384), ("Q5_K_M", 16384, "q8_0", "gpu", 33)),
        (Wish(size_bytes=int(4.5 * GIB)), ("Q4_K_M", 8192, "f16", "gpu", 33)),
        (Wish(size_bytes=4367704064), ("Q4_K_M", 8192, "f16", "gpu", 33)),
        (Wish(size_bytes=3 * GIB), ("Q2_K", 8192, "f16", "gpu", 33)),
        (Wish(quant="Q8_0"), ("Q8_0", 8192, "f16", "partial", 23)),
    ],
)
def test_a_wish_is_obeyed_on_an_8_gb_gpu(wish: Wish, wanted: tuple[str, int, str, str, int]) -> None:
    assert summary(plan(*MISTRAL, MACHINES["8 GB NVIDIA"], wish)) == wanted


def test_a_model_that_fills_the_memory_to_the_last_byte_fits() -> None:
    sizes = MISTRAL[1][3:4]
    whole = plan(MISTRAL[0], sizes, MACHINES["24 GB NVIDIA"], Wish())
    for missing, kv_type in ((0, "f16"), (1, "q8_0")):
        exact = Device("gpu", "", "gpu", "", 0, whole.total_bytes + GIB - missing)
        on_gpu = replace(machine(8, 0), devices=(exact,))
        assert summary(plan(MISTRAL[0], sizes, on_gpu, Wish()))[2:] == (kv_type, "gpu", 33)
        in_memory = replace(machine(8, 0), memory_available_bytes=whole.total_bytes + 2 * GIB - missing)
        assert summary(plan(MISTRAL[0], sizes, in_memory, Wish()))[2:] == (kv_type, "memory", 0)


def test_the_reason_says_where_and_how_much() -> None:
    alone = plan(MISTRAL[0], MISTRAL[1][:1], MACHINES["12 GB NVIDIA"], Wish())
    assert alone.reasons == ("Q8_0 fits into GPU memory with 8,192 tokens of context: 8.3 GiB of 10.2 GiB",)
    chosen = plan(*MISTRAL, MACHINES["16 GB laptop"], Wish())
    assert chosen.reasons == (
        "Q8_0 is the best type that stays in memory with 8,192 tokens of context: 8.3 GiB of 9.6 GiB",
    )
    split = plan(*MISTRAL, MACHINES["4 GB NVIDIA"], Wish())
    assert "8.3 GiB of 12.1 GiB; 9 of 32 layers run on the GPU" in split.reasons[0]


def test_more_threads_are_a_wish_too() -> None:
    assert plan(*SMALL, MACHINES["8 GB laptop"], Wish(threads=13)).threads == 13


def test_a_model_for_a_short_context_gets_no_longer_one() -> None:
    shape, sizes = SMALL
    assert plan(replace(shape, context=2048), sizes, MACHINES["8 GB laptop"], Wish()).context == 2048


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(context=32769), ["32,768", "32,769"]),
        (Wish(quant="Q4_0"), ["Q4_0"]),
        (Wish(size_bytes=GIB), ["1.0 GiB"]),
        (Wish(quant="Q8_0", size_bytes=4 * GIB), ["4.0 GiB"]),
    ],
)
def test_a_wish_that_cannot_be_is_refused(wish: Wish, words: list[str]) -> None:
    with refused(*words):
        plan(*MISTRAL, MACHINES["24 GB NVIDIA"], wish)


def test_a_size_that_nothing_fits_names_the_smallest_there_is() -> None:
    with pytest.raises(LocalchatError) as caught:
        plan(*MISTRAL, MACHINES["24 GB NVIDIA"], Wish(size_bytes=GIB))
    assert "Q2_K" in caught.value.hint


def test_a_context_that_does_not_fit_is_refused_and_not_made_shorter() -> None:
    with refused("needs at least", "Q2_K"):
        plan(*MISTRAL, MACHINES["8 GB laptop"], Wish(context=32768))


@pytest.mark.parametrize("hardware", [machine(4, 3), machine(2, 0.1), machine(4, 3, device("gpu", 1, 0.9))])
def test_a_machine_on_which_nothing_fits_is_told_what_it_lacks(hardware: Hardware) -> None:
    with refused("needs at least", "Q2_K"):
        plan(*MISTRAL, hardware, Wish())


def test_a_long_context_does_not_cost_quality_for_an_f16_cache() -> None:
    """Between 8.0 and 8.5 GiB there is room for an f16 cache, but not at the price of a lower type."""
    ranks = [
        TYPES.index(plan(*MISTRAL, machine(64, 40, device("gpu", 16, room + 1)), Wish(context=32768)).quant)
        for room in (8.0, 8.5)
    ]
    assert ranks == sorted(ranks, reverse=True)


def test_an_integrated_gpu_has_no_memory_of_its_own() -> None:
    """What it can use is a part of the main memory and must not be counted twice, however much it claims."""
    for free in (2.0, 3.8, 5.0, 12.0):
        hardware = machine(8, 5, device("igpu", 12, free))
        with sound_or_refused():
            found = plan(*MISTRAL, hardware, Wish())
            assert found.total_bytes <= hardware.memory_available_bytes


SHAPES = st.builds(
    Shape, layers=st.integers(1, 80), kv_heads=st.integers(1, 64), head_dim=st.sampled_from([64, 128]),
    feed_forward=st.integers(256, 30_000), vocabulary=st.integers(1000, 130_000), context=st.integers(64, 131_072),
)  # fmt: skip
GIBS = st.floats(0, 200)
DEVICES = st.lists(st.builds(device, st.sampled_from(["gpu", "igpu", "accelerator"]), GIBS, GIBS), max_size=2)
HARDWARE = st.builds(
    lambda memory, part, devices: machine(memory, memory * part, *devices), GIBS, st.floats(0, 1), DEVICES
)
WISHES = st.builds(
    Wish, quant=st.none() | st.sampled_from(TYPES), context=st.just(0) | st.integers(64, 131_072),
    size_bytes=st.just(0) | GIBS.map(lambda size: int(size * GIB)), threads=st.integers(0, 8),
)  # fmt: skip


def sizes(q8_bytes: int) -> list[Candidate]:
    """Candidates as those of real models, of a model that takes so many bytes as Q8_0."""
    return [
        Candidate(quant, int(q8_bytes * part))
        for quant, part in zip(TYPES, (1, 0.77, 0.67, 0.57, 0.46, 0.35), strict=True)
    ]


@settings(deadline=None, max_examples=150)
@given(SHAPES, st.integers(1 << 20, 80 * GIB), HARDWARE, WISHES)
def test_a_plan_fits_where_it_says_and_obeys(shape: Shape, q8_bytes: int, hardware: Hardware, wish: Wish) -> None:
    with sound_or_refused():
        found = plan(shape, sizes(q8_bytes), hardware, wish)
        assert (
            found.total_bytes
            <= found.room_bytes
            <= hardware.memory_available_bytes + sum(item.free_bytes for item in hardware.devices)
        )
        assert found.total_bytes == found.weights_bytes + found.kv_bytes + compute_bytes(shape)
        assert found.context == wish.context or (not wish.context and found.context <= min(8192, shape.context))
        assert wish.quant in (None, found.quant)
        assert (
            found.weights_bytes
            == dict(zip(TYPES, (c.weights_bytes for c in sizes(q8_bytes)), strict=True))[found.quant]
        )
        assert not wish.size_bytes or found.weights_bytes <= wish.size_bytes
        assert found.kv_bytes == kv_bytes(shape, found.context, found.kv_type)
        layers = {"gpu": [shape.layers + 1], "memory": [0], "partial": range(1, shape.layers + 1)}[found.fits]
        assert found.gpu_layers in layers
        assert found.threads == (wish.threads or hardware.physical_cores)


PERCENT = st.integers(30, 500)


@settings(deadline=None, max_examples=200)
@given(SHAPES, st.tuples(PERCENT, PERCENT), st.booleans(), st.sampled_from([0, 1 << 13, 1 << 15, 1 << 16, 1 << 17]))
def test_more_memory_never_gives_a_worse_type_at_the_same_context(
    shape: Shape, rooms: tuple[int, int], on_gpu: bool, context: int
) -> None:
    shape = replace(shape, context=1 << 17)
    # about as large as the cache of a long context, where the two compete
    largest = max(GIB, kv_bytes(shape, 1 << 15, "f16"))
    found: list[Plan] = []
    for room in (percent / 100 * largest / GIB for percent in sorted(rooms)):
        hardware = machine(0, 0, device("gpu", room + 1, room + 1)) if on_gpu else machine(0, room + 2)
        with suppress(LocalchatError):
            found.append(plan(shape, sizes(largest), hardware, Wish(context=context)))
    if len(found) == 2 and found[0].context == found[1].context:
        assert TYPES.index(found[1].quant) <= TYPES.index(found[0].quant)


@pytest.mark.parametrize(
    ("context", "kv_type", "count"), [(8192, "f16", GIB), (8192, "q8_0", GIB * 17 // 32), (1, "f16", 128 << 10)]
)
def test_the_cache_of_a_7b_model_has_its_known_size(context: int, kv_type: str, count: int) -> None:
    assert kv_bytes(MISTRAL[0], context, kv_type) == count


def test_the_work_buffers_of_a_7b_model_have_about_their_known_size() -> None:
    """llama.cpp itself says 0.1 to 0.3 GiB for batches of 512."""
    assert compute_bytes(MISTRAL[0]) == 512 * 4 * (32000 + 4 * 14336)
