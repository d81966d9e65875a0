"""The parent's side of the engine: starts the child process, sends commands, and turns its frames into events."""

from __future__ import annotations

import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localchat.child import signal_name
from localchat.engine.events import Event, Loaded, Loading
from localchat.engine.store import NO_STORE, Store
from localchat.engine.token_cache import TokenCache
from localchat.engine.wire import ENDS, FRAME_LIMIT_BYTES, frame_error, frame_event, frame_loaded, pack, unpack
from localchat.errors import EngineDied, LocalchatError, NoMemory, RanOut
from localchat.llama.buffers import says_memory_ran_out
from localchat.llama.placement import HOST, Placement
from localchat.sampling import Sampling

LAST = (None, *(kind.__name__ for kind in ENDS))
KILLED, ILLEGAL = -9, -4  # SIGKILL, SIGILL
BUILD_HINT = "llama.cpp was built for another processor; run: localchat doctor"
CLOSE_SECONDS = 20.0  # in which sessions are written
LOG_TAIL_BYTES = 4096


def _ignore(_fraction: float) -> None:
    """Nobody watches the model load."""


class EngineProcess:
    """An engine in a child process. Close it, or use it as a context manager; a closed engine gives all memory back."""

    def __init__(
        self, model: Path, placement: Placement, log: Path, progress: Callable[[float], None] = _ignore,
        store: Store = NO_STORE,
    ) -> None:  # fmt: skip
        """Start the process and load the model; `progress` is called with fractions while it loads.

        What was read of conversations is kept in the `store` when the engine is closed, and taken from there.

        Raises LocalchatError where the model does not load, NoMemory where memory does not suffice for it, EngineDied
        where the process ended over it.
        """
        self._log = log
        self._numbers = itertools.count()
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._lock = threading.Lock()
        self._is_gone = False
        self._known = TokenCache(self._tokenized)
        self._process = _spawn(log)
        self._listener = threading.Thread(target=self._listen, daemon=True, name="engine")
        self._listener.start()
        try:
            self.loaded = self._load(model, placement, progress, store)
        except EngineDied as error:
            self.close()
            if error.ran_out:
                raise NoMemory(str(error), error.hint, HOST) from error
            raise
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        """Is the process still there?"""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, read as plain text. Raises LocalchatError, EngineDied."""
        if not self.is_alive:
            raise self._death()
        return self._known.tokens(texts)

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Answer a prompt; closing the iterator cancels. Raises LocalchatError, EngineDied."""
        return self._events("reply", tokens=list(tokens), sampling=asdict(sampling), stops=list(stops))

    def embed(self, tokens: Sequence[int]) -> Generator[Event]:
        """The vector of a text, after events of the reading; closing the iterator cancels. Raises as `reply` does."""
        return self._events("embed", tokens=list(tokens))

    def close(self) -> None:
        """End the process and wait for it."""
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(CLOSE_SECONDS)

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _load(self, model: Path, placement: Placement, progress: Callable[[float], None], store: Store) -> Loaded:
        for frame in self._ask("load", path=str(model), placement=asdict(placement), store=asdict(store)):
            if "loaded" in frame:
                return frame_loaded(frame["loaded"])
            event = frame_event(frame)
            if isinstance(event, Loading):
                progress(event.fraction)
        raise self._death()

    def _tokenized(self, texts: list[str]) -> list[list[int]]:
        for frame in self._ask("tokenize", texts=texts):
            found: list[list[int]] = frame["tokens"]
            return found
        raise self._death()

    def _events(self, what: str, **command: Any) -> Generator[Event]:
        with closing(self._ask(what, **command)) as frames:
            for frame in frames:
                yield frame_event(frame)

    def _ask(self, what: str, **command: Any) -> Generator[dict[str, Any]]:
        """Send a command and yield its frames. Raises what the child raised, or EngineDied."""
        number = next(self._numbers)
        line = pack({"id": number, "do": what, **command})
        if len(line) > FRAME_LIMIT_BYTES:
            raise LocalchatError("the text is longer than any model could read", "shorten it")
        answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        finished = False
        self._answers[number] = answers
        if self._is_gone:  # looked at only after the queue is known to the listener
            answers.put(None)
        try:
            self._send(line)
            while not finished:
                frame = answers.get()
                if frame is None:
                    finished = True
                    raise self._death()
                if "error" in frame:
                    finished = True
                    raise frame_error(frame, str(self._log))
                finished = frame.get("event") in LAST
                yield frame
        finally:
            del self._answers[number]
            if not finished:
                self._send(pack({"id": number, "do": "cancel"}))

    def _send(self, line: bytes) -> None:
        with self._lock, suppress(OSError, ValueError):  # a dead child is noticed by the listener
            self._stdin.write(line)
            self._stdin.flush()

    def _listen(self) -> None:
        """Hand each frame to whoever asked; tell all when the child is gone."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while (line := stream.readline(FRAME_LIMIT_BYTES)).endswith(b"\n"):  # else it was cut by the child's death
                frame = unpack(line)
                if answers := self._answers.get(frame["id"]):
                    answers.put(frame)
        if line:
            self._process.kill()  # what it said is longer than a frame may be: it cannot be understood any more
        self._process.wait()
        self._is_gone = True
        for answers in list(self._answers.values()):
            answers.put(None)

    def _death(self) -> EngineDied:
        code = self._process.wait()
        hint = BUILD_HINT if code == ILLEGAL else f"its log is {self._log}"
        cause, ran_out = _cause(code, self._log)
        return EngineDied(f"the engine stopped: {cause}", hint, ran_out)


def _spawn(log: Path) -> subprocess.Popen[bytes]:
    """The child, in a session of its own, so that Ctrl-C in the terminal reaches the parent alone."""
    with log.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "localchat.engine.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # or else ggml starts a debugger when it crashes
            start_new_session=True, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip


def _cause(code: int, log: Path) -> tuple[str, RanOut | None]:
    """Why the child ended, from its exit code and the end of its log, and was it for want of memory?"""
    if says_memory_ran_out(_tail(log)):
        return "memory ran out", "unknown"
    if code == KILLED:
        return "the system killed it, most likely because memory ran out", "host"
    if code < 0:
        return f"llama.cpp crashed ({signal_name(-code)})", None
    return ("it was closed" if code == 0 else f"its process ended with code {code}"), None


def _tail(log: Path) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
    return ""
