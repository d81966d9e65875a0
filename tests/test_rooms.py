"""How much of each memory may be used."""

from __future__ import annotations

import pytest
from planning import GIB, MIB, device, machine

from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware, System
from localchat.plan.lessons import NONE, Lessons
from localchat.plan.margins import DEVICE, Margin
from localchat.plan.margins import HOST as HOST_MARGINS
from localchat.plan.rooms import Rooms, rooms
from localchat.plan.wish import Wish

WHOLE = Wish()
GPU, OTHER = device("gpu", 8, 7), device("gpu", 12, 11, "CUDA1")
IGPU, METAL = device("igpu", 16, 15, "Vulkan0"), device("gpu", 12, 11, "MTL0")
BLAS = device("accelerator", 0, 0, "BLAS")


def found(hardware: Hardware, wish: Wish = WHOLE, lessons: Lessons = NONE) -> Rooms:
    return rooms(hardware, wish, lessons)


@pytest.mark.parametrize(
    ("devices", "names"),
    [
        ((), []),
        ((GPU,), ["CUDA0"]),
        ((GPU, OTHER), ["CUDA0", "CUDA1"]),
        ((IGPU,), ["Vulkan0"]),
        ((IGPU, GPU), ["CUDA0"]),  # an integrated one would only slow the other down
        ((BLAS,), []),
        ((BLAS, METAL), ["MTL0"]),
        ((BLAS, IGPU), ["Vulkan0"]),
    ],
)
def test_which_devices_have_room_for_a_model(devices: tuple[object, ...], names: list[str]) -> None:
    spaces = found(machine(32, 26, *devices))
    assert [room.name for room in spaces.devices] == names
    assert spaces.host.name == HOST


@pytest.mark.parametrize(("one", "is_shared"), [(GPU, False), (IGPU, True), (METAL, True)])
def test_what_is_the_main_memory_under_another_name_is_known(one: object, is_shared: bool) -> None:
    spaces = found(machine(32, 26, one))
    assert [room.is_shared for room in spaces.devices] == [is_shared]
    assert not spaces.host.is_shared


@pytest.mark.parametrize(
    ("system", "screen", "of_device", "of_host"),
    [
        ("linux", False, 300, 1638), ("linux", True, 600, 3276),
        ("windows", False, 900, 3276), ("windows", True, 900, 3276),
        ("macos", False, 300, 3276), ("macos", True, 600, 3276),
    ],
)  # fmt: skip
def test_margins_by_system_and_screen(system: System, screen: bool, of_device: int, of_host: int) -> None:
    spaces = found(machine(32, 26, GPU, system=system, screen=screen))
    assert spaces.devices[0].margin_bytes == of_device * MIB
    assert spaces.host.margin_bytes // MIB == of_host
    for room in (spaces.host, *spaces.devices):
        assert room.limit_bytes == room.free_bytes - room.margin_bytes


@pytest.mark.parametrize(("total", "margin"), [(2, 512), (8, 512), (10, 512), (16, 819), (64, 3276)])
def test_in_a_large_memory_a_part_of_it_is_left_alone(total: int, margin: int) -> None:
    assert found(machine(total, total)).host.margin_bytes // MIB == margin


def test_every_system_has_its_margins() -> None:
    assert set(DEVICE) == set(HOST_MARGINS)
    assert len(DEVICE) == 6
    for table in (DEVICE, HOST_MARGINS):
        for system in ("linux", "macos", "windows"):
            assert table[system, "headless"].of(64 * GIB) <= table[system, "desktop"].of(64 * GIB)
    assert Margin(5, 0.5).of(4) == 5
    assert Margin(5, 0.5).of(40) == 20


def test_a_memory_that_is_nearly_full_has_no_room_and_never_less() -> None:
    spaces = found(machine(8, 0.2, device("gpu", 8, 0.1)))
    assert spaces.host.limit_bytes == 0
    assert spaces.devices[0].limit_bytes == 0


def test_the_user_may_allow_less() -> None:
    spaces = found(machine(32, 26, GPU, OTHER), Wish(gpu_memory_bytes=3 * GIB, memory_bytes=2 * GIB))
    assert [room.limit_bytes for room in spaces.devices] == [3 * GIB, 3 * GIB]
    assert spaces.host.limit_bytes == 2 * GIB


def test_the_user_cannot_allow_more_than_there_is() -> None:
    limits = Wish(gpu_memory_bytes=1 << 60, memory_bytes=1 << 60)
    assert found(machine(32, 26, GPU), limits) == found(machine(32, 26, GPU))


def test_what_was_learned_makes_the_margin_larger() -> None:
    plain = found(machine(32, 26, GPU, OTHER))
    taught = found(machine(32, 26, GPU, OTHER), lessons=Lessons({"CUDA1": 100 * MIB, HOST: 50 * MIB, "gone": 1}))
    assert taught.devices[0] == plain.devices[0]
    assert taught.devices[1].margin_bytes == plain.devices[1].margin_bytes + 100 * MIB
    assert taught.devices[1].limit_bytes == plain.devices[1].limit_bytes - 100 * MIB
    assert taught.host.limit_bytes == plain.host.limit_bytes - 50 * MIB


def test_what_could_not_be_had_is_one_byte_too_many() -> None:
    taught = found(machine(32, 26, GPU), lessons=Lessons(ceilings={"CUDA0": 5 * GIB}))
    assert taught.devices[0].limit_bytes == 5 * GIB - 1
    high = found(machine(32, 26, GPU), lessons=Lessons(ceilings={"CUDA0": 50 * GIB}))
    assert high == found(machine(32, 26, GPU))
    assert found(machine(32, 26, GPU), lessons=Lessons(ceilings={"CUDA0": 0})).devices[0].limit_bytes == 0


def test_the_smallest_limit_counts() -> None:
    lessons = Lessons({"CUDA0": GIB}, {"CUDA0": 4 * GIB})
    for allowed, limit in ((3 * GIB, 3 * GIB), (0, 4 * GIB - 1), (6 * GIB, 4 * GIB - 1)):
        spaces = found(machine(32, 26, GPU), Wish(gpu_memory_bytes=allowed), lessons)
        assert spaces.devices[0].limit_bytes == limit
