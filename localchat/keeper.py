"""An engine that stays: started again when it dies, put away when nobody needs it, loaded when somebody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from localchat.engine.events import Event, Loaded, Loading
from localchat.engine.process import EngineProcess
from localchat.errors import EngineDied, LocalchatError
from localchat.launch import Launched, launch, learn
from localchat.launching import AS_SET, Launch
from localchat.library import Installed
from localchat.lifetime import JOIN_SECONDS, Alarms, Change, Clock, Deaths, GivenUp, Idle, timer
from localchat.plan.plan import Plan
from localchat.sampling import Sampling
from localchat.settings import Settings

TOLD_SECONDS = 0.2  # so often whoever waits for a load hears of it, and may stop waiting

Progress = Callable[[float], None]
Start = Callable[[Progress], Launched]
"""Loads the model; raises LocalchatError, EngineDied."""
Learn = Callable[[Plan, EngineDied], None]
"""Hears of each death before the next start, and of the plan that had been loaded."""


def _ignore(_fraction: float) -> None:
    """Nobody watches the model load."""


def _forget(_plan: Plan, _death: EngineDied) -> None:
    """Nobody learns from a death."""


class Kept:
    """An engine that outlives its process. Any thread may call it; close it to end everything that belongs to it."""

    def __init__(
        self, start: Start, progress: Progress = _ignore, learn: Learn = _forget, idle_seconds: float = 0,
        clock: Clock = time.monotonic, alarms: Alarms = timer,
    ) -> None:  # fmt: skip
        """Load the model; raises what `start` raises. It is put away after `idle_seconds` without a call; 0 is never.

        `clock` and `alarms` are there for tests.
        """
        self._start, self._learn, self._clock = start, learn, clock
        self._changed = threading.Condition()  # guards all that follows
        self._deaths, self._idle = Deaths(), Idle(idle_seconds, self._put_away, clock, alarms)
        self._engine: EngineProcess | None = None
        self._change: Change | None = None
        self._thread: threading.Thread | None = None
        self._end: EngineDied | None = None
        self._notes: list[str] = []
        self._adopt(start(progress))

    @property
    def loaded(self) -> Loaded:
        """Facts of the newest load, also while the model is not in memory."""
        return self._newest.engine.loaded

    @property
    def plan(self) -> Plan:
        """The plan of the newest load."""
        return self._newest.plan

    @property
    def is_loaded(self) -> bool:
        """Is the model in memory, as far as is known?"""
        return self._engine is not None

    def take_notes(self) -> tuple[str, ...]:
        """What the user should know of the loads since the last time that this was asked; a sentence each."""
        with self._changed:
            notes, self._notes = self._notes, []
        return tuple(notes)

    def wake(self) -> Generator[Loading]:
        """Load the model if it is not in memory: `loaded` is true for the next prompt then.

        Yields how far that is. Raises LocalchatError where it cannot be loaded, EngineDied where it is not tried.
        """
        with self._in_use():
            yield from self._awake()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, read as plain text; waits for the model. A death is tried to be made good once."""
        with self._in_use():
            try:
                return self._tokenize(texts)
            except GivenUp:
                raise
            except EngineDied:
                return self._tokenize(texts)

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Answer a prompt, after `Loading` events where the model is not in memory.

        Raises LocalchatError; EngineDied where the process ended: by then it is being started again, unless GivenUp.
        """
        return self._events(lambda engine: engine.reply(tokens, sampling, stops))

    def embed(self, tokens: Sequence[int]) -> Generator[Event]:
        """The vector of a text, as `reply` answers a prompt."""
        return self._events(lambda engine: engine.embed(tokens))

    def close(self) -> None:
        """End the process, whatever it does, and give all memory back; for good."""
        with self._changed:
            self._end = EngineDied("the engine was closed", "load the model again")
            engine, self._engine = self._engine, None
            thread = self._thread
            self._changed.notify_all()
        if engine is not None:
            engine.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)
        self._idle.stop()

    def _events(self, ask: Callable[[EngineProcess], Generator[Event]]) -> Generator[Event]:
        with self._in_use():
            engine = yield from self._awake()
            try:
                with closing(ask(engine)) as events:
                    yield from events
            except EngineDied as death:
                raise self._bury(engine, death) from death

    # Waiting for an engine

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Within this the model is not put away."""
        with self._changed:
            self._idle.begin()
        try:
            yield
        finally:
            with self._changed:
                self._idle.end()

    def _awake(self) -> Generator[Loading, None, EngineProcess]:
        """A living engine, which is started if need be."""
        while True:
            found = self._engine_or_change()
            if isinstance(found, Change):
                yield from self._follow(found)
            elif found.is_alive:
                return found
            else:
                self._find_out(found)

    def _engine_or_change(self) -> EngineProcess | Change:
        with self._changed:
            if self._end is not None:
                raise type(self._end)(str(self._end), self._end.hint)
            return self._engine or self._change or self._begin_load()

    def _follow(self, change: Change) -> Iterator[Loading]:
        """At least one event, and then more until it is over. Raises why it failed."""
        while True:
            fraction = change.fraction
            yield Loading(fraction)
            with self._changed:
                self._changed.wait_for(partial(self._has_news, change, fraction), TOLD_SECONDS)
                if change.is_over or self._end is not None:
                    break
        if change.failure is not None:
            raise change.failure

    def _has_news(self, change: Change, fraction: float) -> bool:
        return change.is_over or change.fraction != fraction or self._end is not None

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        engine = _returned(self._awake())
        try:
            return engine.tokenize(texts)
        except EngineDied as death:
            raise self._bury(engine, death) from death

    # Death

    def _find_out(self, engine: EngineProcess) -> None:
        """It died when nobody watched: ask it why."""
        try:
            engine.tokenize(())
        except EngineDied as death:
            self._bury(engine, death)

    def _bury(self, engine: EngineProcess, death: EngineDied) -> EngineDied:
        """Start again, if no other thread has seen to that and it may be; what to tell the caller."""
        with self._changed:
            is_first = engine is self._engine
            if is_first:
                self._engine = None
                self._end = self._deaths.record(death, self._clock())
                if self._end is None:
                    self._begin_load(engine, death)
            end = self._end
        if is_first and end is not None:
            engine.close()
            self._learn(self._newest.plan, death)
        return end or EngineDied(str(death), f"it is being started again; {death.hint}")

    # Loading, and putting away

    def _begin_load(self, old: EngineProcess | None = None, death: EngineDied | None = None) -> Change:
        change = self._change = Change()
        self._thread = threading.Thread(target=self._load, args=(change, old, death), daemon=True, name="keeper")
        self._thread.start()
        return change

    def _load(self, change: Change, old: EngineProcess | None, death: EngineDied | None) -> None:
        """The work of a thread: bury what was there, and load the model."""
        launched, failure = None, LocalchatError("the engine could not be started again", "load the model again")
        try:
            if old is not None and death is not None:
                old.close()
                self._learn(self._newest.plan, death)
            launched = self._started(partial(self._hear, change))
        except LocalchatError as error:
            failure = error
        finally:
            self._finish(change, launched, None if launched else failure)

    def _started(self, progress: Progress) -> Launched:
        """A process that dies while it loads the model counts as any other death."""
        while True:
            try:
                return self._start(progress)
            except EngineDied as death:
                with self._changed:
                    end = self._end or self._deaths.record(death, self._clock())
                if end is not None:
                    raise end from death

    def _hear(self, change: Change, fraction: float) -> None:
        with self._changed:
            if self._end is not None:
                raise LocalchatError(str(self._end), self._end.hint)  # not EngineDied, which would be tried again
            change.fraction = fraction
            self._changed.notify_all()

    def _finish(self, change: Change, launched: Launched | None, failure: LocalchatError | None) -> None:
        with self._changed:
            self._change, change.is_over, change.failure = None, True, failure
            if isinstance(failure, GivenUp):
                self._end = self._end or failure
            is_late = self._end is not None
            if launched is not None and not is_late:
                self._adopt(launched)
            self._changed.notify_all()
        if launched is not None and is_late:
            launched.engine.close()

    def _adopt(self, launched: Launched) -> None:
        self._newest, self._engine = launched, launched.engine
        self._notes.extend(launched.notes)
        self._idle.set()

    def _put_away(self) -> None:
        """Called when it could be time for it."""
        with self._changed:
            engine = self._engine
            if engine is None or self._end is not None:
                return
            if self._idle.left_seconds() > 0:
                self._idle.set()
                return
            change = self._change = Change()
            self._engine = None
        engine.close()
        self._finish(change, None, None)


def _returned(steps: Generator[Loading, None, EngineProcess]) -> EngineProcess:
    """What a generator returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: EngineProcess = end.value
            return found


def keep(model: Installed, settings: Settings, progress: Progress, how: Launch = AS_SET) -> Kept:
    """Load the model as `launch` does, with the same errors, and keep it."""
    return Kept(
        lambda hear: launch(model, settings, hear, how),
        progress,
        lambda plan, death: learn(model, settings, how, plan, death),
        settings.idle_minutes * 60,
    )
