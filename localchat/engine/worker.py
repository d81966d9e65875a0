"""The child process that owns llama.cpp: `python -m localchat.engine.worker`.

Commands come in on standard input and frames go out on what was standard output, one JSON object a line. Standard
error is the log; standard output is sent there too before anything else is done, so that nothing that llama.cpp or a
driver prints can reach a terminal or a frame. One thread listens, so that a cancel is heard at once and texts are
tokenized while the main thread computes. When the parent is gone, standard input ends and so does this process.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from localchat.engine.events import Loading
from localchat.engine.store import Store
from localchat.engine.wire import FRAME_LIMIT_BYTES, error_frame, event_frame, pack, unpack
from localchat.errors import LocalchatError
from localchat.llama.placement import placement_of
from localchat.sampling import sampling_of

if TYPE_CHECKING:
    from localchat.engine.schedule import Schedule

PROGRESS_SECONDS = 0.1
TIDY_SECONDS = 10.0  # without a question
LEAVE_SECONDS = 20.0  # to write sessions to a slow disk


def main() -> None:
    """Serve one parent until it is gone."""
    frames = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    worker = Worker(frames)
    threading.Thread(target=_listen, args=(sys.stdin.buffer, worker), daemon=True).start()
    worker.work()


def _listen(commands: BinaryIO, worker: Worker) -> None:
    while (line := commands.readline(FRAME_LIMIT_BYTES)).endswith(b"\n"):
        worker.hear(unpack(line))
    worker.leave()


class Worker:
    """The model of this process and the commands it has been given."""

    def __init__(self, frames: BinaryIO) -> None:
        self._frames, self._lock = frames, threading.Lock()
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._schedule: Schedule | None = None
        self._do: dict[str, Callable[[dict[str, Any]], None]] = {
            "load": self._load,
            "tokenize": self._tokenize,
            "reply": self._reply,
            "embed": self._embed,
            "leave": self._leave,
        }

    def hear(self, command: dict[str, Any]) -> None:
        """Called by the listening thread."""
        if command["do"] == "cancel":
            self._cancelled.add(command["id"])
            if self._schedule:
                self._schedule.interrupt()
        elif command["do"] == "tokenize":
            self._obey(command)  # here, so that nobody waits for a step to end
        else:
            self._commands.put(command)

    def leave(self) -> None:
        """The parent is gone. Called by the listening thread; the main one may be deep inside llama.cpp."""
        if self._schedule is None:  # the model is still being loaded
            os._exit(0)
        self._schedule.interrupt()
        self._commands.put({"id": 0, "do": "leave"})
        time.sleep(LEAVE_SECONDS)
        os._exit(0)

    def work(self) -> None:
        """Carry out commands and compute, for ever."""
        while True:
            if self._schedule:
                self._schedule.resume()
            cancelled = set(self._cancelled)  # before the commands: what is cancelled was asked for earlier
            for command in self._heard():
                self._obey(command)
            if self._schedule:
                self._compute(self._schedule, cancelled)

    def _heard(self) -> Iterator[dict[str, Any]]:
        """The commands that are there; where there is nothing to compute, the next one is waited for."""
        if self._schedule is None or self._schedule.is_idle:
            yield self._next()
        with suppress(queue.Empty):
            while True:
                yield self._commands.get_nowait()

    def _next(self) -> dict[str, Any]:
        """The next command; when none came for a while, the cache is put in order meanwhile."""
        with suppress(queue.Empty):
            return self._commands.get(timeout=TIDY_SECONDS)
        while self._schedule is not None and self._commands.empty() and self._schedule.tidy():
            pass
        return self._commands.get()

    def _obey(self, command: dict[str, Any]) -> None:
        try:
            self._do[command["do"]](command)
        except LocalchatError as error:
            self._send(command["id"], error_frame(error))

    def _compute(self, schedule: Schedule, cancelled: set[int]) -> None:
        schedule.cancel(cancelled)
        self._cancelled -= cancelled
        for number, told in schedule.step():
            self._send(number, error_frame(told) if isinstance(told, LocalchatError) else event_frame(told))

    def _send(self, number: int, frame: dict[str, Any]) -> None:
        with self._lock:
            self._frames.write(pack({"id": number, **frame}))

    def _load(self, command: dict[str, Any]) -> None:
        # Imported here, behind the streams' redirection: loading a GPU backend prints.
        from localchat.engine.loading import load

        number = command["id"]
        report = _Throttle(lambda fraction: self._send(number, event_frame(Loading(fraction))))
        placement, store = placement_of(command["placement"]), Store(**command["store"])
        loaded, self._model, self._schedule = load(
            Path(command["path"]), placement, store, report, lambda reply, event: self._send(reply, event_frame(event))
        )
        self._send(number, {"loaded": asdict(loaded)})

    def _tokenize(self, command: dict[str, Any]) -> None:
        self._send(command["id"], {"tokens": [self._model.tokenize(text) for text in command["texts"]]})

    def _reply(self, command: dict[str, Any]) -> None:
        assert self._schedule is not None, "a model is loaded first"
        sampling = sampling_of(command["sampling"])
        self._schedule.add(command["id"], command["tokens"], sampling, command["stops"])

    def _embed(self, command: dict[str, Any]) -> None:
        assert self._schedule is not None, "a model is loaded first"
        self._schedule.embed(command["id"], command["tokens"])

    def _leave(self, _command: dict[str, Any]) -> None:
        if self._schedule:
            self._schedule.save_sessions()
        os._exit(0)


class _Throttle:
    """Passes on a fraction at most every `PROGRESS_SECONDS`."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report, self._next = report, 0.0

    def __call__(self, fraction: float) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + PROGRESS_SECONDS
            self._report(fraction)


if __name__ == "__main__":
    main()
