"""What holds of the plan for every model and every machine that there could be."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from planning import GIB, MIB, device, machine, made_up, planned, used
from tiny import sound_or_refused

from localchat.errors import LocalchatError
from localchat.llama.dry_run import Work
from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware, UnusedGpu
from localchat.plan.layout import PROCESS_BYTES
from localchat.plan.lessons import NONE
from localchat.plan.plan import Plan
from localchat.plan.rooms import rooms
from localchat.plan.shape import Shape, candidate
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.text import clean, one_line

TYPES = {"Q8_0": 850, "Q6_K": 656, "Q5_K_M": 571, "Q4_K_M": 485, "Q4_K_S": 458, "IQ4_XS": 436, "Q3_K_M": 391,
         "Q2_K": 300}  # fmt: skip
GOOD_TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
SIZE = re.compile(r"([0-9.]+) ([KMG]?i?B)")
WORK = Work({"any": 30 * MIB}, 20 * MIB, False)


@pytest.fixture(autouse=True)
def no_dry_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.make.find_works", made_up(WORK))


def model(layers: int, experts: int, heads: tuple[int, int], context: int, sizes: tuple[int, int, int],
          is_tied: bool) -> Subject:  # fmt: skip
    """A model in all types; sizes are those of a layer, its experts and the output as F16, in MiB."""
    dense, mixture, output = (count * MIB // 1000 for count in sizes)
    candidates = []
    for quant, part in TYPES.items():
        tensors = [("token_embd.weight", "A", output * part), ("output_norm.weight", "F32", 1000)]
        for number in range(layers):
            tensors += [(f"blk.{number}.attn_q.weight", "A", (dense + number) * part)]
            tensors += [(f"blk.{number}.ffn_up_exps.weight", "B", mixture * part)] if experts else []
        tensors += [] if is_tied else [("output.weight", "C", output * part)]
        candidates.append(candidate(quant, layers, tensors))
    kv_heads, head_dim = heads
    shape = Shape("llama", layers, 4096, 4096, 32, kv_heads, head_dim, 32000, context, 10**9, experts, min(experts, 2))
    return Subject(shape, tuple(candidates), lambda _quant: pytest.fail("a header was asked for"))


SUBJECTS = st.builds(
    model, st.integers(1, 12), st.sampled_from([0, 4, 8]),
    st.tuples(st.sampled_from([1, 8, 32]), st.sampled_from([64, 80, 128])),
    st.sampled_from([512, 4096, 8192, 32768]), st.tuples(*[st.integers(1, 1500)] * 3), st.booleans(),
)  # fmt: skip
GIBS = st.integers(0, 300).map(lambda number: number / 10)
DEVICES = st.lists(
    st.tuples(st.sampled_from(["gpu", "gpu", "igpu", "accelerator"]), st.booleans(), GIBS), max_size=3
).map(lambda found: [
    device(kind, 30, free, f"{'MTL' if is_metal else 'CUDA'}{number}") for number, (kind, is_metal, free)
    in enumerate(found)
])  # fmt: skip
HARDWARE = st.builds(
    lambda available, devices, screen, system, rate: machine(
        32, available, *devices, screen=screen, system=system, rate=rate
    ),
    GIBS, DEVICES, st.booleans(), st.sampled_from(["linux", "macos", "windows"]), st.sampled_from([None, 1e9, 5e10]),
)  # fmt: skip
LIMITS = st.just(0) | st.integers(1, 12 * GIB)
WISHES = st.builds(
    Wish, quant=st.none() | st.sampled_from([*TYPES]), context=st.sampled_from([0, 0, 64, 1000, 4096, 16384, 32768]),
    size_bytes=LIMITS, threads=st.integers(0, 8),
    goal=st.sampled_from(["balanced", "quality", "speed", "context"]), gpu_memory_bytes=LIMITS, memory_bytes=LIMITS,
)  # fmt: skip


def kv_of(shape: Shape, found: Plan) -> int:
    """The bytes of one layer's KV cache: llama.cpp allocates whole blocks of 256 tokens."""
    numbers = 2 * shape.kv_heads * shape.head_dim * ((found.context + 255) // 256 * 256)
    return numbers * 2 if found.kv_type == "f16" else numbers * 34 // 32


@settings(deadline=None, max_examples=120)
@given(SUBJECTS, HARDWARE, WISHES)
def test_no_plan_takes_more_of_a_memory_than_there_is_room(what: Subject, hardware: Hardware, wish: Wish) -> None:
    with sound_or_refused():
        found = planned(what, hardware, wish)
        spaces = rooms(hardware, wish, NONE)
        free = {one.name: one.free_bytes for one in hardware.devices} | {HOST: hardware.memory.available_bytes}
        shared = 0
        for part in found.predicted:
            most = wish.memory_bytes if part.use.name == HOST else wish.gpu_memory_bytes
            assert part.use.total_bytes <= free[part.use.name] - part.room.margin_bytes
            assert not most or part.use.total_bytes <= most
            shared += part.use.total_bytes if part.room.is_shared else 0
        assert used(found) + shared <= spaces.host.limit_bytes
        assert {part.use.name for part in found.predicted} <= {HOST, *(room.name for room in spaces.devices)}


@settings(deadline=None, max_examples=120)
@given(SUBJECTS, HARDWARE, WISHES)
def test_the_parts_of_a_plan_add_up(what: Subject, hardware: Hardware, wish: Wish) -> None:
    shape = what.shape
    with sound_or_refused():
        found = planned(what, hardware, wish)
        one = next(one for one in what.candidates if one.quant == found.quant)
        shares = found.layout.shares
        has_output = bool(shares)  # layers leave a device from the first on, so the output goes last
        again = one.embedding_bytes if one.is_tied and has_output else 0
        weights = sum(part.use.weights_bytes for part in found.predicted)
        assert weights == one.weights_bytes + again == found.weights_bytes + again
        assert sum(part.use.kv_bytes for part in found.predicted) == shape.layers * kv_of(shape, found)
        on_host = shape.layers + 1 - sum(share.layers for share in shares)
        assert 0 <= on_host <= shape.layers + 1
        assert all(share.layers > 0 for share in shares)
        assert [part.use.name for part in found.predicted] == [*(share.device for share in shares), HOST]
        host = found.predicted[-1].use
        assert host.kv_bytes == min(on_host, shape.layers) * kv_of(shape, found)
        assert host.compute_bytes == WORK.host_bytes + PROCESS_BYTES
        assert all(part.use.compute_bytes == 30 * MIB for part in found.predicted[:-1])
        experts = sum(count * shape.experts_used // shape.experts for count in one.expert_bytes if shape.experts)
        read = sum(one.layer_bytes) + experts + one.embedding_bytes  # as large as the output, if not the output itself
        assert sum(sum(part.use.active.values()) for part in found.predicted) == read
        assert sum(part.use.layers for part in found.predicted) == shape.layers


@settings(deadline=None, max_examples=100)
@given(SUBJECTS, HARDWARE, WISHES)
def test_wishes_are_obeyed(what: Subject, hardware: Hardware, wish: Wish) -> None:
    with sound_or_refused():
        found = planned(what, hardware, wish)
        assert wish.quant in (None, found.quant)
        assert wish.context in (0, found.context)
        assert found.context <= what.shape.context
        assert not wish.size_bytes or found.weights_bytes <= wish.size_bytes
        assert found.threads == (wish.threads or hardware.processor.performance_cores)
        assert what.shape.head_dim % 32 == 0 or found.kv_type == "f16"


NAMES = st.text(st.characters(codec="utf-8"), max_size=20).map(lambda name: one_line(name) or "GPU")


@settings(deadline=None, max_examples=100)
@given(SUBJECTS, HARDWARE, WISHES, NAMES)
def test_reasons_are_single_sentences(what: Subject, hardware: Hardware, wish: Wish, name: str) -> None:
    hardware = replace(hardware, unused_gpus=(UnusedGpu(name, "make it so"),))
    try:
        sentences: tuple[str, ...] = planned(what, hardware, wish).reasons
        assert len(sentences) == len(set(sentences)) >= 2
    except LocalchatError as error:
        sentences = (str(error), error.hint)
    for sentence in sentences:
        assert sentence.strip() == sentence != ""
        assert not sentence.endswith(".")
        assert clean(sentence) == sentence
        assert "\n" not in sentence
        said = sentence.replace("--", "").replace(name, "")
        assert "None" not in said
        assert "-" not in said or "GPU" in sentence


@settings(deadline=None, max_examples=60)
@given(SUBJECTS, HARDWARE, WISHES)
def test_the_same_facts_give_the_same_plan(what: Subject, hardware: Hardware, wish: Wish) -> None:
    def outcome() -> Any:
        try:
            return planned(what, hardware, wish)
        except LocalchatError as error:
            return str(error), error.hint

    assert outcome() == outcome()


def worth(found: Plan | None) -> tuple[int, ...]:
    """A plan's place in the order of what users value; more is better.

    Nothing at all; on the CPU though there is a GPU; partly on it; where it is fastest. Then a type from Q4_K_M up;
    among these the context before the KV type before the type, and below them the type first. At last how much of it
    is on devices.
    """
    if found is None:
        return (0,)
    quality = -[*TYPES].index(found.quant)
    length, kv = found.context, int(found.kv_type == "f16")
    is_good = found.quant in GOOD_TYPES
    choice = (length, kv, quality) if is_good else (quality, length, kv)
    place = {"partial": 2, "memory": 1, "gpu": 3}[found.fits]
    return (place, int(is_good), *choice, found.gpu_layers, -found.layout.experts_on_host)


@settings(deadline=None, max_examples=120)
@given(
    SUBJECTS, st.sampled_from(["gpu", "igpu", "metal", "two"]), st.lists(GIBS, min_size=3, max_size=3),
    st.sampled_from([(0.0, 0.0, 0.5), (0.5, 0, 0), (0.5, 0, 0.5), (3.0, 0, 0), (3, 3, 3), (0, 5, 0), (0, 0, 5)]),
)  # fmt: skip
def test_more_memory_never_gives_a_worse_plan(
    what: Subject, kind: str, sizes: list[float], more: tuple[float, float, float]
) -> None:
    found = []
    for first, second, host in (sizes, [size + plus for size, plus in zip(sizes, more, strict=True)]):
        devices = {
            "gpu": [device("gpu", 40, first)],
            "igpu": [device("igpu", 40, first, "Vulkan0")],
            "metal": [device("gpu", 40, first, "MTL0")],
            "two": [device("gpu", 40, first), device("gpu", 40, second, "CUDA1")],
        }[kind]
        plan: Plan | None = None
        with suppress(LocalchatError):
            plan = planned(what, machine(64, host, *devices))
        found.append(worth(plan))
    assert found[1] >= found[0]


@settings(deadline=None, max_examples=100)
@given(SUBJECTS, st.tuples(GIBS, GIBS))
def test_without_a_gpu_more_memory_never_gives_a_worse_plan(what: Subject, sizes: tuple[float, float]) -> None:
    found = []
    for size in sorted(sizes):
        plan: Plan | None = None
        with suppress(LocalchatError):
            plan = planned(what, machine(32, size))
        found.append(worth(plan))
    assert found[1] >= found[0]


@settings(deadline=None, max_examples=60)
@given(SUBJECTS, HARDWARE)
def test_nothing_better_would_have_fitted_on_one_device(what: Subject, hardware: Hardware) -> None:
    """Every choice is weighed anew by the plainest arithmetic: the sum of all parts against each room."""
    spaces = rooms(hardware, Wish(), NONE)
    assume(spaces.devices)
    best: tuple[Any, ...] = ()
    kinds = ["f16"] if what.shape.head_dim % 32 else ["f16", "q8_0"]
    lengths = {min(8192, what.shape.context), min(4096, what.shape.context)}
    for one, context, kv_type in product(what.candidates, lengths, kinds):
        numbers = 2 * what.shape.kv_heads * what.shape.head_dim * context * what.shape.layers
        again = one.embedding_bytes if one.is_tied else 0
        taken = (
            one.weights_bytes
            - one.embedding_bytes
            + again
            + 30 * MIB
            + numbers * (64 if kv_type == "f16" else 34) // 32
        )
        host = one.embedding_bytes + WORK.host_bytes + PROCESS_BYTES
        for room in spaces.devices:
            shared = taken if room.is_shared else 0
            if taken <= room.limit_bytes and host + shared <= spaces.host.limit_bytes:
                quality = -[*TYPES].index(one.quant)
                kv = int(kv_type == "f16")
                is_good = one.quant in GOOD_TYPES
                best = max(best, (int(is_good), *((context, kv, quality) if is_good else (quality, context, kv))))
    assume(best)
    found = planned(what, hardware)
    assert found.fits == "gpu"
    assert worth(found)[1:5] >= best


@settings(deadline=None, max_examples=100)
@given(SUBJECTS, HARDWARE)
def test_a_longer_context_that_is_promised_can_be_had_at_no_cost(what: Subject, hardware: Hardware) -> None:
    try:
        found = planned(what, hardware)
    except LocalchatError:
        return
    for reason in found.reasons:
        if "--context " in reason:
            context = int(reason.rpartition("--context ")[2])
            longer = planned(what, hardware, Wish(context=context))
            assert (longer.quant, longer.kv_type, longer.fits) == (found.quant, found.kv_type, found.fits)


@settings(deadline=None, max_examples=100)
@given(SUBJECTS, HARDWARE, WISHES)
def test_a_refusal_never_says_that_the_memory_suffices(what: Subject, hardware: Hardware, wish: Wish) -> None:
    try:
        planned(what, hardware, wish)
    except LocalchatError as error:
        if "needs at least" in str(error):
            needed, *there = SIZE.findall(str(error))
            units = {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": GIB}
            assert all(
                float(needed[0]) * units[needed[1]] >= 0.99 * float(room[0]) * units[room[1]] for room in there[:1]
            )
