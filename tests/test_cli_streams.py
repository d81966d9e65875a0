"""What happens where standard output ends: a reader that has gone, or one that cannot take every character."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localchat.cli import main


@pytest.fixture
def model(chatml_file: Path, tmp_path: Path) -> Path:
    """An installed model; returns its file, whose name not every terminal can show."""
    (tmp_path / "größe.gguf").symlink_to(chatml_file)
    assert main(["pull", str(chatml_file), "--name", "tiny"]) == 0
    return tmp_path / "größe.gguf"


COMMANDS = [
    ["--help"],
    ["models"],
    ["models", "--json"],
    ["catalog", "--json"],
    ["show", "tiny"],
    ["run", "tiny", "Hi", "--context", "2048"],
    ["run", "tiny", "Hi", "--context", "256", "--json"],
]


@pytest.mark.model
@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_news(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = subprocess.run(
        [sys.executable, "-m", "localchat", *command],
        stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert not [word for word in ("Traceback", "Exception", "BrokenPipe", "Errno") if word in program.stderr]
    assert program.returncode in (0, 1)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_terminal_can_be_written_to(model: Path, encoding: str) -> None:
    for command in (["show", str(model)], ["show", "größe 😀"]):
        program = subprocess.run(
            [sys.executable, "-m", "localchat", *command],
            capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False,
        )  # fmt: skip
        assert b"Traceback" not in program.stderr
        assert program.returncode == (1 if "größe 😀" in command else 0)
        (program.stdout + program.stderr).decode(encoding)


def test_an_answer_can_be_written_to_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply may hold every character there is; `run` must not end over one that the terminal lacks."""
    program = (
        "import sys\nfrom localchat.answer import _Printer\nfrom localchat.engine.events import Piece\n"
        "import localchat.cli\nfrom unittest.mock import patch\n"
        "printer = _Printer()\n"
        "with patch('localchat.answer.answer', lambda *_: printer.show(Piece('Gr\\u00f6\\u00dfe \\U0001f600'))), "
        "patch('localchat.commands.talk.model_named'):\n"
        "    sys.exit(localchat.cli.main(['run', 'tiny', 'Hi']))\n"
    )
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    answer = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, "Traceback" in answer.stderr) == (0, False)
    assert answer.stdout.startswith("Gr")
