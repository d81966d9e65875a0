"""Is an installation sound? Each kind of damage is found, and comes with the command that mends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from tiny import refused

from localchat.child import ChildDied
from localchat.doctor import build, counting, terminal, trial
from localchat.doctor import examine as examining
from localchat.doctor.build import check_backend, check_gpus, check_libraries, check_products, check_version
from localchat.doctor.examine import examine
from localchat.doctor.finding import Finding
from localchat.doctor.machine import check_disk, check_memory, check_power
from localchat.doctor.terminal import check_terminal, look
from localchat.errors import LocalchatError
from localchat.llama import computing, importing
from localchat.llama.devices import Build, Device
from localchat.llama.graphs import made_up
from localchat.llama.libraries import install_command, reinstall_command
from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware, Memory, Processor, UnusedGpu

GIB = 1 << 30
HARDWARE = Hardware("linux", Processor("CPU", 4, 8), Memory(16 * GIB, 9 * GIB, 4 * GIB, 4 * GIB), 100 * GIB)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


# llama.cpp


def test_the_installation_of_the_tests_is_sound() -> None:
    states = {finding.name: finding.state for finding in examine()}
    assert states["llama-cpp-python"] == states["libraries"] == states["backend"] == states["arithmetic"] == "ok"
    assert states["engine"] == "ok"
    assert {"GPU", "memory", "disk", "home", "history", "settings", "models", "terminal", "quantizers"} <= set(states)


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [("", "broken", "not installed"), ("0.3.9", "broken", "needs 0.3.36"), ("0.4.0", "broken", "below 0.4"),
     ("0.3.40", "ok", "0.3.40")],
)  # fmt: skip
def test_a_version_that_is_not_supported_is_broken(
    monkeypatch: pytest.MonkeyPatch, version: str, state: str, words: str
) -> None:
    monkeypatch.setattr(build, "package_version", lambda: version)
    found = only(check_version())
    assert found.state == state
    assert words in found.sentence
    assert found.fix == ("" if state == "ok" else install_command())


@pytest.mark.parametrize(
    ("cause", "fix"),
    [
        ("it crashed (SIGILL)", reinstall_command),
        ("ModuleNotFoundError: No module named 'diskcache'", install_command),
    ],
)
def test_libraries_that_do_not_load_are_broken(
    monkeypatch: pytest.MonkeyPatch, cause: str, fix: Callable[[], str]
) -> None:
    def dies() -> None:
        raise ChildDied(cause, "report it")

    monkeypatch.setattr(build, "check_import", dies)
    found = only(check_libraries())
    assert (found.state, found.fix) == ("broken", fix())
    assert cause in found.sentence


@pytest.mark.parametrize("cause", ["it crashed (SIGILL)", "a product of 64 tokens with Q4_K weights is wrong"])
def test_a_build_that_does_not_compute_is_broken(monkeypatch: pytest.MonkeyPatch, cause: str) -> None:
    def dies() -> None:
        raise ChildDied(cause, "report it")

    monkeypatch.setattr(computing, "check_products", dies)
    found = only(check_products())
    assert (found.state, found.fix) == ("broken", reinstall_command())
    assert cause in found.sentence


def test_a_product_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    computing.check_products()
    wrong = made_up(GGMLQuantizationType.Q4_K, computing.COLUMNS, computing.ROWS)[::-1].copy()
    right = computing.dequantize
    monkeypatch.setattr(
        computing,
        "dequantize",
        lambda kind, data, columns: right(kind, wrong if kind == GGMLQuantizationType.Q4_K else data, columns),
    )
    with refused("1 tokens with Q4_K weights"):
        computing._reply({})


def test_a_small_model_is_asked_on_the_processor_and_on_each_device() -> None:
    gone = Device("CUDA9", "RTX 3060", "gpu", "CUDA", 12 * GIB, 11 * GIB)
    sound, broken = trial.check_answers(replace(HARDWARE, devices=(gone,)))
    assert (sound.name, sound.state, sound.fix) == ("engine", "ok", "")
    assert broken.state == "broken"
    assert "does not load on CUDA9" in broken.sentence


def test_an_answer_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    question = {"place": HOST, "folder": str(tmp_path)}
    assert trial._reply(question) == {"is_right": True}
    good = counting.made_up
    monkeypatch.setattr(counting, "made_up", lambda *shape: np.full_like(good(*shape), 0xFF))  # not numbers
    assert trial._reply(question) == {"is_right": False}


@pytest.mark.parametrize(
    ("died", "words"),
    [(ChildDied("it crashed (SIGSEGV)", "report it"), "ends the engine: it crashed (SIGSEGV)"), (None, "wrongly")],
)
def test_a_build_on_which_no_model_answers_is_broken(
    monkeypatch: pytest.MonkeyPatch, died: ChildDied | None, words: str
) -> None:
    def asked(*_: object) -> dict[str, bool]:
        if died:
            raise died
        return {"is_right": False}

    monkeypatch.setattr(trial, "ask", asked)
    found = only(trial.check_answers(HARDWARE))
    assert (found.state, found.fix) == ("broken", reinstall_command())
    assert words in found.sentence


def test_the_child_that_loads_them_really_loads_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    importing.check_import()
    (tmp_path / "llama_cpp").mkdir()
    (tmp_path / "llama_cpp" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(examining.__file__).parents[2]}")
    with refused("ggml"):
        importing.check_import()


def test_a_backend_that_does_not_answer_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies() -> Build:
        raise ChildDied("it took longer than 60 seconds", "report it")

    monkeypatch.setattr(build, "ask_build", dies)
    assert only(check_backend()).state == "broken"


def test_what_it_was_built_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ask_build", lambda: Build(("CUDA", "CPU"), ("sse3", "avx2")))
    assert only(check_backend()).sentence == "llama.cpp is built for CUDA, CPU, which uses avx2 here"


def test_a_gpu_that_lies_idle_is_a_note_with_its_command() -> None:
    used = Device("CUDA0", "RTX 3060", "gpu", "CUDA", 12 * GIB, 11 * GIB)
    found = check_gpus(replace(HARDWARE, devices=(used,), unused_gpus=(UnusedGpu("Arc", "pip install it"),)))
    assert [(finding.name, finding.state, finding.fix) for finding in found] == [
        ("CUDA0", "ok", ""), ("GPU", "note", "pip install it"),
    ]  # fmt: skip
    assert only(check_gpus(HARDWARE)).state == "ok"


# The machine


@pytest.mark.parametrize(("available", "state"), [(9 * GIB, "ok"), (GIB, "note"), (0, "note")])
def test_little_memory_is_a_note(available: int, state: str) -> None:
    hardware = replace(HARDWARE, memory=replace(HARDWARE.memory, available_bytes=available))
    found = only(check_memory(hardware, 16 * GIB))
    assert found.state == state
    assert bool(found.fix) == (state == "note")
    assert "container" not in found.sentence


def test_a_container_s_limit_is_said() -> None:
    assert "container's limit leaves that of 64.0 GiB" in only(check_memory(HARDWARE, 64 * GIB)).sentence


@pytest.mark.parametrize(("free", "count"), [(4 * GIB, 1), (int(2.5 * GIB), 1), (GIB, 2), (0, 2)])
def test_swap_that_is_heavily_used_is_a_note(free: int, count: int) -> None:
    hardware = replace(HARDWARE, memory=replace(HARDWARE.memory, swap_free_bytes=free))
    found = check_memory(hardware, 16 * GIB)
    assert [finding.state for finding in found] == ["ok", "note"][:count]


@pytest.mark.parametrize(("free", "state"), [(100 * GIB, "ok"), (4 * GIB, "note"), (400 << 20, "broken")])
def test_a_full_disk_is_broken(home: Path, free: int, state: str) -> None:
    found = only(check_disk(replace(HARDWARE, disk_free_bytes=free), home))
    assert found.state == state
    assert bool(found.fix) == (state != "ok")


@pytest.mark.parametrize(("battery", "states"), [(None, []), (True, ["note"]), (False, ["ok"])])
def test_a_battery_is_a_note(battery: bool | None, states: list[str]) -> None:
    assert [finding.state for finding in check_power(replace(HARDWARE, on_battery=battery))] == states


# The terminal


def test_without_a_terminal_there_is_nothing_to_look_at() -> None:
    assert only(check_terminal()).state == "ok"


TERMINALS = [
    ({"TERM": "xterm-256color"}, "utf-8", 120, 40, []),
    ({"TERM": "xterm", "COLORTERM": "truecolor"}, "UTF8", 80, 24, []),
    ({"TERM": "xterm-kitty"}, "utf-8", 0, 0, []),
    ({}, "utf-8", 120, 40, ["export TERM=xterm-256color"]),
    ({"TERM": "dumb"}, "utf-8", 120, 40, ["export TERM=xterm-256color"]),
    ({"TERM": "vt100"}, "utf-8", 120, 40, ["export TERM=xterm-256color"]),
    ({"TERM": "linux"}, "utf-8", 120, 40, [""]),
    ({"TERM": "xterm-256color"}, "ascii", 120, 40, ["export LC_ALL=C.UTF-8"]),
    ({"TERM": "xterm-256color"}, "no-such", 120, 40, ["export LC_ALL=C.UTF-8"]),
    ({"TERM": "xterm-256color"}, "utf-8", 79, 24, ["printf '\\033[8;24;80t'"]),
    ({"TERM": "xterm-256color"}, "utf-8", 80, 10, ["printf '\\033[8;24;80t'"]),
]


@pytest.mark.parametrize(("environment", "encoding", "columns", "lines", "fixes"), TERMINALS)
def test_a_terminal_that_shows_too_little_is_a_note(
    environment: dict[str, str], encoding: str, columns: int, lines: int, fixes: list[str]
) -> None:
    found = look(environment, encoding, columns, lines)
    notes = [finding for finding in found if finding.state == "note"]
    assert [finding.fix for finding in notes] == fixes
    assert len(found) == max(1, len(fixes))


def test_a_terminal_that_does_not_tell_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = SimpleNamespace(isatty=lambda: True, fileno=lambda: -1, encoding="utf-8")
    streams = {"stdout": screen, "stderr": None, "__stdout__": screen, "__stderr__": None}
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(**streams, platform="linux"))
    monkeypatch.setenv("TERM", "xterm-256color")
    assert only(check_terminal()).sentence == "80 columns, 24 lines, colors and UTF-8"


# All of it


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), LocalchatError("no", "do"), ValueError("bad")])
def test_a_check_that_cannot_be_made_is_a_finding(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: object) -> list[Finding]:
        raise error

    for name in ("detect", "check_home", "check_history", "check_settings", "check_models", "check_terminal"):
        monkeypatch.setattr(examining, name, fails)
    states = {finding.name: finding.state for finding in examine()}
    assert [name for name, state in states.items() if state == "broken"] == [
        "machine", "home", "history", "settings", "models", "terminal",
    ]  # fmt: skip


def test_a_home_of_nobody_is_said_and_the_rest_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_HOME", "~no-such-user/x")
    found = examine()[-1]
    assert (found.name, found.state, found.fix) == ("home", "broken", "unset LOCALCHAT_HOME")
