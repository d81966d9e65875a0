"""A vocabulary that knows hardly any text: everything is spelled in bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_checkpoint import SHAPES, write_checkpoint

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.engine.process import EngineProcess
from localchat.llama.placement import Placement

BYTE_0 = 3  # behind <unk>, <s> and </s>
SPACE = [byte + BYTE_0 for byte in "\u2581".encode()]


@pytest.mark.model
def test_a_text_may_take_more_tokens_than_it_has_bytes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "made-up", replace(SHAPES["tiny"], num_hidden_layers=1))
    checkpoint = read_checkpoint(tmp_path / "made-up", "made-up")
    for _ in write(layout(checkpoint, "Q8_0"), tmp_path / "made-up.gguf", threads=1):
        pass
    placement = Placement(context=64, threads=1, batch=64, kv_type="f16")
    with EngineProcess(tmp_path / "made-up.gguf", placement, tmp_path / "log") as engine:
        assert engine.tokenize(["a b", "    "]) == [
            [*SPACE, ord("a") + BYTE_0, *SPACE, ord("b") + BYTE_0], SPACE * 5,
        ]  # fmt: skip
