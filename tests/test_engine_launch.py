"""An installed model becomes a running engine: planned for this moment, logged in a file of its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tiny import refused

from localchat.launch import LOGS_KEPT, launch, plan_now
from localchat.launching import Launch
from localchat.library import Installed
from localchat.paths import logs_folder
from localchat.plan.rungs import CONTEXT
from localchat.plan.truth import loads
from localchat.plan.wish import Wish
from localchat.pull.events import Ready
from localchat.pull.install import pull
from localchat.pull.source import parse
from localchat.settings import Settings


@pytest.fixture
def model(chatml_file: Path) -> Installed:
    """The small model, made for 32,768 tokens of context."""
    *_, ready = pull(parse(str(chatml_file)), Wish())
    assert isinstance(ready, Ready)
    return ready.model


CONTEXTS = [
    (Settings(), 0, CONTEXT),
    (Settings(context=1024), 0, 1024),
    (Settings(context=1 << 20), 0, 32768),  # a setting is for all models, whatever they were made for
    (Settings(context=1024), 2048, 2048),
    (Settings(), 64, 64),
]


@pytest.mark.parametrize(("settings", "asked", "expected"), CONTEXTS)
def test_the_context_is_what_was_asked_for_or_set(
    model: Installed, settings: Settings, asked: int, expected: int
) -> None:
    assert plan_now(model, settings, Launch(asked)).context == expected


def test_more_context_than_the_model_was_made_for_is_refused(model: Installed) -> None:
    with refused("32,768"):
        plan_now(model, Settings(), Launch(32769))


def test_the_threads_are_those_that_were_set(model: Installed) -> None:
    assert plan_now(model, Settings(threads=3)).threads == 3
    assert plan_now(model, Settings()).threads >= 1


def test_a_model_file_that_was_damaged_is_refused_before_it_is_loaded(model: Installed) -> None:
    model.path.unlink()
    model.path.write_bytes(b"GGUF" + bytes(100))
    with refused("not a sound GGUF file"):
        plan_now(model, Settings())


@pytest.mark.model
def test_the_engine_is_loaded_as_planned(model: Installed) -> None:
    fractions: list[float] = []
    launched = launch(model, Settings(), fractions.append, Launch(256))
    with launched.engine as engine:
        assert engine.loaded.context == launched.plan.context == 256
        assert engine.loaded.layers == launched.plan.layers == 2
    assert launched.notes == ()
    assert fractions


@pytest.mark.model
def test_what_a_load_took_is_remembered_beside_what_was_predicted(model: Installed) -> None:
    launched = launch(model, Settings(), lambda _: None, Launch(256))
    with launched.engine as engine:
        (taken,) = engine.loaded.taken
    planned, loaded = loads()
    assert [(load.model, load.outcome) for load in (planned, loaded)] == [
        (model.receipt.file_sha256, "planned"), (model.receipt.file_sha256, "loaded"),
    ]  # fmt: skip
    assert (planned.context, loaded.context) == (CONTEXT, 256)
    assert planned.parts["CPU"].actual_bytes is None
    assert loaded.parts["CPU"].actual_bytes == taken.resident_bytes
    assert loaded.parts["CPU"].predicted_bytes == launched.plan.total_bytes


@pytest.mark.model
def test_every_engine_has_a_log_that_only_its_owner_can_read(model: Installed) -> None:
    folder = logs_folder()
    for number in range(LOGS_KEPT + 5):
        (folder / f"engine-20200101T00000000000{number:02}.log").touch()
    (folder / "other.log").touch()
    with launch(model, Settings(), lambda _: None, Launch(256)).engine:
        logs = sorted(folder.glob("engine-*.log"))
        assert len(logs) == LOGS_KEPT
        assert stat.S_IMODE(logs[-1].stat().st_mode) == 0o600
        assert "llama_model_loader" in logs[-1].read_text("utf-8")
    assert (folder / "other.log").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
