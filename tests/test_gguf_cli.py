"""`localchat pull` of repositories with model files only, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gguf_hub import REPO, made, serving, split
from pull_hub import TrickyHub, ranges

from localchat.cli import main
from localchat.library import find, installed
from localchat.paths import downloads_folder, models_folder
from localchat.pull import decide

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def hub(chatml: Path, chatml_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "hub" / REPO
    made(chatml, "Q4_K_M", folder / "tiny.Q4_K_M.gguf")
    split(chatml_file, folder / "Q8_0", "tiny-Q8_0", [5, 9])
    with serving(tmp_path / "hub", monkeypatch, moved={"old/tiny-GGUF": REPO}) as hub:
        yield hub


def no_weights_were_asked_for(hub: TrickyHub) -> bool:
    """Only headers, whose requests end before the file does."""
    return not any((one or "").endswith("-") for one in ranges(hub)) and not any(models_folder().iterdir())


def test_a_pull_is_planned_said_and_done(capsys: Captured) -> None:
    assert main(["pull", "old/tiny-GGUF"]) == 0
    said = capsys.readouterr().err
    assert "note: old/tiny-GGUF has moved to acme/tiny-GGUF" in said
    assert "is taken, in 3 parts" in said
    assert "How long it takes is not known before the first pull." in said
    assert "tiny is ready: Q8_0" in said
    assert find("tiny").receipt.source == REPO
    for text in ("tiny", REPO, "old/tiny-GGUF"):
        assert main(["pull", text]) == 0
        said = capsys.readouterr().err
        assert "tiny is up to date with acme/tiny-GGUF at " in said
        assert "is ready" not in said


def test_a_type_behind_a_colon_is_the_type(capsys: Captured) -> None:
    assert main(["pull", f"{REPO}:Q4_K_M"]) == 0
    assert installed()[0].receipt.quant == "Q4_K_M"
    assert main(["pull", f"{REPO}:Q4_K_M", "--quant", "Q8_0"]) == 1
    assert "--quant asks for Q8_0, and the name for Q4_K_M" in capsys.readouterr().err


def test_a_dry_run_reads_headers_only_and_says_what_it_takes(capsys: Captured, hub: TrickyHub) -> None:
    assert main(["pull", REPO, "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["download_bytes"] == facts["disk_bytes"] == facts["disk_needed_bytes"]
    assert facts["seconds"] == {"download": None, "convert": 0.0, "all": None}
    assert facts["disk_free_bytes"] > 0
    assert len(facts["commit"]) == 40
    assert no_weights_were_asked_for(hub)
    assert not list(downloads_folder().iterdir())


def test_what_cannot_fit_is_refused_before_the_weights(hub: TrickyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["pull", REPO, "--memory", "1KiB"]) == 1
    monkeypatch.setattr(decide, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1000)))
    assert main(["pull", REPO]) == 1
    assert no_weights_were_asked_for(hub)
