"""What loading teaches: what a device takes besides, and what did not fit."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from planning import GIB, MACHINES, MIB, MISTRAL, device, machine, made_up, planned

from localchat.llama.placement import HOST
from localchat.plan import truth
from localchat.plan.lessons import NONE, Lessons
from localchat.plan.make import Machine, make_plan
from localchat.plan.truth import Load, Part, lessons, load_of, loads, remember
from localchat.plan.wish import Wish

NOW = datetime.now(UTC).isoformat(timespec="seconds")
BUILD = version("llama-cpp-python")
HARDWARE = machine(16, 12, device("gpu", 8, 7))
LOADED = Load(
    "a" * 64, "loaded", 8192, "f16", 33, {"CUDA0": Part(GIB, GIB, 7 * GIB), HOST: Part(300 * MIB, 290 * MIB, 12 * GIB)},
    at=NOW, build=BUILD,
)  # fmt: skip
FAILED = replace(LOADED, outcome="failed", short_of="CUDA0", parts={"CUDA0": Part(5 * GIB, None, 7 * GIB)})


@pytest.fixture(autouse=True)
def no_dry_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.make.find_works", made_up())


def taking(*beyond: int, **changes: Any) -> list[Load]:
    """Loads that took so much more of the GPU than had been predicted."""
    return [replace(LOADED, parts={"CUDA0": Part(GIB, GIB + count, 7 * GIB)}, **changes) for count in beyond]


def test_who_never_loaded_anything_has_learned_nothing() -> None:
    assert loads() == []
    assert lessons([], HARDWARE, "a" * 64) == NONE


def test_a_load_is_remembered_with_its_time_and_build(home: Path) -> None:
    remember(replace(LOADED, at="", build=""))
    (found,) = loads()
    assert found.build == BUILD
    assert datetime.fromisoformat(found.at) - datetime.now(UTC) < timedelta(seconds=10)
    assert replace(found, at=NOW) == LOADED
    assert (home / "measured" / "loads.json").stat().st_mode & 0o77 == 0


def test_a_load_says_what_its_plan_predicted() -> None:
    chosen = planned(MISTRAL, MACHINES["nvidia-8gb"])
    load = load_of("b" * 64, chosen, "loaded", {"CUDA0": 5})
    device_part, host_part = (part for part in chosen.predicted)
    assert load.parts == {
        "CUDA0": Part(device_part.use.total_bytes, 5, device_part.room.free_bytes),
        HOST: Part(host_part.use.total_bytes, None, host_part.room.free_bytes),
    }
    assert (load.context, load.kv_type, load.gpu_layers, load.short_of) == (8192, "f16", 33, None)


@pytest.mark.parametrize(
    ("beyond", "learned"),
    [
        ([200 * MIB], {"CUDA0": 200 * MIB}),
        ([100 * MIB, 300 * MIB, 200 * MIB], {"CUDA0": 200 * MIB}),
        ([900 * MIB, *[100 * MIB] * 5], {"CUDA0": 100 * MIB}),  # only the last five count
        ([0], {}),
        ([-200 * MIB], {}),  # what took less is no reason to take more
        ([2 * GIB], {}),  # another program took it at the same moment
        ([100 * MIB, 2 * GIB, 100 * MIB], {"CUDA0": 100 * MIB}),
    ],
)
def test_what_devices_take_besides_is_added_to_the_margin(beyond: list[int], learned: dict[str, int]) -> None:
    assert lessons(taking(*beyond), HARDWARE).overheads == learned


def test_what_a_device_takes_besides_is_the_same_for_every_model() -> None:
    assert lessons(taking(100 * MIB, model="b" * 64), HARDWARE, "a" * 64).overheads == {"CUDA0": 100 * MIB}


def test_loads_of_another_build_and_loads_that_failed_do_not_say_what_is_taken() -> None:
    assert lessons(taking(100 * MIB, build="0.0.1"), HARDWARE) == NONE
    assert lessons(taking(100 * MIB, outcome="failed"), HARDWARE).overheads == {}
    assert lessons(taking(100 * MIB, outcome="planned"), HARDWARE).overheads == {}


def test_what_did_not_fit_is_not_tried_again() -> None:
    assert lessons([FAILED], HARDWARE, "a" * 64) == Lessons({}, {"CUDA0": 5 * GIB})


FORGOTTEN = {
    "another model": (replace(FAILED, model="b" * 64), HARDWARE),
    "another build": (replace(FAILED, build="0.0.1"), HARDWARE),
    "a week ago": (replace(FAILED, at=(datetime.now(UTC) - timedelta(days=8)).isoformat()), HARDWARE),
    "more is free now": (FAILED, machine(16, 12, device("gpu", 8, 7.8))),
    "it did not fail": (replace(FAILED, outcome="loaded"), HARDWARE),
    "the memory is not named": (replace(FAILED, short_of=None), HARDWARE),
    "the memory has no part": (replace(FAILED, short_of="CUDA1"), HARDWARE),
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_a_failure_is_forgotten(name: str) -> None:
    load, hardware = FORGOTTEN[name]
    assert lessons([load], hardware, "a" * 64).ceilings == {}


def test_a_failure_in_main_memory_holds_while_no_more_of_it_is_free() -> None:
    load = replace(FAILED, short_of=HOST, parts={HOST: Part(9 * GIB, None, 12 * GIB)})
    assert lessons([load], machine(16, 12), "a" * 64).ceilings == {HOST: 9 * GIB}
    assert lessons([load], machine(16, 13), "a" * 64).ceilings == {HOST: 9 * GIB}
    assert lessons([load], machine(16, 13.5), "a" * 64).ceilings == {}


def test_of_several_failures_the_last_counts() -> None:
    smaller = replace(FAILED, parts={"CUDA0": Part(4 * GIB, None, 7 * GIB)})
    assert lessons([FAILED, smaller], HARDWARE, "a" * 64).ceilings == {"CUDA0": 4 * GIB}


def test_after_a_failure_the_next_plan_is_smaller_and_after_that_smaller_still() -> None:
    sizes, hardware = [], machine(16, 12, device("gpu", 8, 7))
    for _ in range(3):
        chosen = make_plan(MISTRAL, Machine(hardware), Wish(), "a" * 64)
        sizes.append(next(part.use.total_bytes for part in chosen.predicted if part.use.name == "CUDA0"))
        remember(load_of("a" * 64, chosen, "failed", {}, "CUDA0"))
    assert sizes == sorted(set(sizes), reverse=True)
    assert make_plan(MISTRAL, Machine(hardware), Wish(), "b" * 64).predicted[0].use.total_bytes == sizes[0]
    assert make_plan(MISTRAL, Machine(hardware, is_here=False), Wish()).predicted[0].use.total_bytes == sizes[0]


def test_what_a_load_took_besides_is_left_free_by_the_next_plan() -> None:
    hardware = machine(16, 12, device("gpu", 8, 7))
    first = make_plan(MISTRAL, Machine(hardware), Wish(), "a" * 64)
    taken = first.predicted[0].use.total_bytes + 500 * MIB
    remember(load_of("a" * 64, first, "loaded", {"CUDA0": taken}))
    second = make_plan(MISTRAL, Machine(hardware), Wish(), "a" * 64)
    assert second.predicted[0].room.margin_bytes == first.predicted[0].room.margin_bytes + 500 * MIB
    assert second.predicted[0].use.total_bytes <= first.predicted[0].room.limit_bytes - 500 * MIB


def test_old_loads_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "KEPT", 3)
    for number in range(5):
        remember(replace(LOADED, context=number))
    assert [load.context for load in loads()] == [2, 3, 4]


GOOD = json.loads(json.dumps(asdict(LOADED)))
PART = {"predicted_bytes": 1, "actual_bytes": None, "free_bytes": 1}
DAMAGED: dict[str, Any] = {
    "is no JSON": "{",
    "is a list": "[]",
    "has no loads": "{}",
    "has null for loads": '{"loads": null}',
    "has a number for loads": '{"loads": 5}',
    **{
        f"has a load with {field} {value!r}": json.dumps({"loads": [GOOD, GOOD | {field: value}]})
        for field, value in [
            ("context", "8192"), ("context", None), ("gpu_layers", 1.5), ("parts", []), ("parts", None),
            ("parts", {"CUDA0": 5}), ("parts", {"CUDA0": {}}), ("parts", {"CUDA0": PART | {"predicted_bytes": "1"}}),
            ("parts", {"CUDA0": PART | {"actual_bytes": "1"}}), ("parts", {"CUDA0": PART | {"free_bytes": None}}),
            ("parts", {"CUDA0": PART | {"more": 1}}), ("parts", [1]), ("at", 5), ("at", "yesterday"),
            ("at", "2026-01-01T00:00:00"), ("more", 1),
        ]
    },
    "has a load that is none": '{"loads": [5]}',
    "has a load of nothing": '{"loads": [{}]}',
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_teaches_nothing_and_is_written_anew(content: str, home: Path) -> None:
    (home / "measured").mkdir(parents=True)
    (home / "measured" / "loads.json").write_text(content)
    assert loads() == []
    assert make_plan(MISTRAL, Machine(HARDWARE), Wish(), "a" * 64).quant
    remember(LOADED)
    assert len(loads()) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("outcome", 5), ("outcome", "exploded"), ("model", 5), ("kv_type", None), ("short_of", 5), ("short_of", []),
     ("short_of", ["CUDA0"]),
     ("build", 5), ("build", None), ("at", ""), ("at", None)],
)  # fmt: skip
def test_fields_of_the_wrong_kind_do_no_harm(field: str, value: Any, home: Path) -> None:
    (home / "measured").mkdir(parents=True)
    failed = json.loads(json.dumps(asdict(FAILED)))
    (home / "measured" / "loads.json").write_text(json.dumps({"loads": [failed | {field: value}]}))
    assert make_plan(MISTRAL, Machine(HARDWARE), Wish(), "a" * 64).quant


def test_where_nothing_can_be_written_only_experience_is_lost(home: Path) -> None:
    (home / "measured" / "loads.json").mkdir(parents=True)
    remember(LOADED)
    assert loads() == []
