"""An installed model becomes a running engine: planned with what is free now, loaded, planned smaller if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from localchat.engine.process import EngineProcess
from localchat.engine.store import NO_STORE, Store
from localchat.errors import EngineDied, LocalchatError, NoMemory
from localchat.gguf_file import read_header
from localchat.launching import AS_SET, Launch
from localchat.library import Installed
from localchat.llama.libraries import package_version
from localchat.llama.placement import HOST
from localchat.paths import logs_folder, models_folder, sessions_folder
from localchat.plan.facts import subject_of
from localchat.plan.here import this_machine
from localchat.plan.make import make_plan
from localchat.plan.plan import Plan
from localchat.plan.truth import Load, forget, load_of, loads, remember
from localchat.plan.wish import Wish
from localchat.settings import Settings
from localchat.text import size

LOGS_KEPT = 10
TRIES = 4


@dataclass(frozen=True, slots=True)
class Launched:
    """A running engine and how it came to be."""

    engine: EngineProcess
    plan: Plan
    notes: tuple[str, ...]
    """What the user should know: what did not fit, and what is less than the last time; a sentence each."""


def plan_now(model: Installed, settings: Settings, how: Launch = AS_SET) -> Plan:
    """How this model would be loaded at this moment; a context that is asked for is taken by its word.

    Raises LocalchatError where it cannot be loaded, BadFile if it is damaged.
    """
    subject = subject_of(read_header(model.path))
    wish = Wish(context=how.context or min(settings.context, subject.shape.context), threads=settings.threads)
    machine = this_machine(models_folder(), rpc=how.rpc)
    return make_plan(subject, machine, wish, model.receipt.file_sha256)


def launch(model: Installed, settings: Settings, progress: Callable[[float], None], how: Launch = AS_SET) -> Launched:
    """Load the model in a child process; `progress` hears fractions.

    Where memory does not suffice after all, the next smaller plan is tried. Raises LocalchatError, EngineDied.
    """
    known, notes = loads(), []
    for left in reversed(range(TRIES)):
        chosen = plan_now(model, settings, how)
        try:
            placement = replace(chosen.placement(how.rpc), slots=how.slots)
            store = _store(model, chosen.kv_type, settings) if how.is_kept else NO_STORE
            engine = EngineProcess(model.path, placement, _new_log(), progress, store)
        except NoMemory as error:
            remember(load_of(model.receipt.file_sha256, chosen, "failed", {}, error.where))
            if not left:
                raise
            notes.append(f"{error} ({_words(chosen)}), so less was tried")
            continue
        # a device of another machine may not say by how much its memory shrank
        actual = {taken.name: taken.resident_bytes for taken in engine.loaded.taken if taken.resident_bytes > 0}
        remember(load_of(model.receipt.file_sha256, chosen, "loaded", actual))
        is_asked_for = bool(how.context or settings.context)
        return Launched(engine, chosen, (*notes, *_changes(_of(model, known), chosen, is_asked_for)))
    raise AssertionError("the last try returns or raises")


def learn(model: Installed, settings: Settings, how: Launch, plan: Plan, death: EngineDied) -> None:
    """Of an engine that died because memory ran out: the next plan is smaller, where there is a smaller one."""
    if death.ran_out is None:
        return
    failure = load_of(model.receipt.file_sha256, plan, "failed", {}, _short_of(plan, death))
    remember(failure)
    try:
        plan_now(model, settings, how)
    except LocalchatError:
        forget(failure)  # it was the smallest one: to try it again is better than to refuse


def _short_of(plan: Plan, death: EngineDied) -> str:
    """The memory that most likely ran out: the system kills for its own, a driver fails for that of its device."""
    devices = [part for part in plan.predicted if part.use.name != HOST]
    if not devices or death.ran_out == "host":
        return HOST
    return min(devices, key=lambda part: part.left_bytes).use.name


def _store(model: Installed, kv_type: str, settings: Settings) -> Store:
    """Where conversations with this model are kept, so that they are not read again; nowhere where that is unwanted."""
    if not settings.sessions_gib:
        return NO_STORE
    identity = f"{model.receipt.file_sha256} {kv_type} {package_version()}"
    return Store(str(sessions_folder()), settings.sessions_gib << 30, identity)


def _of(model: Installed, known: Sequence[Load]) -> list[Load]:
    """When the model was planned or loaded, the last time first."""
    return [load for load in reversed(known) if load.model == model.receipt.file_sha256]


def _changes(known: Sequence[Load], chosen: Plan, is_asked_for: bool) -> Iterator[str]:
    """What is less than the last time, and why; not the context where the user named it."""
    before = next((load for load in known if load.outcome != "failed"), None)
    if before is None:
        return
    less = []
    if chosen.context < before.context and not is_asked_for:
        less.append(f"{chosen.context:,} instead of {before.context:,} tokens of context")
    if (chosen.kv_type, before.kv_type) == ("q8_0", "f16"):
        less.append("a q8_0 KV cache instead of f16")
    if chosen.gpu_layers < before.gpu_layers:
        less.append(f"{chosen.gpu_layers} instead of {before.gpu_layers} layers on the GPU")
    if less:
        yield from (f"{why}: the model runs with {', '.join(less)}" for why in _why(known[0], before, chosen))


def _why(last: Load, before: Load, chosen: Plan) -> list[str]:
    """Why there is less than before, at most one sentence; `last` may have failed since."""
    if last.outcome == "failed":
        return ["memory ran out the last time"]
    for part in chosen.predicted:
        then = before.parts.get(part.use.name)
        if then is not None and part.room.free_bytes < then.free_bytes:
            where = "memory" if part.use.name == HOST else part.use.name
            return [f"{size(part.room.free_bytes)} of {where} are free now, {size(then.free_bytes)} were before"]
    if gone := before.parts.keys() - {part.use.name for part in chosen.predicted}:
        return [f"{', '.join(sorted(gone))} cannot be used now"]
    return []


def _words(chosen: Plan) -> str:
    where = f", {chosen.gpu_layers} of {chosen.layers + 1} layers on the GPU" if chosen.gpu_layers else ""
    return f"{chosen.context:,} tokens of context, {chosen.kv_type} KV cache{where}"


def _new_log() -> Path:
    """A file for llama.cpp's words; only the last few are kept."""
    folder = logs_folder()
    for old in sorted(folder.glob("engine-*.log"))[: -LOGS_KEPT + 1]:
        old.unlink(missing_ok=True)
    path = folder / f"engine-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
    path.touch(mode=0o600)
    return path
