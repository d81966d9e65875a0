"""A checkpoint written as a model file without being installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pull_hub import REPO, TrickyHub, publishing
from tiny import refused

from localchat.gguf_file import read_header
from localchat.paths import downloads_folder, models_folder
from localchat.pull.install import convert
from localchat.pull.source import parse


@pytest.fixture
def hub(tmp_path: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    with publishing(tmp_path / "hub", chatml, monkeypatch) as hub:
        yield hub


def test_a_checkpoint_is_converted_without_being_installed(chatml: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    progress = list(convert(parse(str(chatml)), out, "q6_k", 2))
    assert progress[-1].done_bytes == progress[-1].total_bytes
    assert read_header(out).quant == "Q6_K"
    assert list(models_folder().iterdir()) == []


@pytest.mark.usefixtures("hub")
def test_a_repository_is_converted_and_its_download_thrown_away(chatml: Path, tmp_path: Path) -> None:
    for name, source in (("hub.gguf", REPO), ("folder.gguf", str(chatml))):
        list(convert(parse(source), tmp_path / name, "Q4_0", 2))
    files = [read_header(tmp_path / name) for name in ("hub.gguf", "folder.gguf")]
    assert files[0].tensors == files[1].tensors
    assert list(downloads_folder().iterdir()) == []


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("place", "words"), [("nowhere/out.gguf", "there is no folder"), ("there", "no ordinary file")]
)
def test_a_place_that_will_not_do_is_known_before_anything_arrives(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "there").mkdir()
    events = []
    with refused(words):
        events += convert(parse(REPO), tmp_path / place, "Q8_0", 2)
    assert not events
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "hub", "there"]


def test_what_cannot_be_converted_is_one_sentence(chatml: Path, smollm2_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = [
        (smollm2_file, tmp_path / "out.gguf", "Q8_0", "quantized already"),
        (chatml, tmp_path / "out.gguf", "Q99", "Q99"),
        (chatml, tmp_path / "missing" / "out.gguf", "Q8_0", "missing"),
        (chatml, tmp_path / "file" / "out.gguf", "Q8_0", "file"),
    ]
    for source, out, quant, words in cases:
        with refused(words):
            list(convert(parse(str(source)), out, quant, 2))
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".gguf"] == []
