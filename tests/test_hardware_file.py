"""Hardware as JSON: it comes back as it was, and nonsense ends in one sentence that names the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.llama.devices import Device
from localchat.plan.hardware import Hardware, Memory, Processor, UnusedGpu
from localchat.plan.hardware_file import hardware_json, read_hardware

MACHINES = sorted((Path(__file__).parent / "data" / "machines").glob("*.json"))
GIB = 1 << 30
FULL = Hardware(
    system="windows",
    processor=Processor("Some CPU", 6, 12, ("avx2", "fma")),
    memory=Memory(32 * GIB, 20 * GIB, 8 * GIB, 7 * GIB),
    disk_free_bytes=400 * GIB,
    devices=(
        Device("CUDA0", "Some GPU", "gpu", "CUDA", 12 * GIB, 11 * GIB, 4.284e11),
        Device("RPC0", "10.0.0.5:50052", "gpu", "RPC", 8 * GIB, 8 * GIB),
    ),
    unused_gpus=(UnusedGpu("Other GPU", 'CMAKE_ARGS="-DGGML_VULKAN=ON" pip install x'),),
    has_screen=True,
    on_battery=False,
    memory_bandwidth_bytes_per_second=6.02e10,
)
BARE = Hardware("linux", Processor("", 1, 1), Memory(GIB, 0), 0)


def written(folder: Path, value: object) -> Path:
    path = folder / "machine.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize("hardware", [FULL, BARE], ids=["full", "bare"])
def test_what_is_written_comes_back(tmp_path: Path, hardware: Hardware) -> None:
    assert read_hardware(written(tmp_path, hardware_json(hardware))) == hardware


def test_the_shape_that_programs_rely_on() -> None:
    facts = hardware_json(FULL)
    assert set(facts["cpu"]) == {"name", "performance_cores", "logical_cores", "features"}
    assert {"total_bytes", "available_bytes"} <= set(facts["memory"])
    assert {"name", "description", "kind", "backend", "total_bytes", "free_bytes"} <= set(facts["devices"][0])
    assert set(facts["unused_gpus"][0]) == {"name", "fix"}
    assert facts["disk"] == {"free_bytes": 400 * GIB}
    assert facts["on_battery"] is False
    assert facts["memory_bandwidth_bytes_per_second"] == 6.02e10


def test_there_are_machines_of_all_kinds() -> None:
    assert len(MACHINES) == 10
    found = {path.stem: read_hardware(path) for path in MACHINES}
    assert found["mac-16gb"].system == "macos"
    assert found["integrated"].devices[0].kind == "igpu"
    assert len(found["two-gpus"].devices) == 2
    assert not found["server-2core"].has_screen


@pytest.mark.parametrize("path", MACHINES, ids=[path.stem for path in MACHINES])
def test_each_machine_is_sound(path: Path) -> None:
    found = read_hardware(path)
    assert hardware_json(found) == json.loads(path.read_text())
    assert found.memory.available_bytes > 4 * GIB
    assert found.memory_bandwidth_bytes_per_second
    for device in found.devices:
        assert device.memory_bandwidth_bytes_per_second
        assert device.free_bytes <= device.total_bytes


def test_fields_that_were_added_later_may_be_absent(tmp_path: Path) -> None:
    raw = hardware_json(FULL)
    for name in ("system", "has_screen", "on_battery", "memory_bandwidth_bytes_per_second"):
        del raw[name]
    for name in ("swap_total_bytes", "swap_free_bytes"):
        del raw["memory"][name]
    del raw["devices"][0]["memory_bandwidth_bytes_per_second"]
    found = read_hardware(written(tmp_path, raw))
    assert (found.system, found.has_screen, found.on_battery) == ("linux", False, None)
    assert (found.memory.swap_total_bytes, found.devices[0].memory_bandwidth_bytes_per_second) == (0, None)


def test_metal_is_found_on_a_mac_alone(tmp_path: Path) -> None:
    raw = hardware_json(FULL)
    del raw["system"]
    raw["devices"][0]["backend"] = "MTL"
    assert read_hardware(written(tmp_path, raw)).system == "macos"


def test_unknown_fields_are_left_out(tmp_path: Path) -> None:
    raw = hardware_json(FULL)
    raw["more"] = raw["cpu"]["more"] = raw["devices"][0]["more"] = [1]
    assert read_hardware(written(tmp_path, raw)) == FULL


def test_names_are_cleaned(tmp_path: Path) -> None:
    raw = hardware_json(FULL)
    raw["cpu"]["name"] = "evil\x1b[2J\ncpu\ud800" + "x" * 1000
    raw["devices"][0]["description"] = "\u202egpu"
    found = read_hardware(written(tmp_path, raw))
    assert found.processor.name.startswith("evil␛[2J cpu\ufffdx")
    assert len(found.processor.name) == 200
    assert found.devices[0].description == "gpu"


NO_SIZES = [-1, 1 << 60, 1.5, "8", None, True, [], 10**400]
NO_RATES = [0, -1, 1e300, "fast", True, [], 10**400]
BAD: list[tuple[str, list[Any]]] = [
    ("system", ["beos", 1, None, []]),
    ("cpu", [None, [], 1]),
    ("cpu.name", [None, 1]),
    ("cpu.performance_cores", [0, -1, 13, 1.0, "6", True]),
    ("cpu.logical_cores", [0, 1 << 20, None]),
    ("cpu.features", [None, "avx2", [1], ["x"] * 300]),
    ("memory", [None, []]),
    ("memory.total_bytes", [0, *NO_SIZES]),
    ("memory.available_bytes", [33 * GIB, *NO_SIZES]),
    ("memory.swap_total_bytes", NO_SIZES),
    ("memory.swap_free_bytes", [9 * GIB, *NO_SIZES]),
    ("devices", [None, {}, [1], "x", [{}] * 65]),
    ("devices[0].name", [None, 1]),
    ("devices[0].kind", ["cpu", "tpu", 1, None]),
    ("devices[0].backend", [None, {}]),
    ("devices[1].total_bytes", NO_SIZES),
    ("devices[1].free_bytes", [9 * GIB, *NO_SIZES]),
    ("devices[0].memory_bandwidth_bytes_per_second", NO_RATES),
    ("unused_gpus", [None, {}, [None]]),
    ("unused_gpus[0].fix", [None, 1]),
    ("disk", [None, 5]),
    ("disk.free_bytes", NO_SIZES),
    ("has_screen", [1, "yes"]),
    ("on_battery", [0, "no"]),
    ("memory_bandwidth_bytes_per_second", NO_RATES),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD for value in values], ids=repr)
def test_nonsense_is_refused_by_name(tmp_path: Path, field: str, value: Any) -> None:
    raw: Any = hardware_json(FULL)
    *way, last = field.replace("[", ".").replace("]", "").split(".")
    place = raw
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    with refused("machine.json", f"{field} must be"):
        read_hardware(written(tmp_path, raw))


@pytest.mark.parametrize("field", ["cpu", "memory", "devices", "unused_gpus", "disk"])
def test_what_is_missing_is_said(tmp_path: Path, field: str) -> None:
    raw = hardware_json(FULL)
    del raw[field]
    with refused(f"{field} is missing"):
        read_hardware(written(tmp_path, raw))


NO_JSON = {
    "empty": "",
    "text": "8 GB of memory",
    "list": "[]",
    "not a number": json.dumps(hardware_json(FULL)).replace("60200000000.0", "NaN"),
    "infinite": json.dumps(hardware_json(FULL)).replace("60200000000.0", "1e999"),
    "endless digits": json.dumps(hardware_json(FULL)).replace("60200000000.0", "9" * 5000),
    "deep": "[" * 100_000,
    "doubled": '{"cpu": {}, "cpu": {}}',
    "half": json.dumps(hardware_json(FULL))[:-20],
}


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_hardware_file_is_refused(tmp_path: Path, text: str) -> None:
    with refused("machine.json"):
        read_hardware(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with refused("machine.json cannot be read"):
        read_hardware(tmp_path / "machine.json")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_anywhere_is_sound_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    raw: Any = hardware_json(FULL)
    section = data.draw(st.sampled_from(["", "cpu", "memory", "disk"]))
    place = raw[section] if section else data.draw(st.sampled_from([raw, raw["devices"][0], raw["unused_gpus"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(VALUES)
    with sound_or_refused():
        found = read_hardware(written(tmp_path, raw))
        assert read_hardware(written(tmp_path, hardware_json(found))) == found
