"""`localchat plan`: every kind of source, every machine, what people see, what programs get, and exit codes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from planning import FILES, GIB, NEMO_CONFIG, made_up
from pull_hub import REPO, publishing
from tiny import CONFIG, checkpoint

from localchat.cli import main
from localchat.gguf_file import read_header
from localchat.llama.placement import HOST
from localchat.plan.wish import Wish
from localchat.pull.install import pull
from localchat.pull.source import parse

Captured = pytest.CaptureFixture[str]
DESKTOP = str(next(path for path in FILES if path.stem == "nvidia-8gb"))
MISTRAL = "mistral-7b-instruct-v0.2"
# What the design promises to programs.
FIELDS = {
    "model": str, "quant": str, "bits_per_weight": float, "context": int, "kv_type": str, "gpu_layers": int,
    "layers": int, "threads": int, "batch": int, "fits": str, "predicted": dict, "download_bytes": int,
    "disk_bytes": int, "reasons": list, "choices": list,
}  # fmt: skip
PARTS = {"name", "weights_bytes", "kv_bytes", "compute_bytes", "margin_bytes", "free_bytes"}
NAMES = {path.stem: path for path in FILES}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dry runs."""
    monkeypatch.setattr("localchat.plan.make.find_works", made_up())


def json_of(capsys: Captured, *arguments: str) -> Any:
    """What the command prints for programs; nothing else may be on standard output."""
    capsys.readouterr()
    assert main(["plan", *arguments, "--hardware", DESKTOP, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def sentence_of(capsys: Captured, *arguments: str, code: int = 1) -> str:
    """What the command says when it fails; nothing of it may be on standard output."""
    capsys.readouterr()
    assert main(["plan", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


# Sources


def test_a_name_of_the_catalog(capsys: Captured) -> None:
    """With the real dry runs of llama.cpp."""
    found = json_of(capsys, MISTRAL)
    for field, kind in FIELDS.items():
        assert type(found[field]) is kind, field
    assert (found["model"], found["quant"], found["context"], found["fits"]) == (MISTRAL, "Q6_K", 8192, "gpu")
    assert (found["layers"], found["gpu_layers"], found["threads"]) == (32, 33, 6)
    assert found["flash_attention"] == "auto"
    assert found["download_bytes"] > 14e9
    assert 5.5e9 < found["disk_bytes"] < 6e9
    devices = found["predicted"]["devices"]
    assert [set(part) for part in devices] == [PARTS, PARTS]
    assert [part["name"] for part in devices] == ["CUDA0", HOST]
    for part in devices:
        assert part["weights_bytes"] + part["kv_bytes"] + part["compute_bytes"] <= part["free_bytes"]
    assert devices[0]["kv_bytes"] == GIB
    assert 30 < found["predicted"]["tokens_per_second"] < 45
    assert [choice["quant"] for choice in found["choices"]][:2] == ["Q8_0", "Q6_K"]
    assert {choice["fits"] for choice in found["choices"]} == {"gpu", "partial"}
    assert found["reasons"][0].startswith("Q6_K with 8,192 tokens of context")


@pytest.mark.usefixtures("quick")
def test_a_folder(capsys: Captured, chatml: Path) -> None:
    before = sorted(chatml.iterdir())
    found = json_of(capsys, str(chatml))
    assert (found["model"], found["quant"], found["context"]) == ("chatml", "Q8_0", 8192)
    assert found["download_bytes"] == 0
    assert found["disk_bytes"] > 1_000_000
    assert sorted(chatml.iterdir()) == before


def test_a_model_file(capsys: Captured, chatml_file: Path) -> None:
    """With a real dry run of the file itself."""
    found = json_of(capsys, str(chatml_file))
    assert found["quant"] == "Q8_0"
    assert found["download_bytes"] == found["disk_bytes"] == 0
    assert len(found["choices"]) == 1
    weights = sum(part["weights_bytes"] for part in found["predicted"]["devices"])
    assert weights == read_header(chatml_file).tensor_bytes


@pytest.mark.usefixtures("quick")
def test_an_installed_model_is_planned_as_what_it_is(capsys: Captured, chatml: Path) -> None:
    for _ in pull(parse(str(chatml)), Wish(quant="Q4_K_M", threads=1)):
        pass
    found = json_of(capsys, "chatml")
    assert (found["model"], found["quant"], found["download_bytes"], found["disk_bytes"]) == ("chatml", "Q4_K_M", 0, 0)
    assert "cannot be had as Q8_0" in sentence_of(capsys, "chatml", "--quant", "Q8_0", "--hardware", DESKTOP)


@pytest.mark.usefixtures("quick")
def test_a_repository_is_planned_without_any_of_its_weights(
    capsys: Captured, chatml: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with publishing(tmp_path / "hub", chatml, monkeypatch) as hub:
        found = json_of(capsys, REPO)
        weights = sum(path.stat().st_size for path in chatml.glob("*.safetensors"))
        assert found["download_bytes"] >= weights
        assert found["download_bytes"] < weights + (1 << 20)
        fetched = [served.path for served in hub.requests if served.method == "GET" and "/api/" not in served.path]
        assert fetched
        assert not any(path.endswith((".safetensors", ".bin", ".pt", ".gguf")) for path in fetched)
    assert found["quant"] == "Q8_0"
    assert [path for path in home.rglob("*") if path.is_file() and path.name != "work.json"] == []
    assert not (home / "downloads").exists() or list((home / "downloads").iterdir()) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_download_that_has_begun_is_kept_and_counts(
    capsys: Captured, chatml: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publishing(tmp_path / "hub", chatml, monkeypatch):
        whole = json_of(capsys, REPO)["download_bytes"]
        events = pull(parse(REPO), Wish(quant="Q8_0", threads=1))
        for _ in events:
            if any(path.suffix == ".safetensors" for path in (home / "downloads").rglob("*")):
                break
        events.close()
        before = sorted(path.name for path in (home / "downloads").rglob("*"))
        assert json_of(capsys, REPO)["download_bytes"] < whole
        assert sorted(path.name for path in (home / "downloads").rglob("*")) == before


# Machines


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("quick")
def test_the_page_of_every_machine_is_80_columns_wide(capsys: Captured, name: str) -> None:
    assert main(["plan", MISTRAL, "--hardware", str(NAMES[name])]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    words = [word for line in lines for word in line.split() if len(word) > 60]
    long = [line for line in lines if len(line) > 80 and not any(word in line for word in words)]
    assert long == []
    assert "\x1b" not in said.out
    types = [line.replace("→", " ").split()[0] for line in lines[1:9]]
    assert types == ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q3_K_M", "Q2_K"]
    assert sum("→" in line for line in lines) == 1
    bars = [line.strip() for line in lines if line.strip() and set(line.strip()) <= set("█▓▒╌·")]
    assert len({len(bar) for bar in bars}) == 1, "bars can be compared"
    assert sum(line.startswith("  - ") for line in lines) >= 1
    assert "predictions" in said.err


@pytest.mark.parametrize("source", ["mixtral-8x7b-instruct-v0.1", "smollm2"])
@pytest.mark.usefixtures("quick")
def test_the_page_of_other_models_is_80_columns_wide(capsys: Captured, source: str) -> None:
    for name in ("nvidia-12gb", "two-gpus", "server-2core"):
        assert main(["plan", source, "--hardware", str(NAMES[name])]) == 0
        assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.usefixtures("quick")
def test_a_name_from_a_hardware_file_cannot_touch_the_terminal(capsys: Captured, tmp_path: Path) -> None:
    facts = json.loads(Path(DESKTOP).read_text())
    facts["devices"][0]["name"] = "CUDA0\x1b[2J"
    facts["devices"][0]["description"] = "[bold]evil\x1b[31m\nrm -rf"
    facts["unused_gpus"] = [{"name": "x\x1b]0;y\x07", "fix": "make\nit \x9b1m so"}]
    (tmp_path / "evil.json").write_text(json.dumps(facts))
    assert main(["plan", MISTRAL, "--hardware", str(tmp_path / "evil.json")]) == 0
    said = capsys.readouterr()
    assert not set("\x1b\x07\x9b\r") & set(said.out + said.err)
    assert "[bold]evil" in said.out


@pytest.mark.usefixtures("quick")
def test_this_machine(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.plan.here.rates", lambda *_arguments, **_options: {})
    assert main(["plan", "smollm2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predicted"]["tokens_per_second"] is None
    assert found["predicted"]["devices"][-1]["free_bytes"] > 0


# Wishes and what cannot be


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--quant", "q4_k_m"], "quant", "Q4_K_M"),
        (["--quant", "q4_k"], "quant", "Q4_K_M"),
        (["--quant", "auto"], "quant", "Q6_K"),
        (["--context", "1024"], "context", 1024),
        (["--size", "4.5GiB"], "quant", "Q4_K_M"),
        (["--goal", "speed"], "quant", "Q4_K_M"),
        (["--goal", "quality"], "fits", "partial"),
        (["--goal", "context"], "context", 32768),
        (["--gpu-memory", "5GiB"], "quant", "Q4_K_M"),
        (["--gpu-memory", "1B", "--memory", "20GiB"], "fits", "memory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("quick")
def test_wishes(capsys: Captured, arguments: list[str], field: str, value: object) -> None:
    assert json_of(capsys, MISTRAL, *arguments)[field] == value


WRONG_USAGE = {
    "no source": [],
    "two sources": [MISTRAL, "smollm2"],
    "a size that is none": [MISTRAL, "--size", "large"],
    "a memory that is none": [MISTRAL, "--memory", "-1"],
    "a context of words": [MISTRAL, "--context", "long"],
    "no context": [MISTRAL, "--context", "0"],
    "a goal that is none": [MISTRAL, "--goal", "fame"],
    "a hardware file that is not there": [MISTRAL, "--hardware", "/nowhere/machine.json"],
    "a folder for a hardware file": [MISTRAL, "--hardware", "/"],
    "an option that is none": [MISTRAL, "--magic"],
}


@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=WRONG_USAGE.keys())
def test_wrong_usage_is_exit_code_2(capsys: Captured, arguments: list[str]) -> None:
    assert sentence_of(capsys, *arguments, code=2)


IMPOSSIBLE = {
    "a context above the model's": (["--context", "32769"], "32,768 tokens of context, not 32,769"),
    "a size that nothing fits": (["--size", "1GiB"], "no type of this model is as small as 1.0 GiB"),
    "a type that there is not": (["--quant", "Q9_9"], "Q9_9"),
    "a type and a smaller size": (["--quant", "Q8_0", "--size", "4GiB"], "Q8_0 of this model is not as small as"),
    "no memory at all": (["--gpu-memory", "1B", "--memory", "1B"], "the model needs at least"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.usefixtures("quick")
def test_what_cannot_be_is_one_sentence_and_a_next_step(capsys: Captured, name: str) -> None:
    arguments, words = IMPOSSIBLE[name]
    said = sentence_of(capsys, MISTRAL, *arguments, "--hardware", DESKTOP)
    assert words in said
    first, second = said.splitlines()
    assert first.startswith("localchat: ")
    assert second.startswith("  ")
    assert not first.endswith(".")


NONSENSE = {
    "no JSON": "{",
    "a list": "[]",
    "nothing": "",
    "no devices": '{"cpu": {}, "memory": {}}',
    "no text": "\udcff\udcfe",
    "a memory below 0": Path(DESKTOP).read_text().replace("27703377920", "-1"),
    "more free than there is": Path(DESKTOP).read_text().replace("27703377920", "33382465537"),
    "a number without end": Path(DESKTOP).read_text().replace("27703377920", "9" * 5000),
    "a deep hole": "[" * 100_000,
}


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.usefixtures("quick")
def test_a_hardware_file_with_nonsense_is_one_sentence(capsys: Captured, content: str, tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    said = sentence_of(capsys, MISTRAL, "--hardware", str(tmp_path / "machine.json"))
    assert "machine.json" in said
    assert len(said.splitlines()) == 2


SOURCES = {
    "a model that nobody knows": "no-such-model",
    "a folder without a checkpoint": "empty",
    "a file that is no model": "bad.gguf",
    "an address": "https://example.com/x/y",
    "nothing": "",
    "a way out": "../../etc",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.usefixtures("quick")
def test_a_source_that_is_none_is_one_sentence(
    capsys: Captured, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(64))
    said = sentence_of(capsys, source if source != "empty" else "./empty", "--hardware", DESKTOP)
    assert said.startswith("localchat: ")
    assert len(said.splitlines()) == 2


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_of_another_kind_is_one_sentence(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text(json.dumps({**CONFIG, "architectures": ["BertModel"]}))
    assert len(sentence_of(capsys, str(tmp_path / "odd"), "--hardware", DESKTOP).splitlines()) == 2


@pytest.mark.usefixtures("quick")
def test_a_model_that_fits_nowhere_names_what_would(capsys: Captured, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "nemo")
    (folder / "config.json").write_text(json.dumps({**NEMO_CONFIG, "num_hidden_layers": 400}))
    said = sentence_of(capsys, str(folder), "--hardware", str(NAMES["laptop-8gb"]))
    assert "needs at least" in said
    assert "billion weights would fit" in said


@pytest.mark.usefixtures("quick")
def test_where_no_speed_is_known_that_is_said(capsys: Captured, tmp_path: Path) -> None:
    facts = json.loads(Path(DESKTOP).read_text("utf-8"))
    facts["memory_bandwidth_bytes_per_second"] = facts["devices"][0]["memory_bandwidth_bytes_per_second"] = None
    file = tmp_path / "unknown.json"
    file.write_text(json.dumps(facts))
    assert main(["plan", MISTRAL, "--hardware", str(file)]) == 0
    assert "No rate is predicted" in capsys.readouterr().err
    assert main(["plan", MISTRAL, "--hardware", DESKTOP]) == 0
    assert "No rate is predicted" not in capsys.readouterr().err
