"""`localchat plan` of a repository with model files only: what would be chosen, from headers alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf_hub import REPO, made, serving, split
from pull_hub import TrickyHub, ranges

from localchat.cli import main
from localchat.paths import downloads_folder, models_folder

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def hub(chatml: Path, chatml_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    folder = tmp_path / "hub" / REPO
    made(chatml, "Q4_K_M", folder / "tiny.Q4_K_M.gguf")
    split(chatml_file, folder / "Q8_0", "tiny-Q8_0", [5, 9])
    with serving(tmp_path / "hub", monkeypatch) as hub:
        yield hub


def facts(capsys: Captured, *arguments: str) -> dict[str, object]:
    assert main(["plan", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_plan_is_made_of_what_there_is(capsys: Captured, hub: TrickyHub) -> None:
    found = facts(capsys, REPO)
    assert (found["model"], found["quant"]) == ("tiny", "Q8_0")
    assert [choice["quant"] for choice in found["choices"]] == ["Q8_0", "Q4_K_M"]  # type: ignore[attr-defined]
    assert found["download_bytes"] == found["disk_bytes"]
    assert not any((one or "").endswith("-") for one in ranges(hub))
    assert [*downloads_folder().iterdir(), *models_folder().iterdir()] == []


def test_a_type_or_a_file_can_be_named(capsys: Captured) -> None:
    for text in (f"{REPO}:Q4_K_M", f"{REPO}:tiny.Q4_K_M.gguf"):
        assert facts(capsys, text)["quant"] == "Q4_K_M"
    assert main(["plan", f"{REPO}:Q2_K"]) == 1
    assert "has no Q2_K" in capsys.readouterr().err


def test_a_type_behind_a_colon_holds_for_a_checkpoint_too(capsys: Captured) -> None:
    found = facts(capsys, "teknium/OpenHermes-2.5-Mistral-7B:Q3_K_M")
    assert (found["model"], found["quant"]) == ("openhermes-2.5-mistral-7b", "Q3_K_M")


def test_parts_on_this_disk_are_planned_as_the_model_that_they_are(
    capsys: Captured, tmp_path: Path, chatml_file: Path
) -> None:
    found = facts(capsys, str(tmp_path / "hub" / REPO / "Q8_0/tiny-Q8_0-00001-of-00003.gguf"))
    assert (found["model"], found["quant"]) == ("tiny", "Q8_0")
    assert found["layers"] == facts(capsys, str(chatml_file))["layers"]
    assert found["disk_bytes"] == facts(capsys, f"{REPO}:Q8_0")["disk_bytes"]
