"""`localchat hardware` and `localchat doctor`: what people see, what programs get, and exit codes."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from localchat.cli import main
from localchat.commands.machine_page import bar, print_findings, print_hardware
from localchat.doctor.finding import Finding
from localchat.plan.hardware_file import read_hardware

Captured = pytest.CaptureFixture[str]
MACHINES = sorted((Path(__file__).parent / "data" / "machines").glob("*.json"))
OK = Finding("memory", "ok", "9 GiB are free")
NOTE = Finding("GPU", "note", "RTX is there and idle", 'CMAKE_ARGS="-DGGML_CUDA=ON" pip install ' + "x" * 120)
BROKEN = Finding("disk", "broken", "the disk is full", "localchat remove old")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def told(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr("localchat.doctor.examine.examine", lambda: list(findings))


def test_the_json_of_a_machine_can_be_read_again(capsys: Captured, tmp_path: Path, home: Path) -> None:
    assert main(["hardware", "--json"]) == 0
    (tmp_path / "machine.json").write_text(capsys.readouterr().out)
    found = read_hardware(tmp_path / "machine.json")
    assert found.processor.performance_cores >= 1
    assert list(home.rglob("*")) == [home / "measured", home / "measured" / "rates.json"], "no folder of models is made"


def test_the_machine_in_words(capsys: Captured) -> None:
    assert main(["hardware"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for word in ("Processor", "Memory", "Disk", "used", "free"):
        assert word in said.out


@pytest.mark.parametrize("path", MACHINES, ids=[path.stem for path in MACHINES])
def test_every_machine_fits_80_columns_but_for_commands_to_copy(capsys: Captured, path: Path) -> None:
    found = read_hardware(path)
    print_hardware(found, found.disk_free_bytes * 2)
    out = capsys.readouterr().out
    long = [line for line in out.splitlines() if len(line) > 80]
    assert [line.strip() for line in long] == [gpu.fix for gpu in found.unused_gpus]
    meters = 2 + len(found.devices) + bool(found.memory.swap_total_bytes)
    assert out.count(" used, ") == meters
    assert "\x1b" not in out
    for device in found.devices:
        assert device.name in out
        assert device.description in out


@pytest.mark.parametrize(("used", "total", "full"), [(0, 10, 0), (10, 10, 20), (5, 10, 10), (1, 10_000, 1),
                                                      (20, 10, 20), (0, 0, 0), (-5, 10, 0)])  # fmt: skip
def test_a_bar_shows_what_is_used(capsys: Captured, used: int, total: int, full: int) -> None:
    assert bar(used, total) == "█" * full + "░" * (20 - full)
    assert capsys.readouterr().out == ""


def test_a_bar_where_the_terminal_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert bar(1, 2) == "#" * 10 + "-" * 10


def test_where_the_speed_of_memory_is_not_known_that_is_said(capsys: Captured) -> None:
    known = read_hardware(MACHINES[0])
    print_hardware(replace(known, memory_bandwidth_bytes_per_second=None), 1 << 40)
    assert "its speed is not known" in capsys.readouterr().out
    print_hardware(replace(known, memory_bandwidth_bytes_per_second=20e9), 1 << 40)
    assert "its speed is not known" not in capsys.readouterr().out


@pytest.mark.parametrize("address", ["nowhere", "host:0", "[::1]:50052"])
def test_a_wrong_address_is_wrong_usage(capsys: Captured, address: str) -> None:
    assert main(["hardware", "--rpc", address]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "HOST:PORT" in said.err


def test_a_server_that_cannot_be_had_is_a_failure(capsys: Captured) -> None:
    assert main(["hardware", "--json", "--rpc", "127.0.0.1:9"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err


def test_findings_in_words(capsys: Captured) -> None:
    print_findings([OK, NOTE, BROKEN])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["✓", "memory", "9", "GiB", "are", "free"]
    assert "note: RTX is there and idle" in lines[1]
    assert lines[2] == f"    {NOTE.fix}", "a command is on one line, to be copied"
    assert "broken: the disk is full" in lines[3]
    assert lines[4] == "    localchat remove old"


def test_names_from_outside_reach_no_terminal_as_they_are(capsys: Captured) -> None:
    print_findings([Finding("GPU\x1b[2J", "note", "[bold]evil\x1b[31m", "x\x1b[2J\nrm")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]evil" in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("findings", "code", "words"),
    [
        ([OK], 0, "Everything is sound."),
        ([OK, NOTE], 0, "Nothing is broken; 1 to note."),
        ([OK, BROKEN], 1, "one thing is broken: the disk is full\n  run: localchat remove old"),
        ([BROKEN, NOTE, Finding("home", "broken", "no")], 1, "2 things are broken, first: the disk is full"),
        ([Finding("home", "broken", "no")], 1, "see what is said of it above"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_broken_is_a_failure(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], code: int, words: str, as_json: bool
) -> None:
    told(monkeypatch, *findings)
    assert main(["doctor", *(["--json"] if as_json else [])]) == code
    said = capsys.readouterr()
    assert words in said.err
    if as_json:
        facts: dict[str, Any] = json.loads(said.out)
        assert facts == {"findings": [asdict(finding) for finding in findings]}
