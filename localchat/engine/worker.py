"""The child process that owns llama.cpp: `python -m localchat.engine.worker`.

Commands come in on standard input and frames go out on what was standard output, one JSON object a line. Standard
error is the log; standard output is sent there too before anything else is done, so that nothing that llama.cpp or a
driver prints can reach a terminal or a frame. One thread listens, so that a cancel is heard at once; the main thread
works. When the parent is gone, standard input ends and so does this process.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from localchat.engine.events import Event, Loading
from localchat.engine.wire import FRAME_LIMIT_BYTES, error_frame, event_frame, pack, unpack
from localchat.errors import LocalchatError
from localchat.llama.placement import placement_of
from localchat.sampling import Sampling

PROGRESS_SECONDS = 0.1


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
    os._exit(0)  # the parent is gone; the main thread may be deep inside llama.cpp


class Worker:
    """The model of this process and the commands it has been given."""

    def __init__(self, frames: BinaryIO) -> None:
        self._frames = frames
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._do: dict[str, Callable[[dict[str, Any]], None]] = {
            "load": self._load,
            "tokenize": self._tokenize,
            "reply": self._reply,
        }

    def hear(self, command: dict[str, Any]) -> None:
        """Called by the listening thread."""
        if command["do"] == "cancel":
            self._cancelled.add(command["id"])
        else:
            self._commands.put(command)

    def work(self) -> None:
        """Carry out commands one after the other, for ever."""
        while True:
            command = self._commands.get()
            try:
                self._do[command["do"]](command)
            except LocalchatError as error:
                self._send(command, error_frame(error))
            self._cancelled.discard(command["id"])

    def _send(self, command: dict[str, Any], frame: dict[str, Any]) -> None:
        self._frames.write(pack({"id": command["id"], **frame}))

    def _send_event(self, command: dict[str, Any], event: Event) -> None:
        self._send(command, event_frame(event))

    def _load(self, command: dict[str, Any]) -> None:
        # Imported here, behind the streams' redirection: loading a GPU backend prints.
        from localchat.engine.loading import load

        report = _Throttle(lambda fraction: self._send_event(command, Loading(fraction)))
        loaded, self._model, self._slot = load(Path(command["path"]), placement_of(command["placement"]), report)
        self._send(command, {"loaded": asdict(loaded)})

    def _tokenize(self, command: dict[str, Any]) -> None:
        self._send(command, {"tokens": [self._model.tokenize(text) for text in command["texts"]]})

    def _reply(self, command: dict[str, Any]) -> None:
        sampling = Sampling(**command["sampling"])
        with closing(self._slot.reply(command["tokens"], sampling, command["stops"])) as events:
            for event in self._until_cancelled(command["id"], events):
                self._send_event(command, event)

    def _until_cancelled(self, number: int, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if number in self._cancelled:
                return
            yield event


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
