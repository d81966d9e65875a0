"""What passes between the engine's process and its parent, and what is written down of it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localchat.engine.process import EngineProcess
from localchat.engine.wire import FRAME_LIMIT_BYTES
from localchat.errors import LocalchatError
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

pytestmark = pytest.mark.model

PLACEMENT = Placement(512, 1, 512, "f16")
PATIENCE_SECONDS = 60.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def engine(chatml_file: Path, log: Path) -> Iterator[EngineProcess]:
    with EngineProcess(chatml_file, PLACEMENT, log) as engine:
        yield engine


QUIET = """
import sys
from pathlib import Path
from localchat.engine.process import EngineProcess
from localchat.llama.placement import Placement
from localchat.sampling import Sampling
with EngineProcess(Path(sys.argv[1]), Placement(512, 1, 512, "f16"), Path(sys.argv[2])) as engine:
    list(engine.reply([1, 300], Sampling(max_tokens=5), ()))
try:
    EngineProcess(Path("gone.gguf"), Placement(512, 1, 512, "f16"), Path(sys.argv[2]))
except Exception as error:
    assert type(error).__name__ == "LocalchatError"
print("done")
"""


NOISE = """
import os, sys, threading, time
def chatter():
    while "localchat.engine.schedule" not in sys.modules:
        time.sleep(0.001)
    while True:
        os.write(1, b"driver chatter ")
        time.sleep(0.001)
if sys.argv[:1] == ["-m"]:
    threading.Thread(target=chatter, daemon=True).start()
"""


def test_what_the_child_prints_is_in_the_log_and_nowhere_else(chatml_file: Path, log: Path) -> None:
    """llama.cpp's words, and those of a driver that writes to standard output whenever it likes."""
    log.with_name("sitecustomize.py").write_text(NOISE)
    answer = subprocess.run(
        [sys.executable, "-c", QUIET, str(chatml_file), str(log)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(log.parent), *sys.path])},
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "done\n", "")
    words = log.read_text("utf-8")
    for expected in ("llama_model_loader", "gone.gguf", "driver chatter"):
        assert expected in words


def test_the_log_holds_nothing_of_the_conversation(engine: EngineProcess, log: Path) -> None:
    tokens = engine.tokenize(["my secret 5af3"])[0]
    list(engine.reply([1, *tokens], Sampling(max_tokens=5), ()))
    assert "5af3" not in log.read_text("utf-8")


def test_a_text_that_is_too_long_for_the_child_is_refused(engine: EngineProcess) -> None:
    """The child reads no longer line, and whoever waits for its answer waits for ever."""
    text = "é" * (FRAME_LIMIT_BYTES // len("\\u00e9") + 1)
    outcome: list[object] = []
    asking = threading.Thread(target=lambda: outcome.append(failure(lambda: engine.tokenize([text]))), daemon=True)
    asking.start()
    asking.join(PATIENCE_SECONDS)
    try:
        assert [type(error) for error in outcome] == [LocalchatError]
    finally:
        os.kill(engine.pid, signal.SIGKILL)  # or else a write that nobody reads keeps `close` waiting too


def failure(action: Callable[[], object]) -> object:
    """The error of an action, or what it returned."""
    try:
        return action()
    except LocalchatError as error:
        return error


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "😀" * 1000, "\ue000"])
def test_any_text_can_be_sent(engine: EngineProcess, text: str) -> None:
    assert engine.tokenize([text, "Hello"])[1] == [568, 900, 949]


def test_a_new_log_can_be_read_by_its_owner_alone(chatml_file: Path, log: Path) -> None:
    log.touch(mode=0o600)
    with EngineProcess(chatml_file, PLACEMENT, log):
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
