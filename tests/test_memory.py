"""The memory of a process in control groups of both versions, nested and not."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from machine_root import V1_MOUNTS, V2_MOUNT, group, member, write

from localchat.plan.hardware import Memory
from localchat.plan.memory import limited, read_memory

GIB = 1 << 30
SYSTEM = Memory(32 * GIB, 20 * GIB, 4 * GIB, 3 * GIB)


def sizes(memory: Memory) -> tuple[float, float]:
    """Total and available in GiB; swap stays what it is."""
    assert (memory.swap_total_bytes, memory.swap_free_bytes) == (4 * GIB, 3 * GIB)
    return memory.total_bytes / GIB, memory.available_bytes / GIB


def test_without_groups_the_memory_is_the_system_s(tmp_path: Path) -> None:
    assert limited(SYSTEM, tmp_path) == SYSTEM


def test_a_limit_of_version_2(tmp_path: Path) -> None:
    member(tmp_path, "0::/docker/abc", V2_MOUNT)
    group(tmp_path, "docker/abc", memory_max=8 * GIB, memory_current=3 * GIB)
    assert sizes(limited(SYSTEM, tmp_path)) == (8, 5)


def test_files_in_the_cache_can_be_had_back(tmp_path: Path) -> None:
    member(tmp_path, "0::/docker/abc", V2_MOUNT)
    group(tmp_path, "docker/abc", memory_max=8 * GIB, memory_current=7 * GIB)
    write(tmp_path, "sys/fs/cgroup/docker/abc/memory.stat", f"anon {2 * GIB}\ninactive_file {5 * GIB}\nbroken")
    assert sizes(limited(SYSTEM, tmp_path)) == (8, 6)


def test_a_limit_of_version_1(tmp_path: Path) -> None:
    member(tmp_path, "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/", V1_MOUNTS + V2_MOUNT)
    group(tmp_path, "memory/docker/abc", memory_limit_in_bytes=6 * GIB, memory_usage_in_bytes=4 * GIB)
    write(tmp_path, "sys/fs/cgroup/memory/docker/abc/memory.stat", f"total_inactive_file {GIB}\ninactive_file 5")
    assert sizes(limited(SYSTEM, tmp_path)) == (6, 3)


def test_a_limit_of_version_1_that_is_none(tmp_path: Path) -> None:
    member(tmp_path, "9:memory:/", V1_MOUNTS)
    group(tmp_path, "memory", memory_limit_in_bytes=9223372036854771712, memory_usage_in_bytes=30 * GIB)
    assert limited(SYSTEM, tmp_path) == SYSTEM


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    member(tmp_path, "0::/user.slice/pod/chat", V2_MOUNT)
    group(tmp_path, "user.slice/pod/chat", memory_max="max", memory_current=1 * GIB)
    group(tmp_path, "user.slice/pod", memory_max=12 * GIB, memory_current=4 * GIB)
    group(tmp_path, "user.slice", memory_max=16 * GIB, memory_current=14 * GIB)
    assert sizes(limited(SYSTEM, tmp_path)) == (12, 2)


def test_a_group_that_is_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    member(tmp_path, "0::/a", V2_MOUNT)
    group(tmp_path, "a", memory_max=2 * GIB, memory_current=3 * GIB)
    assert sizes(limited(SYSTEM, tmp_path)) == (2, 0)


def test_a_limit_above_all_memory_limits_nothing(tmp_path: Path) -> None:
    member(tmp_path, "0::/a", V2_MOUNT)
    group(tmp_path, "a", memory_max=64 * GIB, memory_current=63 * GIB)
    assert limited(SYSTEM, tmp_path) == SYSTEM


@pytest.mark.parametrize("path", ["/docker/abc", "/../..", "/docker/../../../../etc"])
def test_in_a_container_that_sees_its_own_group_alone_the_mount_is_that_group(tmp_path: Path, path: str) -> None:
    member(tmp_path, f"0::{path}", V2_MOUNT)
    group(tmp_path, "", memory_max=4 * GIB, memory_current=GIB)
    assert sizes(limited(SYSTEM, tmp_path)) == (4, 3)


def test_a_mount_of_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    member(tmp_path, "0::/docker/abc/inner", V2_MOUNT.replace("0:28 / ", "0:28 /docker/abc "))
    group(tmp_path, "inner", memory_max="max")
    group(tmp_path, "", memory_max=4 * GIB, memory_current=GIB)
    assert sizes(limited(SYSTEM, tmp_path)) == (4, 3)


@pytest.mark.parametrize("mounts", ["", "x", "1 2 3 - cgroup2", " - ", V2_MOUNT.replace(" - ", " ")])
def test_mounts_that_make_no_sense_limit_nothing(tmp_path: Path, mounts: str) -> None:
    member(tmp_path, "0::/a\nnonsense\n::", mounts)
    group(tmp_path, "a", memory_max=4 * GIB)
    assert limited(SYSTEM, tmp_path) == SYSTEM


@pytest.mark.parametrize("limit", ["", "lots", "-5", "1e9", "9" * 30, "٣"])
def test_a_limit_that_is_no_number_limits_nothing(tmp_path: Path, limit: str) -> None:
    member(tmp_path, "0::/a", V2_MOUNT)
    group(tmp_path, "a", memory_max=limit, memory_current=GIB)
    assert limited(SYSTEM, tmp_path) == SYSTEM


def test_the_memory_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=9 * GIB))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(total=2 * GIB, free=GIB))
    assert read_memory(tmp_path) == Memory(8 * GIB, 8 * GIB, 2 * GIB, GIB)


def test_swap_that_the_system_does_not_tell_of_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        warnings.warn("no counters", RuntimeWarning, stacklevel=1)
        raise OSError

    monkeypatch.setattr(psutil, "swap_memory", hidden)
    assert read_memory(tmp_path).swap_total_bytes == 0
