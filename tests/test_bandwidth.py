"""The rates of devices: measured for real on the CPU, and remembered by rules."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.errors import LocalchatError
from localchat.llama import bandwidth as probe
from localchat.llama.bandwidth import TYPES, measure
from localchat.llama.devices import Device
from localchat.llama.rates import Rates
from localchat.paths import measured_folder
from localchat.plan import bandwidth as module
from localchat.plan.bandwidth import rates

GPU = Device("CUDA0", "Made-up GPU", "gpu", "CUDA", 8 << 30, 7 << 30)


class Probe:
    """Stands in for the child process: answers what it is told to, and knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.rate, self.layer_seconds, self.is_calm = 10.0, 2.0, True
        self.fails: set[str] = set()

    def __call__(self, device: str, threads: int, types: Sequence[str], _rpc: Sequence[str]) -> tuple[Rates, bool]:
        self.asked.append((device, threads))
        if device in self.fails:
            raise LocalchatError("it crashed (SIGSEGV)", "report this")
        return Rates(dict.fromkeys(types, self.rate), self.layer_seconds), self.is_calm


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Probe:
    stand_in = Probe()
    monkeypatch.setattr(module, "measure", stand_in)
    return stand_in


def measured(**more: Any) -> dict[str, Rates]:
    return rates([GPU], 4, "Made-up CPU", measure=True, **more)


def age(days: float = 0, hours: float = 0) -> None:
    """Make everything that is remembered so much older."""
    file = measured_folder() / "rates.json"
    entries = json.loads(file.read_text())
    for entry in entries.values():
        entry["at"] = (datetime.now(UTC) - timedelta(days=days, hours=hours)).isoformat()
    file.write_text(json.dumps(entries))


def test_the_cpu_is_measured_in_a_child_process() -> None:
    found, _is_calm = measure("CPU", 1, ["Q8_0", "Q4_K", "IQ3_S", "Q8_K", "nonsense"])
    assert set(found.bytes_per_second) == {"Q8_0", "Q4_K", "IQ3_S", "kv f16", "kv q8_0"}
    assert all(1e6 < rate < 1e13 for rate in found.bytes_per_second.values())
    assert 0 < found.layer_seconds < 1


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(LocalchatError, match="cannot compute on CUDA7"):
        measure("CUDA7", 1)


def test_nothing_is_measured_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ROOM_BYTES", 1 << 60)
    with pytest.raises(LocalchatError, match="too little free memory"):
        probe._measured({"device": "CPU", "threads": 1, "types": [], "rpc": []})


@pytest.mark.parametrize("reply", [{}, {"rates": 1, "layer_seconds": 1}, {"rates": {"F16": "x"}, "layer_seconds": 1}])
def test_nonsense_from_the_child_is_one_sentence(reply: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ask", lambda *_: reply)
    with pytest.raises(LocalchatError, match="could not be measured"):
        measure("CPU", 1)


def test_nothing_is_known_before_it_was_measured(child: Probe) -> None:
    assert rates([GPU], 4, "Made-up CPU", measure=False) == {}
    assert child.asked == []


def test_each_device_is_measured_once(child: Probe) -> None:
    found = measured()
    assert measured() == found == rates([GPU], 4, "Made-up CPU", measure=False)
    assert set(found) == {"CPU", "CUDA0"}
    assert child.asked == [("CPU", 4), ("CUDA0", 0)]


def test_other_threads_or_another_processor_are_measured_anew_but_not_the_gpu(child: Probe) -> None:
    measured()
    rates([GPU], 2, "Made-up CPU", measure=True)
    rates([GPU], 2, "Another CPU", measure=True)
    assert [device for device, _ in child.asked] == ["CPU", "CUDA0", "CPU", "CPU"]


def test_a_type_that_was_never_tried_is_measured(child: Probe) -> None:
    measured()
    assert measured(types=["IQ3_S"])["CPU"].rate("IQ4_XS") == 10
    measured(types=["IQ3_S"])
    assert len(child.asked) == 4


def test_the_best_that_was_ever_seen_is_kept_and_old_rates_are_measured_again(child: Probe) -> None:
    measured()
    age(days=31)
    child.rate, child.layer_seconds = 5.0, 3.0
    assert measured()["CPU"] == Rates(dict.fromkeys(TYPES, 10.0), 2.0)
    age(days=31)
    child.rate, child.layer_seconds = 20.0, 1.0
    assert measured()["CPU"] == Rates(dict.fromkeys(TYPES, 20.0), 1.0)
    age(days=29)
    measured()
    assert len(child.asked) == 6


def test_what_was_measured_on_a_busy_machine_is_soon_measured_again(child: Probe) -> None:
    child.is_calm = False
    measured()
    measured()
    assert len(child.asked) == 2
    age(hours=2)
    child.is_calm = True
    measured()
    age(hours=2)
    measured()
    assert len(child.asked) == 4


def test_a_clock_that_was_set_back_makes_nothing_last_for_ever(child: Probe) -> None:
    measured()
    age(days=-300)
    measured()
    assert len(child.asked) == 4


def test_a_probe_that_fails_is_no_error_and_not_repeated_at_once(child: Probe) -> None:
    child.fails.add("CUDA0")
    assert [set(measured()), set(measured())] == [{"CPU"}, {"CPU"}]
    assert len(child.asked) == 2
    age(hours=2)
    child.fails.clear()
    assert set(measured()) == {"CPU", "CUDA0"}


def test_a_probe_that_fails_takes_nothing_away(child: Probe) -> None:
    found = measured()
    age(days=31)
    child.fails |= {"CPU", "CUDA0"}
    assert measured() == found


@pytest.mark.usefixtures("child")
def test_rates_of_another_version_of_llama_cpp_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    measured()
    monkeypatch.setattr(module, "package_version", lambda: "9.9.9")
    assert rates([GPU], 4, "Made-up CPU", measure=False) == {}
    measured()
    assert all(key.startswith("9.9.9 ") for key in json.loads((measured_folder() / "rates.json").read_text()))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": NaN}', '{"a": {"at": 1}}', "\x00" * 99])
@pytest.mark.usefixtures("child")
def test_a_damaged_file_is_as_good_as_none(text: str) -> None:
    (measured_folder() / "rates.json").write_text(text)
    assert set(measured()) == {"CPU", "CUDA0"}
    assert set(rates([GPU], 4, "Made-up CPU", measure=False)) == {"CPU", "CUDA0"}


@pytest.mark.parametrize("bad", [-1, 0, "fast", 1e999, None, [], "nan"])
@pytest.mark.parametrize("field", ["at", "rates", "tried", "bytes_per_second", "layer_seconds", "F16"])
@pytest.mark.usefixtures("child")
def test_an_entry_with_nonsense_is_measured_again(field: str, bad: Any) -> None:
    measured()
    file = measured_folder() / "rates.json"
    entries = json.loads(file.read_text())
    for entry in entries.values():
        spot = entry if field in entry else entry["rates"]
        (spot["bytes_per_second"] if field == "F16" else spot)[field] = bad
    file.write_text(json.dumps(entries).replace("Infinity", "1e999"))
    found = rates([GPU], 4, "Made-up CPU", measure=False)
    assert all(0 < rate < math.inf for one in found.values() for rate in one.bytes_per_second.values())
    assert all(0 <= one.layer_seconds < math.inf for one in found.values())
    assert set(measured()) == {"CPU", "CUDA0"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["at", "rates", "tried", "is_calm", "bytes_per_second", "layer_seconds", "F16"]), inner
        )
    ),
    max_leaves=12,
)


@pytest.mark.usefixtures("home")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=3))
def test_whatever_lies_in_the_file_is_never_an_error(entries: dict[str, Any]) -> None:
    measured_folder().joinpath("rates.json").write_text(json.dumps(entries))
    assert rates([GPU], 4, "Made-up CPU", measure=False) == {}


@pytest.mark.usefixtures("child")
def test_a_home_that_cannot_be_written_costs_only_time(home: Path) -> None:
    home.mkdir()
    (home / "measured").write_text("a file where the folder should be")
    assert set(measured()) == {"CPU", "CUDA0"}


@pytest.mark.usefixtures("child")
def test_the_file_is_private() -> None:
    measured()
    assert (measured_folder() / "rates.json").stat().st_mode & 0o77 == 0
