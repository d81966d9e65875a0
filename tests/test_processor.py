"""The processor of machines that are not here: two kinds of cores, containers, and systems that say little."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
from machine_root import V1_MOUNTS, V2_MOUNT, cpus, group, member, write

from localchat.plan import processor
from localchat.plan.cgroup import cpu_limit
from localchat.plan.processor import cpu_list, fast_cpus, physical_cores, processor_name, read_processor

ALDER_LAKE = [(0, 1), (2, 3), (4,), (5,), (6,), (7,)]


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The CPUs that the process may run on, eight unless a test changes it."""
    chosen = set(range(8))
    monkeypatch.setattr(processor, "allowed_cpus", lambda: frozenset(chosen))
    monkeypatch.setattr(sys, "platform", "linux")
    return chosen


@pytest.mark.usefixtures("allowed")
def test_the_small_cores_of_an_intel_hybrid_do_not_count(tmp_path: Path) -> None:
    cpus(tmp_path, ALDER_LAKE)
    write(tmp_path, "sys/devices/cpu_core/cpus", "0-3")
    write(tmp_path, "sys/devices/cpu_atom/cpus", "4-7")
    found = read_processor(("avx2",), tmp_path)
    assert (found.performance_cores, found.logical_cores, found.features) == (2, 8, ("avx2",))


def test_a_process_that_is_kept_to_the_small_cores_uses_them(tmp_path: Path, allowed: set[int]) -> None:
    cpus(tmp_path, ALDER_LAKE)
    write(tmp_path, "sys/devices/cpu_core/cpus", "0-3")
    allowed -= {0, 1, 2, 3}
    assert read_processor((), tmp_path).performance_cores == 4


@pytest.mark.parametrize(
    ("capacities", "cores"),
    [
        ([1024, 1024, 1024, 1024, 446, 446, 446, 446], 4),
        ([1024, 870, 870, 870, 325, 325, 325, 325], 4),  # one that is faster still
        ([1024] * 8, 8),
    ],
)
@pytest.mark.usefixtures("allowed")
def test_the_little_cores_of_arm_do_not_count(tmp_path: Path, capacities: list[int], cores: int) -> None:
    cpus(tmp_path, [(cpu,) for cpu in range(8)], cpu_capacity=capacities)
    assert read_processor((), tmp_path).performance_cores == cores


@pytest.mark.parametrize(
    ("clocks", "cores"),
    [
        ([5_100_000] * 4 + [3_300_000] * 4, 4),
        ([5_200_000] * 2 + [4_700_000] * 6, 8),  # two that may boost are of the same kind
        ([0] * 8, 8),
    ],
)
@pytest.mark.usefixtures("allowed")
def test_clock_rates_tell_kinds_apart_only_where_they_are_far_apart(
    tmp_path: Path, clocks: list[int], cores: int
) -> None:
    cpus(tmp_path, [(cpu,) for cpu in range(8)], cpufreq__cpuinfo_max_freq=clocks)
    assert read_processor((), tmp_path).performance_cores == cores


def test_capacities_that_are_known_of_some_cores_alone_tell_nothing(tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpu_capacity", "1024")
    assert fast_cpus({0, 1}, tmp_path) == {0, 1}


@pytest.mark.usefixtures("allowed")
def test_a_second_thread_on_a_core_is_no_core(tmp_path: Path) -> None:
    cpus(tmp_path, [(0, 4), (1, 5), (2, 6), (3, 7)])
    assert read_processor((), tmp_path).performance_cores == 4


def test_cores_are_told_apart_by_package_and_number_in_older_kernels(tmp_path: Path) -> None:
    for cpu in range(8):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", str(cpu // 4))
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/core_id", str(cpu % 2))
    assert physical_cores(range(8), tmp_path) == 4


@pytest.mark.parametrize(("physical", "cores"), [(4, 4), (16, 8), (None, 8)])
@pytest.mark.usefixtures("allowed")
def test_a_system_that_tells_nothing_of_its_cores_is_asked_by_psutil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, physical: int | None, cores: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda **_: physical)
    assert read_processor((), tmp_path).performance_cores == cores


def test_no_more_cores_are_used_than_the_process_may_run_on(tmp_path: Path, allowed: set[int]) -> None:
    cpus(tmp_path, [(cpu,) for cpu in range(8)])
    allowed -= {0, 1, 2, 3, 4}
    found = read_processor((), tmp_path)
    assert (found.performance_cores, found.logical_cores) == (3, 3)


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8)])
@pytest.mark.usefixtures("allowed")
def test_a_quota_of_version_2_limits_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    cpus(tmp_path, [(cpu,) for cpu in range(8)])
    member(tmp_path, "0::/user.slice/chat.service", V2_MOUNT)
    group(tmp_path, "user.slice/chat.service", cpu_max="max 100000")
    group(tmp_path, "user.slice", cpu_max=quota)
    found = read_processor((), tmp_path)
    assert (found.performance_cores, found.logical_cores) == (cores, cores)


@pytest.mark.parametrize(("quota", "limit"), [("250000", 3), ("-1", None), ("0", None)])
def test_a_quota_of_version_1_limits_the_cores(tmp_path: Path, quota: str, limit: int | None) -> None:
    member(tmp_path, "4:cpu,cpuacct:/docker/abc\n0::/", V1_MOUNTS)
    group(tmp_path, "cpu,cpuacct/docker/abc", cpu_cfs_quota_us=quota, cpu_cfs_period_us="100000")
    assert cpu_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8\n", {0, 1, 2, 3, 8}),
        ("5", {5}),
        ("", set()),
        ("x", set()),
        ("3-", {3}),
        ("-3", set()),
        ("0-99999999999", set()),
        ("0,,1", set()),
    ],
)
def test_lists_of_cpus(text: str, cpus: set[int]) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel : 2\nmodel name : AMD EPYC \x1b[31m", "AMD EPYC ␛[31m"),
        ("processor : 0\nHardware : BCM2835\nModel : Raspberry Pi 4", "BCM2835"),
        ("processor : 0\nModel : Raspberry Pi 5", "Raspberry Pi 5"),
    ],
)
@pytest.mark.usefixtures("allowed")
def test_the_name_of_the_processor(tmp_path: Path, text: str, name: str) -> None:
    write(tmp_path, "proc/cpuinfo", text)
    assert processor_name(tmp_path) == name


@pytest.mark.usefixtures("allowed")
def test_a_processor_without_a_name_is_called_by_its_kind(tmp_path: Path) -> None:
    assert processor_name(tmp_path)


@pytest.mark.usefixtures("allowed")
def test_a_mac_says_which_cores_are_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"hw.perflevel0.physicalcpu": "4\n", "machdep.cpu.brand_string": "Apple M2\n"}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(processor, "_sysctl", answers.__getitem__)
    found = read_processor((), tmp_path)
    assert (found.name, found.performance_cores, found.logical_cores) == ("Apple M2", 4, 8)
    answers["hw.perflevel0.physicalcpu"] = ""  # Intel's Macs have one kind only
    monkeypatch.setattr(psutil, "cpu_count", lambda **_: 6)
    assert read_processor((), tmp_path).performance_cores == 6
