"""The command line: exit codes, what goes where, and the JSON that programs rely on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pull_hub import REPO, SHARDS, publishing

from localchat.cli import localchat, main
from localchat.errors import LocalchatError
from localchat.launching import Launch
from localchat.library import find
from localchat.paths import models_folder

Captured = pytest.CaptureFixture[str]


def json_of(capsys: Captured, *arguments: str) -> Any:
    """What a command that succeeds prints for programs; nothing else may be on standard output."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def sentence_of(capsys: Captured, *arguments: str, code: int = 1) -> str:
    """What a command that fails says; nothing of it may be on standard output."""
    assert main(list(arguments)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Standard input, to be written to; empty unless a test does."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
    return raw


# Help

COMMANDS = sorted(localchat.commands)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=str
)
def test_help_is_a_success(capsys: Captured, arguments: list[str]) -> None:
    assert main(arguments) == 0
    assert "localchat" in capsys.readouterr().out


HEAVY = ("numpy", "textual", "llama_cpp", "huggingface_hub", "rich", "gguf", "jinja2", "httpx2", "sqlite3", "psutil")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]], ids=str)
def test_help_waits_for_nothing_heavy(arguments: list[str]) -> None:
    program = f"import sys\nfrom localchat.cli import main\nmain({arguments!r})\nprint(*sys.modules, file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [name for name in HEAVY if name in answer.stderr.split()] == []


# Exit codes

WRONG_USAGE = [
    ["run"],
    ["run", "smollm2", "Hi", "--temperature", "hot"],
    ["run", "smollm2", "Hi", "--context", "1"],
    ["run", "smollm2", "Hi", "--no-such-flag"],
    ["run", "smollm2", "Hi", "--rpc", "nowhere"],
    ["pull"],
    ["pull", "smollm2", "--size", "large"],
    ["pull", "smollm2", "--memory", "much"],
    ["pull", "smollm2", "--gpu-memory", "much"],
    ["pull", "smollm2", "--goal", "joy"],
    ["pull", "smollm2", "--rpc", "nowhere"],
    ["convert", "smollm2", "out.gguf"],
    ["--no-such-flag"],
    ["models", "extra"],
]


@pytest.mark.usefixtures("piped")
@pytest.mark.parametrize("arguments", WRONG_USAGE, ids=str)
def test_wrong_usage_is_2(capsys: Captured, arguments: list[str]) -> None:
    assert sentence_of(capsys, *arguments, code=2)


FAILURES = [
    (["run", "no-such-model", "Hi"], "no model named 'no-such-model' is installed"),
    (["show", "no-such-model"], "no model named"),
    (["show", "missing.gguf"], "no model named"),
    (["show", "x" * 300 + ".gguf"], "no model named"),
    (["remove", "no-such-model"], "no model named"),
    (["remove", "../models"], "no model named"),
    (["pull", "no-such-model"], "is no known model"),
    (["pull", "./missing"], "there is no folder or model file"),
    (["pull", "acme/tiny"], "cannot be reached"),
    (["pull", "smollm2", "--name", "///"], "cannot be used as a model's name"),
    (["convert", "smollm2", "out.gguf", "--type", "Q8_0"], "quantized already"),
    (["no-such-model"], "no model named 'no-such-model' is installed"),
]


@pytest.mark.usefixtures("piped")
@pytest.mark.parametrize(("arguments", "words"), FAILURES, ids=lambda value: str(value)[:40])
def test_a_failure_is_1_and_one_sentence_with_the_next_step(
    capsys: Captured, arguments: list[str], words: str, naps: list[float]
) -> None:
    first, second = sentence_of(capsys, *arguments).splitlines()
    assert first.startswith("localchat: ")
    assert words in first
    assert second.startswith("  ")
    assert second.strip()
    assert len(naps) < 10


def test_debug_shows_where_it_failed() -> None:
    with pytest.raises(LocalchatError):
        main(["--debug", "show", "no-such-model"])


def test_ctrl_c_is_130(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("localchat.library.installed", interrupted)
    assert main(["models"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("word", ["modles", "modesl", "catalogue", "pul", "show-"])
def test_a_word_that_is_nearly_a_command_gets_a_hint(capsys: Captured, word: str) -> None:
    assert "did you mean the command: localchat " in sentence_of(capsys, word)


# The app


Opened = list[tuple[str | None, Launch]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The model that the app was opened with, and how it is to be loaded, on what seems to be a terminal."""
    opened: Opened = []
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)

    def run_app(_settings: object, model: Any, how: Launch) -> None:
        opened.append((model.name if model else None, how))

    monkeypatch.setitem(sys.modules, "localchat.tui", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "localchat.tui.app", SimpleNamespace(run_app=run_app))
    return opened


def test_without_a_command_the_app_opens(opened: Opened) -> None:
    assert main([]) == 0
    assert opened == [(None, Launch())]


@pytest.mark.usefixtures("smollm2_file")
def test_a_model_opens_the_app_with_it(opened: Opened) -> None:
    assert main(["smollm2"]) == 0
    assert main(["smollm2", "--context", "1024"]) == 0
    assert main(["smollm2", "--rpc", "a:1", "--rpc", "b:2"]) == 0
    assert opened == [
        ("smollm2", Launch()), ("smollm2", Launch(context=1024)), ("smollm2", Launch(rpc=("a:1", "b:2"))),
    ]  # fmt: skip


@pytest.mark.usefixtures("piped")
def test_the_app_needs_a_terminal(capsys: Captured) -> None:
    assert "localchat run" in sentence_of(capsys)


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_the_app_needs_a_stream_at_all(capsys: Captured, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, name, None)
    assert main([]) == 1
    assert "the app needs a terminal" in capsys.readouterr().err


# What programs read

PLAN = {
    "model", "quant", "bits_per_weight", "context", "kv_type", "gpu_layers", "layers", "threads", "batch",
    "flash_attention", "fits", "predicted", "download_bytes", "disk_bytes", "reasons",
}  # fmt: skip


def test_the_library_as_json(capsys: Captured, chatml: Path) -> None:
    assert json_of(capsys, "models") == []
    assert main(["pull", str(chatml), "--name", "mine", "--quant", "q8_0"]) == 0
    (facts,) = json_of(capsys, "models")
    assert facts.keys() >= {
        "name", "quant", "bytes", "source", "commit", "installed_at", "last_used_at", "tokens_per_second",
    }  # fmt: skip
    path = find("mine").path
    assert (facts["name"], facts["quant"], facts["bytes"]) == ("mine", "Q8_0", path.stat().st_size)
    assert (facts["source"], facts["commit"], facts["last_used_at"]) == (str(chatml), None, None)


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_model_as_json(capsys: Captured, chatml_file: Path, is_installed: bool) -> None:
    assert main(["pull", str(chatml_file), "--name", "mine"]) == 0
    facts = json_of(capsys, "show", "mine" if is_installed else str(chatml_file))
    assert facts.keys() >= {
        "name", "path", "architecture", "parameters", "quant", "bytes", "context", "template_source", "receipt",
    }  # fmt: skip
    assert (facts["architecture"], facts["quant"], facts["context"]) == ("llama", "Q8_0", 32768)
    assert facts["bytes"] == chatml_file.stat().st_size
    assert Path(facts["path"]).samefile(chatml_file)
    assert (facts["receipt"] or {}).get("name") == ("mine" if is_installed else None)


def test_the_catalog_as_json(capsys: Captured) -> None:
    facts = json_of(capsys, "catalog")
    assert "smollm2" in [entry["name"] for entry in facts]
    for entry in facts:
        assert entry.keys() >= {"name", "repo", "licence", "gated", "uncensored", "format", "context", "plan"}
        assert entry["plan"] is None or entry["plan"].keys() >= PLAN


def test_a_dry_run_says_what_it_would_do_and_does_not(
    capsys: Captured, chatml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publishing(tmp_path / "hub", chatml, monkeypatch) as hub:
        plan = json_of(capsys, "pull", REPO, "--dry-run", "--quant", "Q4_K_M", "--context", "1000")
        assert not any(served.path.split("/")[-1] in SHARDS for served in hub.requests)
        assert not any(served.path.startswith("/cdn/") and served.range is None for served in hub.requests)
    assert plan.keys() >= PLAN
    assert (plan["model"], plan["quant"], plan["context"]) == ("tiny", "Q4_K_M", 1000)
    assert plan["download_bytes"] == sum((chatml / name).stat().st_size for name in SHARDS)
    assert plan["predicted"].keys() >= {"devices", "tokens_per_second"}
    assert plan["predicted"]["devices"][0].keys() >= {
        "name", "weights_bytes", "kv_bytes", "compute_bytes", "margin_bytes", "free_bytes",
    }  # fmt: skip
    assert plan["reasons"]
    assert list(models_folder().iterdir()) == []


def test_a_dry_run_of_what_is_there_has_the_same_fields(
    capsys: Captured, chatml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publishing(tmp_path / "hub", chatml, monkeypatch):
        assert main(["pull", REPO, "--quant", "Q4_K_M"]) == 0
        plan = json_of(capsys, "pull", REPO, "--quant", "Q4_K_M", "--dry-run")
    assert plan.keys() >= PLAN
    assert plan["download_bytes"] == 0


def test_a_pull_as_json_is_the_installed_model(capsys: Captured, chatml_file: Path) -> None:
    facts = json_of(capsys, "pull", str(chatml_file))
    assert json_of(capsys, "models") == [facts]
