"""Why a reply is slow: one sentence for each cause, in the order of what matters, and none where all is as expected."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import GIB, plan
from planning import MACHINES, MISTRAL, MIXTRAL, made_up, planned

from localchat.conditions import Watch, clock, own_seconds, saves_power, stalled
from localchat.plan import make
from localchat.plan.places import gpu_name, place, threads
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.slowness import Conditions, Facts, why_slow

CALM = Conditions(
    other_cores=0.1, cores=8, on_battery=False, clock=0.9, memory_stall=0.0, disk_stall=0.0,
    swapped_bytes_per_second=0.0, available_bytes=8 * GIB, total_bytes=16 * GIB,
)  # fmt: skip
ON_CPU = replace(plan(4 * GIB), tokens_per_second=10.0)
SLOW = Facts(ON_CPU, "writing", tokens_per_second=4.0, now=CALM)
"""Less than half of the rate that was predicted."""
FINE = replace(SLOW, tokens_per_second=9.0)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> dict[str, Plan]:
    """Real plans, with no dry runs of llama.cpp."""
    monkeypatch.setattr(make, "find_works", made_up())
    return {
        "gpu": planned(MISTRAL, MACHINES["nvidia-12gb"]),
        "two": planned(MIXTRAL, MACHINES["two-gpus"], Wish(quant="Q3_K_M")),
        "partial": planned(MISTRAL, MACHINES["4 GB NVIDIA"], Wish(quant="Q8_0")),
        "experts": planned(MIXTRAL, MACHINES["nvidia-12gb"]),
        "memory": planned(MISTRAL, MACHINES["laptop-16gb"]),
    }


def with_conditions(facts: Facts, **conditions: float | bool | None) -> Facts:
    return replace(facts, now=replace(facts.now, **conditions))


COLD = "cold start: the model is still being read from the disk"
TABLE: dict[str, tuple[Facts, str | None]] = {
    "as expected": (FINE, None),
    "nothing written yet": (Facts(ON_CPU, "starting", now=CALM), None),
    "a battery that costs nothing": (with_conditions(FINE, on_battery=True), None),
    "others that are not felt": (with_conditions(FINE, other_cores=3.0), None),
    "nothing known of the machine": (
        replace(SLOW, now=Conditions()), "10.0 tokens/s were predicted; what holds it back is not known",
    ),
    "no prediction, and faster than people read": (
        Facts(replace(ON_CPU, tokens_per_second=None), "writing", tokens_per_second=6.0, now=CALM), None,
    ),
    "seen faster before": (
        replace(FINE, seen_tokens_per_second=20.0),
        "20.0 tokens/s were seen here before; what holds it back is not known",
    ),
    "slow as predicted": (
        Facts(replace(ON_CPU, tokens_per_second=2.5), "writing", tokens_per_second=2.4, now=CALM), None,
    ),
    "swap": (
        with_conditions(FINE, swapped_bytes_per_second=float(40 << 20)),
        "memory is short: 40.0 MiB a second come back from swap",
    ),
    "stalls of memory": (
        with_conditions(FINE, memory_stall=0.32), "memory is short: programs wait for it 32% of the time",
    ),
    "little memory": (
        with_conditions(SLOW, available_bytes=200 << 20), "memory is short: 200 MiB of 16.0 GiB are free",
    ),
    "little memory that is not felt": (with_conditions(FINE, available_bytes=200 << 20), None),
    "cold, by the disk": (
        with_conditions(Facts(ON_CPU, "reading", is_first=True, now=CALM), disk_stall=0.5), COLD,
    ),
    "cold, by the time": (
        with_conditions(Facts(ON_CPU, "starting", is_first=True, waited_seconds=9, now=CALM), disk_stall=None), COLD,
    ),
    "not cold: the disk rests": (Facts(ON_CPU, "starting", is_first=True, waited_seconds=9, now=CALM), None),
    "not cold: the second reply": (with_conditions(Facts(ON_CPU, "reading", now=CALM), disk_stall=0.5), None),
    "a long prompt": (
        Facts(ON_CPU, "reading", reading_tokens=3310, reading_seconds=40.2, now=CALM),
        "reading 3,310 tokens takes about 40 s here",
    ),
    "a short prompt": (Facts(ON_CPU, "reading", reading_tokens=331, reading_seconds=4.0, now=CALM), None),
    "others": (with_conditions(SLOW, other_cores=1.34), "other programs use 1.3 of 8 cores"),
    "others, and threads give way": (
        with_conditions(SLOW, other_cores=1.34, threads=1),
        "other programs use 1.3 of 8 cores, which leaves 1 for the model",
    ),
    "others before the battery": (
        with_conditions(SLOW, other_cores=1.34, on_battery=True), "other programs use 1.3 of 8 cores",
    ),
    "memory before others": (
        with_conditions(SLOW, other_cores=1.34, memory_stall=0.5),
        "memory is short: programs wait for it 50% of the time",
    ),
    "another conversation": (replace(SLOW, beside=1), "another conversation is answered at the same time"),
    "several conversations": (replace(SLOW, beside=3), "3 other conversations are answered at the same time"),
    "another conversation that is not felt": (replace(FINE, beside=1), None),
    "the battery": (with_conditions(SLOW, on_battery=True), "the machine runs on its battery"),
    "a profile": (with_conditions(SLOW, saves_power=True), "the machine is set to save power"),
    "heat": (
        with_conditions(SLOW, clock=0.31), "the processor runs at 31% of its clock rate: it is hot, or saves power",
    ),
    "a long conversation": (
        replace(SLOW, context_tokens=6100), "the conversation is long: each new token looks at 6,100 others",
    ),
    "a GPU that lies idle": (
        Facts(replace(ON_CPU, tokens_per_second=8.0), "writing", 7.5, unused_gpu="NVIDIA GeForce RTX 3060", now=CALM),
        "RTX 3060 is there, but this llama.cpp does not use it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_each_cause_has_its_sentence(name: str) -> None:
    facts, sentence = TABLE[name]
    assert why_slow(facts) == sentence


def test_layers_and_experts_outside_the_gpu_are_the_cause_only_where_they_are_felt(plans: dict[str, Plan]) -> None:
    partial, experts = (
        Facts(replace(plans[name], tokens_per_second=7.0), "writing", 6.5, now=CALM) for name in ("partial", "experts")
    )
    layers = partial.plan.layers + 1
    left = layers - partial.plan.gpu_layers
    assert why_slow(partial) == f"{left} of {layers} layers run on the CPU: made up cannot hold them all"
    count = experts.plan.layout.experts_on_host
    assert why_slow(experts) == f"the experts of {count} of 32 layers are in main memory: RTX 4070 cannot hold them all"
    assert why_slow(replace(partial, tokens_per_second=12.0)) is None


def test_on_a_gpu_other_programs_and_the_clock_do_not_count_until_no_core_is_left(plans: dict[str, Plan]) -> None:
    facts = Facts(plans["gpu"], "writing", tokens_per_second=4.0, now=CALM)
    assert "not known" in str(why_slow(with_conditions(facts, other_cores=4.0, clock=0.2)))
    assert why_slow(with_conditions(facts, other_cores=7.8)) == "other programs use 7.8 of 8 cores"


def test_what_a_processor_must_read_for_each_token_explains_a_rate_below_that_of_people(plans: dict[str, Plan]) -> None:
    facts = Facts(replace(plans["memory"], tokens_per_second=None), "writing", 3.0, now=CALM)
    assert str(why_slow(facts)).startswith("the processor reads ")
    assert str(why_slow(facts)).endswith(" GiB of weights for each token")


def test_every_sentence_fits_on_a_narrow_screen() -> None:
    assert all(len(f"slow: {sentence}") <= 76 for _, sentence in TABLE.values() if sentence)


# Places


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("NVIDIA GeForce RTX 4070", "RTX 4070"),
        ("NVIDIA GeForce RTX 4060 Ti", "RTX 4060 Ti"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("AMD Radeon 780M Graphics (RADV PHOENIX)", "Radeon 780M"),
        ("Intel(R) Arc(TM) A770 Graphics (DG2)", "Arc A770"),
        ("Apple M2", "Apple M2"),
        ("NVIDIA", "NVIDIA"),
        ("(nothing but this)", "(nothing but this)"),
        ("\x1b[31mred " + "x" * 500, "␛[31mred xxxxxxxxxxxxxx…"),
    ],
)
def test_a_gpu_has_the_name_under_which_it_is_sold(description: str, name: str) -> None:
    assert gpu_name(description) == name


def test_a_place_says_in_words_where_a_model_runs(plans: dict[str, Plan]) -> None:
    assert place(ON_CPU) == "CPU"
    assert threads(ON_CPU) == "2 threads"
    assert place(plans["gpu"]) == "RTX 4070"
    assert threads(plans["gpu"]) == ""
    assert place(plans["two"]).startswith("2 x RTX 3060")
    partial = plans["partial"]
    assert place(partial) == f"made up, {partial.gpu_layers} of 33 layers"
    count = plans["experts"].layout.experts_on_host
    assert place(plans["experts"]) == f"RTX 4070, {count}/32 experts on CPU"


# The edge


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=0.00", 0.125),
        ("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0.0),
        ("", None),
        ("full avg10=1.00 avg60=", None),
    ],
)
def test_stalls_are_read_from_the_kernels_account(text: str, part: float | None) -> None:
    assert stalled(text) == part


@pytest.mark.parametrize(
    ("files", "saves"),
    [
        ({}, False),
        ({"sys__firmware__acpi__platform_profile": "low-power\n"}, True),
        ({"sys__firmware__acpi__platform_profile": "balanced\n"}, False),
        ({"cpu__energy_performance_preference": "power\n"}, True),
        ({"cpu__scaling_driver": "intel_pstate\n", "cpu__scaling_governor": "powersave\n"}, False),
        ({"cpu__scaling_driver": "acpi-cpufreq\n", "cpu__scaling_governor": "powersave\n"}, True),
    ],
)
def test_a_governor_named_powersave_counts_only_where_it_means_it(
    tmp_path: Path, files: dict[str, str], saves: bool
) -> None:
    folder = "sys__devices__system__cpu__cpu0__cpufreq__"
    put(tmp_path, **{name.replace("cpu__", folder, 1) if name.startswith("cpu__") else name: text
                     for name, text in files.items()})  # fmt: skip
    assert saves_power(tmp_path) is saves


def test_the_clock_is_that_of_the_fastest_core(tmp_path: Path) -> None:
    assert clock(tmp_path) is None
    for cpu, speed in enumerate((800_000, 1_900_000)):
        folder = f"sys__devices__system__cpu__cpu{cpu}__cpufreq__"
        put(tmp_path, **{f"{folder}scaling_cur_freq": f"{speed}\n", f"{folder}cpuinfo_max_freq": "3800000\n"})
    assert clock(tmp_path) in (800_000 / 3_800_000, 0.5)  # the second core may not be ours


def test_what_is_counted_is_counted_between_two_looks(tmp_path: Path) -> None:
    put(tmp_path, proc__pressure__memory="some avg10=25.00 avg60=0.00\n")
    swapped = iter([1 << 30, (1 << 30) + (64 << 20)])
    watch = Watch(tmp_path, lambda: next(swapped))
    first = watch.look()
    assert (first.other_cores, first.swapped_bytes_per_second, first.memory_stall) == (None, None, 0.25)
    time.sleep(0.3)
    second = watch.look()
    assert second.swapped_bytes_per_second is not None
    assert 0 < second.swapped_bytes_per_second <= (64 << 20) / 0.3
    assert second.other_cores is not None
    assert 0 <= second.other_cores <= second.cores + 1


def test_this_machine_can_be_looked_at_and_our_own_work_is_counted_as_ours() -> None:
    before = own_seconds()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert 0.2 <= own_seconds() - before < 5
    found = Watch().look()
    assert 0 < (found.available_bytes or 0) <= found.total_bytes
