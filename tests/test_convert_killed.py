"""Conversions in a process of their own that runs into the end of its disk or is killed: nothing half-made is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import refused

from localchat.files import PARTIAL
from localchat.library import find, installed
from localchat.plan.wish import Wish
from localchat.pull.install import pull
from localchat.pull.source import parse

# Python ignores SIGXFSZ, so a write beyond the limit fails as on a full disk instead of ending the process.
LIMITED = """
import resource, signal, sys
from localchat.cli import main
from localchat.plan import bandwidth
bandwidth.measure = lambda *_: (bandwidth.Rates(), True)  # takes seconds
assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
sys.exit(main(sys.argv[1:]))
"""

# The plan needs a temporary file as large as the model, so it is made before the disk is full.
PLANNED = f"""
import sys
from localchat.cli import main
from localchat.plan import bandwidth
bandwidth.measure = lambda *_: (bandwidth.Rates(), True)
main([*sys.argv[1:], "--dry-run"])
{LIMITED}
"""

# Stops for good where it was told to, so that the test can kill it just there.
STOPPING = """
import sys
from pathlib import Path
from localchat import library
from localchat.plan.wish import Wish
from localchat.pull.events import Progress
from localchat.pull.install import pull
from localchat.pull.source import parse

def stop():
    print("here", flush=True)
    sys.stdin.read()

source, place = sys.argv[1:]
if place == "before the receipt":
    library.record = lambda receipt: stop()
for event in pull(parse(source), Wish(quant="Q8_0")):
    match event:
        case Progress("convert", _, done, total):
            if place == "first tensor" or (place == "last tensor" and done == total):
                stop()
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, under the test's own home."""
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)


def files(folder: Path) -> set[str]:
    """Names of all files below a folder."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_pull_onto_a_full_disk_leaves_nothing(chatml: Path, home: Path) -> None:
    done = run(PLANNED, "pull", str(chatml), "--quant", "Q8_0")
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(home / "models") == set()
    assert list((home / "models").iterdir()) == []
    assert installed() == []


def test_a_plan_without_room_for_a_temporary_file_is_refused(chatml: Path, home: Path) -> None:
    done = run(LIMITED, "pull", str(chatml), "--quant", "Q8_0", "--dry-run")
    assert done.returncode == 1
    assert "a sketch of the model could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((home / "models").iterdir()) == []


@pytest.mark.parametrize("before", [None, "old"])
def test_a_conversion_onto_a_full_disk_keeps_what_was_there(before: str | None, chatml: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    if before is not None:
        (folder / "model.gguf").write_text(before)
    done = run(LIMITED, "convert", str(chatml), str(folder / "model.gguf"), "--type", "Q8_0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the disk is full" in done.stderr
    assert files(folder) == (set() if before is None else {"model.gguf"})
    assert before is None or (folder / "model.gguf").read_text() == before


@pytest.mark.parametrize("place", ["first tensor", "last tensor", "before the receipt"])
def test_a_pull_that_is_killed_is_not_found_and_can_be_done_again(place: str, chatml: Path, home: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", STOPPING, str(chatml), place],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.kill()
    # It was in the midst of it: the file was there, with or without its final name, but never the receipt.
    left = files(home / "models")
    partial = f".{child.pid}{PARTIAL}" if place.endswith("tensor") else ""
    assert left == {f"chatml.Q8_0.gguf{partial}"}
    assert installed() == []
    with refused("no model named 'chatml'"):
        find("chatml")
    for _ in pull(parse(str(chatml)), Wish(quant="Q8_0")):
        pass
    assert files(home / "models") == {"chatml.Q8_0.gguf", "receipt.json"}
    assert [model.name for model in installed()] == ["chatml"]
