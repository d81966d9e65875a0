"""What the command line tells people, and what it does on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from pull_hub import REPO, change, publishing

from localchat.cli import main
from localchat.gguf_file import read_header
from localchat.library import find, installed
from localchat.paths import models_folder

Captured = pytest.CaptureFixture[str]


def test_words_of_a_pull_are_on_standard_error(capsys: Captured, chatml: Path) -> None:
    assert main(["pull", str(chatml), "--size", "900KiB"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "is the best that stays in" in said.err
    assert "chatml is ready" in said.err
    assert read_header(find("chatml").path).tensor_bytes <= 900 * 1024


def test_a_dry_run_in_words(capsys: Captured, chatml: Path) -> None:
    assert main(["pull", str(chatml), "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "on the disk" in said.err
    assert installed() == []


def test_the_library_in_words(capsys: Captured, chatml_file: Path) -> None:
    assert main(["models"]) == 0
    assert "localchat catalog" in capsys.readouterr().err
    assert main(["pull", str(chatml_file)]) == 0
    capsys.readouterr()
    assert main(["models"]) == 0
    assert "chatml" in capsys.readouterr().out
    assert main(["show", "chatml"]) == 0
    shown = capsys.readouterr().out
    assert "Q8_0" in shown
    assert "32,768 tokens" in shown
    assert find("chatml").receipt.file_sha256 in shown


def test_the_catalog_in_words(capsys: Captured) -> None:
    assert main(["catalog"]) == 0
    said = capsys.readouterr()
    assert "smollm2" in said.out
    assert "localchat pull" in said.err


def test_a_model_is_removed(capsys: Captured, chatml: Path) -> None:
    assert main(["pull", str(chatml)]) == 0
    assert main(["remove", "chatml"]) == 0
    assert "chatml is removed" in capsys.readouterr().err
    assert list(models_folder().iterdir()) == []


def test_a_conversion_without_installing(capsys: Captured, chatml: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    assert main(["convert", str(chatml), str(out), "--type", "q4_k_m"]) == 0
    assert "is written" in capsys.readouterr().err
    assert read_header(out).quant == "Q4_K_M"
    assert installed() == []


@pytest.mark.usefixtures("capsys")
def test_a_revision_can_be_named(chatml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing(tmp_path / "hub", chatml, monkeypatch):
        assert main(["pull", REPO, "--revision", "main"]) == 0
        commit = find("tiny").receipt.commit
        assert main(["pull", REPO, "--revision", str(commit)]) == 0
        change(tmp_path / "hub", REPO, "added_tokens.json", (chatml / "added_tokens.json").read_bytes() + b" ")
        assert main(["pull", REPO, "--revision", "no-such-revision"]) == 1
        assert find("tiny").receipt.commit == commit
