"""An installed model becomes a running engine: planned with what is free now, then loaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from localchat.engine.process import EngineProcess, Placement
from localchat.gguf_file import read_header
from localchat.library import Installed
from localchat.paths import logs_folder, models_folder
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.hardware import detect
from localchat.plan.plan import Plan, Wish, plan
from localchat.settings import Settings

LOGS_KEPT = 10


def plan_now(model: Installed, settings: Settings, context: int | None = None) -> Plan:
    """How this model would be loaded at this moment; a `context` asked for is taken by its word.

    Raises LocalchatError where it cannot be loaded, BadFile if it is damaged.
    """
    file = read_header(model.path)
    shape = shape_of(file)
    wish = Wish(context=context or min(settings.context, shape.context), threads=settings.threads)
    return plan(shape, [candidate_of(file)], detect(models_folder()), wish)


def launch(model: Installed, chosen: Plan, progress: Callable[[float], None]) -> EngineProcess:
    """Load the model in a child process; `progress` hears fractions. Raises LocalchatError, EngineDied."""
    placement = Placement(chosen.context, chosen.gpu_layers, chosen.threads, chosen.batch, chosen.kv_type)
    return EngineProcess(model.path, placement, _new_log(), progress)


def _new_log() -> Path:
    """A file for llama.cpp's words; only the last few are kept."""
    folder = logs_folder()
    for old in sorted(folder.glob("engine-*.log"))[: -LOGS_KEPT + 1]:
        old.unlink(missing_ok=True)
    path = folder / f"engine-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
    path.touch(mode=0o600)
    return path
