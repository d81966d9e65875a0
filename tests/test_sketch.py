"""A model file without weights says the same to llama.cpp as the one that is converted later."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import CONFIG, checkpoint

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.config import Config, parse_config
from localchat.convert.layout import layout
from localchat.convert.sketch import hollow, sketched
from localchat.convert.write import write
from localchat.gguf_file import ModelFile, read_header
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.shape import Candidate
from localchat.pull.decide import shape_for, subject_for

DATA = Path(__file__).parent / "data"
CHECKPOINTS = ("chatml", "fp32-single", "mixtral-tiny", "zephyr-bin")
TYPES = ("F16", "Q8_0", "Q4_K_M", "Q2_K")
TIED: dict[str, Any] = {**CONFIG, "tie_word_embeddings": True}


def config_of(folder: Path) -> Config:
    return parse_config(json.loads((folder / "config.json").read_text()))


def converted(folder: Path, quant: str, path: Path) -> ModelFile:
    """The header of the checkpoint as a whole model file."""
    for _ in write(layout(read_checkpoint(folder, "model"), quant), path, threads=1):
        pass
    return read_header(path)


def tensors(model: ModelFile) -> set[tuple[object, ...]]:
    """A checkpoint has its tensors in an order of its own, which makes no difference to memory."""
    return {(one.name, one.type, one.dimensions, one.bytes) for one in model.tensors}


@pytest.mark.parametrize("quant", TYPES)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_sketch_has_the_tensors_of_the_converted_file(name: str, quant: str, tmp_path: Path) -> None:
    config = config_of(DATA / name)
    whole = converted(DATA / name, quant, tmp_path / "whole.gguf")
    # a checkpoint can have more tokens than its config says
    config = replace(config, vocabulary=shape_of(whole).vocabulary)
    with sketched(config, quant) as path:
        sketch = read_header(path)
    assert tensors(sketch) == tensors(whole)
    assert sketch.file_bytes - sketch.data_offset == whole.file_bytes - whole.data_offset
    assert shape_of(sketch) == shape_of(whole) == shape_for(config)
    assert candidate_of(sketch) == candidate_of(whole)
    (planned,) = subject_for(config, [quant]).candidates
    assert is_same(planned, candidate_of(whole))


def is_same(planned: Candidate, found: Candidate) -> bool:
    """A plan counts the padding behind each tensor, of less than 32 bytes, which a header does not say."""
    pairs = [
        (planned.output_bytes, found.output_bytes), (planned.embedding_bytes, found.embedding_bytes),
        *zip(planned.layer_bytes, found.layer_bytes, strict=True),
        *zip(planned.expert_bytes, found.expert_bytes, strict=True),
    ]  # fmt: skip
    named = (planned.quant, planned.is_tied) == (found.quant, found.is_tied)
    return named and all(0 <= ours - theirs < 32 * 9 for ours, theirs in pairs)


def test_a_model_without_an_output_of_its_own_is_told_apart(tmp_path: Path) -> None:
    whole = converted(checkpoint(tmp_path / "tied", TIED), "Q8_0", tmp_path / "tied.gguf")
    with sketched(parse_config(TIED), "Q8_0") as path:
        assert tensors(read_header(path)) == tensors(whole)
    assert candidate_of(whole).is_tied
    (planned,) = subject_for(parse_config(TIED), ["Q8_0"]).candidates
    assert is_same(planned, candidate_of(whole))
    (own,) = subject_for(parse_config(CONFIG), ["Q8_0"]).candidates
    assert not own.is_tied
    assert own.output_bytes > candidate_of(whole).output_bytes


def test_what_llama_cpp_needs_of_the_shape_is_the_same(tmp_path: Path) -> None:
    for name in CHECKPOINTS:
        whole = converted(DATA / name, "Q8_0", tmp_path / f"{name}.gguf")
        with sketched(config_of(DATA / name), "Q8_0") as path:
            sketch = read_header(path)
        ours = {key: value for key, value in sketch.metadata.items() if key.startswith(f"{sketch.architecture}.")}
        theirs = {key: value for key, value in whole.metadata.items() if key.startswith(f"{whole.architecture}.")}
        assert ours == theirs
        assert sketch.metadata["general.file_type"] == whole.metadata["general.file_type"]


def test_a_sketch_of_7_billion_weights_takes_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = parse_config(
        {**CONFIG, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 32000,
         "num_attention_heads": 32, "num_key_value_heads": 8}
    )  # fmt: skip
    with sketched(config, "Q8_0") as path:
        assert path.is_relative_to(tmp_path)
        assert path.stat().st_size > 7 << 30
        assert path.stat().st_blocks * 512 < 1 << 20
        assert path.parent.stat().st_mode & 0o77 == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_when_the_plan_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), sketched(parse_config(CONFIG), "Q8_0"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_hole_of_no_bytes_is_a_file_too() -> None:
    with hollow(b"header", 0) as path:
        assert path.read_bytes() == b"header"
