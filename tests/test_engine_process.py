"""The engine's child process: how it begins, how it ends, and that its end never takes the program along."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from localchat.engine.events import Piece
from localchat.engine.process import EngineProcess
from localchat.errors import EngineDied, LocalchatError
from localchat.gguf_file import read_header
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

pytestmark = pytest.mark.model

ENDLESS = Sampling(temperature=0)
SHORT = Sampling(temperature=0, max_tokens=5)
PATIENCE_SECONDS = 60.0


def placement(context: int = 8192) -> Placement:
    return Placement(context, 1, 512, "f16")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def engine(chatml_file: Path, log: Path) -> Iterator[EngineProcess]:
    with EngineProcess(chatml_file, placement(), log) as engine:
        yield engine


def is_gone(pid: int) -> bool:
    """Is the process over? One that nobody has asked after yet counts as over."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# A death


SIGNS = [
    (signal.SIGKILL, "", "the system killed it, most likely because memory ran out"),
    (signal.SIGSEGV, "", "llama.cpp crashed (SIGSEGV)"),
    (signal.SIGKILL, "ggml_backend_cuda_buffer_type_alloc_buffer: failed to allocate 9000 MiB", "memory ran out"),
    (signal.SIGABRT, "CUDA error: out of memory", "memory ran out"),
]


@pytest.mark.parametrize(("number", "last_words", "cause"), SIGNS)
def test_a_death_in_a_reply_is_told_with_its_cause(
    engine: EngineProcess, log: Path, number: signal.Signals, last_words: str, cause: str
) -> None:
    events = engine.reply([1, 300], ENDLESS, ())
    while not isinstance(next(events), Piece):
        pass
    with log.open("a") as words:
        words.write(last_words)
    os.kill(engine.pid, number)
    with pytest.raises(EngineDied) as death:
        list(events)
    assert str(death.value) == f"the engine stopped: {cause}"
    assert death.value.hint == f"its log is {log}"
    assert not engine.is_alive


def test_a_build_for_another_processor_is_told_how_it_is_found_out(engine: EngineProcess) -> None:
    events = engine.reply([1, 300], ENDLESS, ())
    next(events)
    os.kill(engine.pid, signal.SIGILL)
    with pytest.raises(EngineDied) as death:
        list(events)
    assert "SIGILL" in str(death.value)
    assert "localchat doctor" in death.value.hint


def test_a_dead_engine_says_so_whatever_it_is_asked(engine: EngineProcess) -> None:
    os.kill(engine.pid, signal.SIGKILL)
    wait_until(lambda: not engine.is_alive)
    with pytest.raises(EngineDied):
        engine.tokenize(["Hello"])
    with pytest.raises(EngineDied):
        list(engine.reply([1], SHORT, ()))


def test_a_closed_engine_gives_its_process_back(engine: EngineProcess) -> None:
    pid = engine.pid
    engine.close()
    engine.close()
    assert is_gone(pid)
    with pytest.raises(EngineDied):
        engine.tokenize(["Hello"])


def test_closing_ends_a_reply_of_another_thread(engine: EngineProcess) -> None:
    seen: list[object] = []

    def read() -> None:
        try:
            seen.extend(engine.reply([1, 300], ENDLESS, ()))
        except LocalchatError as error:
            seen.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    engine.close()
    reader.join(PATIENCE_SECONDS)
    assert isinstance(seen[-1], EngineDied)


def test_an_iterator_may_be_closed_after_the_death(engine: EngineProcess) -> None:
    events = engine.reply([1, 300], ENDLESS, ())
    next(events)
    os.kill(engine.pid, signal.SIGKILL)
    wait_until(lambda: not engine.is_alive)
    events.close()


PARENT = """
import sys, time
from pathlib import Path
from localchat.engine.process import EngineProcess
from localchat.llama.placement import Placement
from localchat.sampling import Sampling
engine = EngineProcess(Path(sys.argv[1]), Placement(8192, 1, 512, "f16"), Path(sys.argv[2]))
events = engine.reply([1, 300], Sampling(temperature=0), ())
next(events)
print(engine.pid, flush=True)
time.sleep(600)
"""


def test_the_child_ends_when_its_parent_is_killed(chatml_file: Path, log: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(chatml_file), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not is_gone(child)
        parent.kill()
        parent.wait()
    wait_until(lambda: is_gone(child))


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(engine: EngineProcess) -> None:
    assert os.getpgid(engine.pid) != os.getpgid(0)


# A beginning


def test_loading_is_told_in_fractions(chatml_file: Path, log: Path) -> None:
    fractions: list[float] = []
    with EngineProcess(chatml_file, placement(512), log, fractions.append):
        assert fractions
        assert all(0 <= fraction <= 1 for fraction in fractions)


def test_a_watcher_that_fails_leaves_no_process_behind(chatml_file: Path, log: Path) -> None:
    def interrupted(fraction: float) -> None:
        raise KeyboardInterrupt(fraction)

    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        EngineProcess(chatml_file, placement(512), log, interrupted)
    assert not set(psutil.Process().children()) - before


def test_a_missing_model_is_an_error_of_its_own(tmp_path: Path, log: Path) -> None:
    with pytest.raises(LocalchatError, match=r"could not load gone\.gguf") as error:
        EngineProcess(tmp_path / "gone.gguf", placement(512), log)
    assert error.value.hint


@pytest.mark.parametrize("name", ["größe 模型.gguf", "with 'quotes' and spaces.gguf"])
def test_a_model_may_have_any_name(chatml_file: Path, tmp_path: Path, log: Path, name: str) -> None:
    (tmp_path / name).symlink_to(chatml_file)
    with EngineProcess(tmp_path / name, placement(512), log) as engine:
        assert engine.loaded.layers == 2


# key, the value that is there and the nonsense in its place: our reader has no objection to any of them
NONSENSE = [
    ("llama.block_count", 2, 1000),
    ("llama.block_count", 2, 0),
    ("llama.attention.head_count", 4, 0),
    ("llama.attention.head_count_kv", 2, 3),
    ("llama.embedding_length", 256, 2**31 - 1),
    ("tokenizer.ggml.eos_token_id", 1024, 2**32 - 1),
    ("llama.context_length", 32768, 0),
]


@pytest.mark.parametrize(("key", "old", "new"), NONSENSE)
def test_nonsense_in_a_model_file_is_survived(chatml_file: Path, log: Path, key: str, old: int, new: int) -> None:
    changed = log.with_name("changed.gguf")
    before, after = (key.encode() + struct.pack("<II", 4, value) for value in (old, new))
    assert chatml_file.read_bytes().count(before) == 1
    changed.write_bytes(chatml_file.read_bytes().replace(before, after))
    read_header(changed)
    assert survived(changed, log)


@pytest.mark.parametrize("byte", [b"\x00", b"\x7e", b"\xff"])
def test_weights_that_are_nonsense_are_survived(chatml_file: Path, log: Path, byte: bytes) -> None:
    changed, header = log.with_name("changed.gguf"), read_header(chatml_file)
    changed.write_bytes(chatml_file.read_bytes()[: header.data_offset].ljust(header.file_bytes, byte))
    assert survived(changed, log)


def survived(model: Path, log: Path) -> bool:
    """Either the model works somehow, or its failure is told in one sentence."""
    try:
        with EngineProcess(model, placement(512), log) as engine:
            return bool(list(engine.reply([1, 300], SHORT, ())))
    except LocalchatError as error:
        return bool(str(error) and error.hint)
