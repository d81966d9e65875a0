"""`verify` repeats the checks of an installed model and says in one sentence what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from proving import rows_of
from tiny import PIECES, copied, tokenizer, with_json

from localchat.cli import main
from localchat.library import find
from localchat.paths import models_folder

Captured = pytest.CaptureFixture[str]
WORDS = ("vocabulary", "bytes", "added tokens", "tokens", "template", "stop")


@pytest.fixture
def source(chatml: Path, tmp_path: Path) -> Path:
    """A checkpoint that was installed as `chatml` and may be changed."""
    folder = copied(chatml, tmp_path / "source")
    assert main(["pull", str(folder), "--name", "chatml", "--quant", "Q8_0"]) == 0
    return folder


@pytest.fixture
def installed(source: Path) -> Path:
    """The folder of the installed model."""
    assert source.is_dir()
    return models_folder() / "chatml"


def checked(capsys: Captured, code: int = 0) -> tuple[dict[str, dict[str, Any]], str]:
    """The checks by name, and what was said on standard error."""
    capsys.readouterr()
    assert main(["verify", "chatml", "--json"]) == code
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["name"] == "chatml"
    assert "Traceback" not in said.err
    return {check["name"]: check for check in found["checks"]}, said.err


def verdicts(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: check["verdict"] for name, check in checks.items()}


@pytest.mark.usefixtures("installed")
def test_a_sound_model_passes_and_is_compared_with_its_source(capsys: Captured) -> None:
    checks, _ = checked(capsys)
    assert verdicts(checks) == dict.fromkeys(("sha256", "header", *WORDS, "finite", "rows"), "passed")
    assert main(["verify", "chatml"]) == 0
    assert "✓ rows" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_every_tensor_can_be_made_again_and_compared(capsys: Captured) -> None:
    assert main(["verify", "chatml", "--rebuild"]) == 0
    assert "✓ rebuilt" in capsys.readouterr().out


def test_a_single_byte_that_differs_is_found_by_making_all_again(capsys: Captured, installed: Path) -> None:
    """In a row that is not among those that are always looked at, and with the receipt's hash put right."""
    model = find("chatml")
    data = bytearray(model.path.read_bytes())
    data[len(data) // 2] ^= 1
    model.path.write_bytes(data)
    receipt = json.loads((installed / "receipt.json").read_text())
    receipt["file_sha256"] = hashlib.sha256(data).hexdigest()
    (installed / "receipt.json").write_text(json.dumps(receipt))
    assert main(["verify", "chatml", "--rebuild"]) == 1
    assert "is not what the source gives, byte for byte" in capsys.readouterr().err


def test_without_the_source_the_rest_is_still_checked(capsys: Captured, source: Path) -> None:
    shutil.rmtree(source)
    checks, _ = checked(capsys)
    assert verdicts(checks) == dict.fromkeys(("sha256", "header", *WORDS, "finite"), "passed") | {"rows": "noted"}


def test_a_source_that_has_changed_is_not_compared(capsys: Captured, source: Path) -> None:
    with_json(source, "generation_config.json", top_k=3)
    checks, _ = checked(capsys)
    assert (checks["rows"]["verdict"], "generation_config.json" in checks["rows"]["detail"]) == ("noted", True)


def test_a_file_that_was_changed_is_one_sentence(capsys: Captured, installed: Path) -> None:
    rows = rows_of(installed / "chatml.Q8_0.gguf", "blk.0.attn_k.weight")
    rows[0] = rows[1]
    rows.flush()
    checks, said = checked(capsys, code=1)
    assert [name for name, check in checks.items() if check["verdict"] == "failed"] == ["sha256", "rows"]
    assert "chatml is not sound" in said


@pytest.mark.usefixtures("installed")
def test_a_header_that_was_damaged_is_one_sentence(capsys: Captured) -> None:
    with find("chatml").path.open("r+b") as file:
        file.write(b"GGUX")
    checks, said = checked(capsys, code=1)
    assert verdicts(checks) == {"sha256": "failed", "header": "failed"}
    assert "chatml is not sound" in said


@pytest.mark.parametrize(("key", "check"), [("token_ids", "tokens"), ("template", "template")])
def test_what_the_receipt_says_of_tokens_and_template_must_still_hold(
    key: str, check: str, capsys: Captured, installed: Path
) -> None:
    kept = json.loads((installed / "receipt.json").read_text())["fingerprints"]
    with_json(installed, "receipt.json", fingerprints={**kept, key: "0" * 64})
    checks, _ = checked(capsys, code=1)
    assert [name for name, entry in checks.items() if entry["verdict"] == "failed"] == [check]


def test_a_receipt_of_an_earlier_version_is_enough(capsys: Captured, installed: Path) -> None:
    with_json(installed, "receipt.json", fingerprints=..., checks=["header", "layout"])
    checks, _ = checked(capsys)
    assert checks["tokens"]["verdict"] == "noted"
    assert main(["show", "chatml"]) == 0
    assert "✓ layout        checked" in capsys.readouterr().out


def test_a_stop_that_the_receipt_lost_is_noted(capsys: Captured, chatml: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n{% endfor %}"
    folder = with_json(copied(chatml, tmp_path / "plain"), "tokenizer_config.json", chat_template=template)
    assert main(["pull", str(folder), "--name", "chatml"]) == 0
    receipt = find("chatml").receipt
    assert receipt.stops == ("### user:",)
    assert any("### user:" in note for note in receipt.notes)
    assert checked(capsys)[0]["stop"]["verdict"] == "repaired"
    with_json(models_folder() / "chatml", "receipt.json", stops=[])
    assert checked(capsys)[0]["stop"]["verdict"] == "noted"


def test_a_model_file_that_was_not_made_here_is_checked_for_what_it_is(capsys: Captured, chatml_file: Path) -> None:
    assert main(["pull", str(chatml_file), "--name", "chatml"]) == 0
    checks, _ = checked(capsys)
    assert verdicts(checks) == {
        **dict.fromkeys(("sha256", "header", *WORDS, "finite"), "passed"), "tokens": "noted", "rows": "noted",
    }  # fmt: skip


def test_a_model_that_was_quantized_anew_is_compared_with_the_file_it_came_from(
    capsys: Captured, chatml_file: Path
) -> None:
    assert main(["pull", str(chatml_file), "--name", "chatml", "--quant", "Q4_0"]) == 0
    assert checked(capsys)[0]["rows"]["verdict"] == "passed"


@pytest.mark.usefixtures("installed")
def test_show_lists_what_was_checked(capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["show", "chatml"]) == 0
    out = capsys.readouterr().out
    assert "strings give the same ids as tokenizer.model" in out
    assert main(["show", "chatml", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["receipt"]["checks"]
    assert {"name": "bytes", "verdict": "passed", "detail": "there is a token for each byte"} in checks


def test_a_model_that_came_out_wrong_gets_neither_name_nor_receipt(
    capsys: Captured, chatml: Path, tmp_path: Path
) -> None:
    folder = copied(chatml, tmp_path / "folder")
    (folder / "tokenizer.model").write_bytes(tokenizer(PIECES))  # hardly any byte has a token
    assert main(["pull", str(folder), "--name", "chatml"]) == 1
    assert "no token for the bytes" in capsys.readouterr().err
    assert list(models_folder().iterdir()) == []
    assert main(["convert", str(folder), str(tmp_path / "out.gguf"), "--type", "Q8_0"]) == 1
    assert [path for path in tmp_path.iterdir() if path.name.startswith("out")] == []
