"""Names, receipts and model files that were made to do harm are shown harmlessly, and none of them is a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from localchat.cli import main
from localchat.library import find
from localchat.paths import models_folder

Captured = pytest.CaptureFixture[str]
# Sets a title, clears the screen, turns text around, and is markup of Rich with a tag that is never opened.
EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202eevil[/nope][@click=app.quit]x\r\n"
FORBIDDEN = [*map(chr, range(0x09)), *map(chr, range(0x0B, 0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e"]


def shown(capsys: Captured, *arguments: str) -> str:
    """All that a command says, which must be fit for a terminal and no traceback."""
    capsys.readouterr()
    assert main(list(arguments)) in (0, 1)
    said = capsys.readouterr()
    text = said.out + said.err
    assert not [sign for sign in FORBIDDEN if sign in text]
    assert "Traceback" not in text
    return text


def install(capsys: Captured, chatml_file: Path) -> Path:
    """Install a model; returns its folder."""
    assert main(["pull", str(chatml_file), "--name", "tiny"]) == 0
    capsys.readouterr()
    return find("tiny").folder


def change(path: Path, changes: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize("key", ["quant", "source", "commit", "installed_at", "file_sha256"])
def test_a_receipt_is_shown_harmlessly(capsys: Captured, chatml_file: Path, key: str) -> None:
    change(install(capsys, chatml_file) / "receipt.json", {key: EVIL})
    assert "tiny" in shown(capsys, "models")
    assert "tiny" in shown(capsys, "show", "tiny")
    assert json.loads(shown(capsys, "show", "tiny", "--json"))["receipt"][key] == EVIL
    shown(capsys, "models", "--json")


@pytest.mark.parametrize("name", ["\x1b[31mred", "[nope][@click=x]", "a\nb", "\u202eabc"])
def test_a_folder_is_shown_harmlessly(capsys: Captured, chatml_file: Path, name: str) -> None:
    folder = install(capsys, chatml_file)
    change(folder / "receipt.json", {"name": name})
    folder.rename(models_folder() / name)
    for command in (["models"], ["models", "--json"], ["show", name], ["catalog"], ["remove", name]):
        shown(capsys, *command)


WRONG = [
    {"quant": 5}, {"quant": None}, {"source": ["a"]}, {"source": None}, {"commit": 5}, {"file_bytes": "1"}, {"file": 5},
    {"file_bytes": None}, {"checks": 5}, {"checks": [5]}, {"stops": [5]}, {"stops": 5}, {"installed_at": 5},
    {"installed_at": None}, {"name": None}, {"inputs": []}, {"recipe": "x"}, {"system": 5}, {"file_sha256": {}},
    {"file": "../tiny/receipt.json"}, {"file": "/etc/passwd"}, {"file": ""}, {"file": "."},
]  # fmt: skip


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_receipt_of_wrong_types_is_no_traceback(capsys: Captured, chatml_file: Path, changes: dict[str, Any]) -> None:
    change(install(capsys, chatml_file) / "receipt.json", changes)
    for command in (["models"], ["models", "--json"], ["show", "tiny"], ["show", "tiny", "--json"], ["catalog"]):
        shown(capsys, *command)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"name": "tiny"}', b"null", b"[" * 100_000])
def test_a_receipt_that_is_none_is_no_traceback(capsys: Captured, chatml_file: Path, content: bytes) -> None:
    (install(capsys, chatml_file) / "receipt.json").write_bytes(content)
    assert "tiny" not in shown(capsys, "models")
    assert "receipt" in shown(capsys, "show", "tiny")


USES = [
    {"tokens_per_second": "fast"},
    {"last_used_at": 5},
    {"last_used_at": ["x"]},
    {"tokens_per_second": [1]},
    {"x": 1},
]


@pytest.mark.parametrize("use", USES, ids=str)
def test_a_note_of_wrong_types_is_no_traceback(capsys: Captured, chatml_file: Path, use: dict[str, Any]) -> None:
    folder = install(capsys, chatml_file)
    assert main(["pull", str(chatml_file), "--name", "other"]) == 0
    (folder / "use.json").write_text(json.dumps(use))
    assert "tiny" in shown(capsys, "models")
    shown(capsys, "models", "--json")
    shown(capsys, "show", "tiny")


def model_file(path: Path, architecture: str, values: Mapping[str, Any]) -> str:
    """A model file of one tensor that says these things of itself; returns its path as the user types it."""
    writer = GGUFWriter(path, architecture)
    for key, value in values.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


METADATA: list[tuple[str, dict[str, Any]]] = [
    (EVIL, {}),
    ("", {}),
    ("llama", {"general.name": EVIL, "tokenizer.chat_template": EVIL}),
    ("llama", {"general.file_type": EVIL}),
    ("llama", {"general.file_type": [1, 2]}),
    ("llama", {"general.file_type": 4_000_000_000}),
    ("llama", {"llama.context_length": EVIL}),
    ("llama", {"llama.context_length": [1]}),
    ("llama", {"llama.context_length": 1.5}),
    ("llama", {"llama.context_length": 4_000_000_000}),
    ("llama", {"llama.block_count": "two", "tokenizer.ggml.tokens": 5}),
    ("llama", {"tokenizer.ggml.tokens": 5, "llama.block_count": 1, "llama.attention.head_count": 1}),
    ("llama", {"llama.attention.head_count": 1, "llama.block_count": 1, "llama.embedding_length": EVIL}),
    ("llama", {"tokenizer.chat_template": ["a"], "general.sampling.temp": "hot"}),
]


@pytest.mark.parametrize(("architecture", "values"), METADATA, ids=lambda value: ascii(value)[:60])
def test_a_model_file_is_shown_harmlessly(
    capsys: Captured, tmp_path: Path, architecture: str, values: dict[str, Any]
) -> None:
    path = model_file(tmp_path / "evil.gguf", architecture, values)
    assert "evil" in shown(capsys, "show", path)
    shown(capsys, "show", path, "--json")
    shown(capsys, "pull", path)
    shown(capsys, "models")


@pytest.mark.parametrize("name", ["\x1b[31mred.gguf", "[nope][@click=x].gguf", "a\nb.gguf"])
def test_the_name_of_a_model_file_is_shown_harmlessly(capsys: Captured, tmp_path: Path, name: str) -> None:
    path = model_file(tmp_path / name, "llama", {})
    shown(capsys, "show", path)
    shown(capsys, "pull", path)
    shown(capsys, "convert", path, str(tmp_path / "out.gguf"), "--type", "Q8_0")


@pytest.mark.parametrize("word", [EVIL, "[/nope]", "\ud800", "a" * 10_000, "."])
def test_a_word_of_the_user_is_repeated_harmlessly(
    capsys: Captured, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    for command in (["show", word], ["remove", word], ["run", word, "Hi"]):
        shown(capsys, *command)
