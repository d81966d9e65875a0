"""A model for which memory does not suffice after all: an engine whose address space is limited for real."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import GIB, hardware
from tiny import CONFIG, checkpoint, refused
from tiny_checkpoint import sentencepiece

from localchat.catalog import lookup
from localchat.convert.config import parse_config
from localchat.convert.sketch import sketched
from localchat.engine.process import EngineProcess
from localchat.errors import NoMemory
from localchat.launch import TRIES, launch, plan_now
from localchat.launching import Launch
from localchat.library import Installed
from localchat.llama.placement import HOST, Placement
from localchat.plan.make import Machine
from localchat.plan.truth import loads
from localchat.plan.wish import Wish
from localchat.pull.events import Ready
from localchat.pull.install import pull
from localchat.pull.source import parse
from localchat.settings import Settings

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(sys.platform != "linux", reason="address spaces are limited by Linux"),
]

MIB = 1 << 20
ONE_THREAD = Settings(threads=1)
# 8 layers with 16 KV heads of 128: 64 KiB for each token as f16, so 512 MiB for 8,192 tokens; the weights are small.
HUNGRY = {
    **CONFIG, "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128,
    "max_position_embeddings": 8192, "vocab_size": 320,
}  # fmt: skip
SMALLEST = 136 * MIB
"""Its KV cache with 4,096 tokens as q8_0; the next larger, as f16, takes 256 MiB."""


@pytest.fixture(scope="module")
def hungry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoint(tmp_path_factory.mktemp("hungry") / "hungry", HUNGRY)
    (folder / "tokenizer.model").write_bytes(sentencepiece(HUNGRY["vocab_size"]))
    return folder


@pytest.fixture
def model(hungry: Path) -> Installed:
    """The hungry model, planned for a machine with much memory."""
    *_, ready = pull(parse(str(hungry)), Wish(quant="Q8_0"), Machine(hardware()))
    assert isinstance(ready, Ready)
    return ready.model


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how much memory seems to be free to whoever plans a load."""

    def set_free(free_bytes: int) -> None:
        monkeypatch.setattr("localchat.launch.this_machine", lambda *_, **__: Machine(hardware(64 * GIB, free_bytes)))

    set_free(60 * GIB)
    return set_free


Starts = Callable[[], int]


@pytest.fixture
def limited(model: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starts:
    """Engines can allocate little more than the smallest KV cache. Returns how many were started since."""
    small = Placement(256, 1, 512, "f16")
    with EngineProcess(model.path, small, tmp_path / "log") as engine:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{engine.pid}/status").read_text().splitlines())
    limit_kib = int(status["VmPeak"].split()[0]) + (SMALLEST + 50 * MIB) // 1024
    started = tmp_path / "started"
    started.touch()
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *engine.worker*) ulimit -v {limit_kib}; echo >> {started};; esac\n'
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    wrapper.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    return lambda: len(started.read_text())


@pytest.mark.usefixtures("limited")
def test_an_allocation_that_fails_is_told_with_its_memory(model: Installed, tmp_path: Path) -> None:
    with pytest.raises(NoMemory, match=r"a context of 8,192 tokens could not be allocated") as error:
        EngineProcess(model.path, Placement(8192, 1, 512, "f16"), tmp_path / "log")
    assert error.value.where == HOST
    assert "--context" in error.value.hint
    assert "failed to allocate" in (tmp_path / "log").read_text()


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("is_mapped", [True, False])
def test_weights_for_which_there_is_no_room_are_told_with_their_memory(tmp_path: Path, is_mapped: bool) -> None:
    entry = lookup("zephyr-7b-beta")
    assert entry is not None
    with sketched(parse_config(entry.config), "Q8_0") as path, pytest.raises(NoMemory) as error:
        EngineProcess(path, Placement(256, 1, 512, "f16", is_mapped=is_mapped), tmp_path / "log")
    assert str(error.value) == f"there is not enough memory for {path.name}"
    assert error.value.where == HOST
    assert str(tmp_path / "log") in error.value.hint


@pytest.mark.usefixtures("roomy")
def test_what_does_not_fit_is_loaded_smaller_and_that_is_said(model: Installed, limited: Starts) -> None:
    launched = launch(model, ONE_THREAD, lambda _: None)
    with launched.engine as engine:
        assert engine.loaded.context == 4096
    assert (launched.plan.context, launched.plan.kv_type) == (4096, "q8_0")
    assert limited() == 4 <= TRIES
    assert [note.partition(" (")[2] for note in launched.notes] == [
        "8,192 tokens of context, f16 KV cache), so less was tried",
        "8,192 tokens of context, q8_0 KV cache), so less was tried",
        "4,096 tokens of context, f16 KV cache), so less was tried",
    ]
    assert all(note.startswith("a context of ") for note in launched.notes)


@pytest.mark.usefixtures("roomy")
def test_what_did_not_fit_is_not_tried_again(model: Installed, limited: Starts) -> None:
    launch(model, ONE_THREAD, lambda _: None).engine.close()
    before = limited()
    again = launch(model, ONE_THREAD, lambda _: None)
    again.engine.close()
    assert limited() == before + 1
    assert (again.plan.context, again.plan.kv_type, again.notes) == (4096, "q8_0", ())
    outcomes = [(load.outcome, load.context, load.kv_type, load.short_of) for load in loads()]
    assert outcomes == [
        ("planned", 8192, "f16", None),
        ("failed", 8192, "f16", HOST),
        ("failed", 8192, "q8_0", HOST),
        ("failed", 4096, "f16", HOST),
        ("loaded", 4096, "q8_0", None),
        ("loaded", 4096, "q8_0", None),
    ]


def test_with_more_memory_it_is_tried_again(model: Installed, limited: Starts, roomy: Callable[[int], None]) -> None:
    roomy(4 * GIB)
    launch(model, ONE_THREAD, lambda _: None).engine.close()
    assert limited()
    assert plan_now(model, ONE_THREAD).context == 4096
    roomy(60 * GIB)
    assert plan_now(model, ONE_THREAD).context == 8192


@pytest.mark.usefixtures("roomy", "limited")
def test_a_context_that_was_asked_for_is_not_made_smaller(model: Installed) -> None:
    with refused("at least", "8,192 tokens of context"):
        launch(model, ONE_THREAD, lambda _: None, Launch(8192))
    assert {load.context for load in loads() if load.outcome == "failed"} == {8192}


def test_less_free_memory_than_when_the_model_was_pulled_is_said(
    model: Installed, roomy: Callable[[int], None]
) -> None:
    roomy(int(4 * GIB))  # 3.2 GiB are kept free of 64
    launched = launch(model, ONE_THREAD, lambda _: None)
    launched.engine.close()
    assert launched.notes == ()
    free = int(0.05 * 64 * GIB) + 250 * MIB
    roomy(free)
    launched = launch(model, ONE_THREAD, lambda _: None)
    launched.engine.close()
    assert launched.notes == (
        "3.4 GiB of memory are free now, 4.0 GiB were before: the model runs with 4,096 instead of 8,192 tokens of "
        "context, a q8_0 KV cache instead of f16",
    )
