"""Questions to a process of its own: for what strangers wrote, over which a library may crash, hang or fill memory.

One question: the parent calls `ask`, and the module that it names calls `answer` when it is run. Many questions: the
parent holds a `Service`, and the module calls `serve`. Questions and answers are JSON, on standard input and on what
was standard output before the module sent it to the log.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, Any

from localchat.errors import LocalchatError
from localchat.text import one_line
from localchat.watchdog import TookTooLong, Watchdog

LOG_TAIL_BYTES = 2048
EXCEPTION_CODE = 1  # how Python ends over an exception, whose text is then the last line of the log
MEMORY_CODE = 77  # how `serve` ends where memory ran out
READY = b"ready\n"
START_SECONDS = 30.0  # to start Python and import, on a machine that is busy with other things

Reply = Callable[[dict[str, Any]], dict[str, Any]]


class ChildDied(LocalchatError):
    """The process ended without an answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use; not enforced on Windows."""

    memory_bytes: int
    cpu_seconds: int
    """For each question."""


def ask(
    module: str, question: Mapping[str, Any], seconds: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answer of `python -m module`. Raises ChildDied where there is none in time, else what the child raised."""
    with tempfile.TemporaryFile() as log:
        with (
            _start(module, log, environment) as process,
            Watchdog(process.kill) as watchdog,
            _killed_after(process, watchdog, seconds),
        ):
            out, _ = process.communicate(_packed(question))
        if process.returncode:
            raise _death(_cause(process.returncode, log))
    return _unpacked(out.splitlines()[-1] if out else out)  # a driver may print something while it is loaded


def answer(reply: Reply, limits: Limits | None = None) -> None:
    """The child's side of `ask`: read the question, answer it once."""
    with _own_output() as out:
        if limits is not None:
            limit(limits)
        out.write(_answered(reply, sys.stdin.buffer.read()))


class Service:
    """Many questions to one process, one after the other: it is started for the first, and anew after it failed.

    Threads may share it. The process ends with `close`, with this program, and by itself where this program is gone.
    """

    def __init__(self, module: str, answer_bytes: int, environment: Mapping[str, str] | None = None) -> None:
        """`python -m module` is not started yet; no answer of its may be longer than `answer_bytes`."""
        self._module, self._answer_bytes, self._environment = module, answer_bytes, environment
        self._lock = threading.Lock()
        self._child: _Child | None = None
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        child = self._child
        return child.process.pid if child else None

    def ask(self, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer. Raises ChildDied where there is none in time, else what the child raised."""
        line = _packed(question)
        with self._lock:
            try:
                found = self._running().hear(line, self._answer_bytes, seconds)
            except BaseException:  # what it still answers must not be taken for the answer to another question
                self._end()
                raise
        return _unpacked(found)

    def close(self) -> None:
        """End the process, in the middle of an answer too; the next question starts another."""
        if child := self._child:
            child.process.kill()
        with self._lock:
            self._end()

    def _running(self) -> _Child:
        if self._child is None or self._child.process.poll() is not None:
            self._end()
            self._child = _Child(self._module, self._environment)
            # What it has to import takes time that no question must answer for.
            while self._child.hear(b"", self._answer_bytes, START_SECONDS) != READY:
                pass
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child:
            child.end()


class _Child:
    """A process that waits for questions, and its log."""

    def __init__(self, module: str, environment: Mapping[str, str] | None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        try:
            self.process = _start(module, self._log, environment)
        except BaseException:
            self._log.close()
            raise
        self._watchdog = Watchdog(self.process.kill)

    def hear(self, line: bytes, limit_bytes: int, seconds: float) -> bytes:
        """What it says next, once it was told a line. Raises ChildDied where that is no line in time."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        with _killed_after(self.process, self._watchdog, seconds):
            with suppress(OSError):  # that it is dead shows below
                stdin.write(line)
                stdin.flush()
            found = stdout.readline(limit_bytes)
            if found.endswith(b"\n"):
                return found
            if len(found) == limit_bytes:
                raise _death("its answer is too long")
            raise _death(_cause(self.process.wait(), self._log))

    def end(self) -> None:
        """Kill it: it keeps nothing that could be lost."""
        self._watchdog.close()
        self.process.kill()
        with suppress(OSError), self.process:  # leaving closes its pipes, the one to it with an unsent rest perhaps
            pass
        self._log.close()


def serve(reply: Reply, limits: Limits) -> None:
    """The child's side of a `Service`: answer until the parent is gone. Nobody waits for the limits to be set."""
    with _own_output() as out:
        found = READY
        while True:
            out.write(found)
            out.flush()
            limit(replace(limits, cpu_seconds=math.ceil(time.process_time()) + limits.cpu_seconds))
            if not (line := sys.stdin.buffer.readline()):
                return
            try:
                found = _answered(reply, line)
            except MemoryError:
                os._exit(MEMORY_CODE)  # what needs memory, as a traceback does, could fail again


def signal_name(number: int) -> str:
    """What a signal is called, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


def _start(module: str, log: IO[bytes], environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    """Raises ChildDied where the system has no room for another process."""
    try:
        # -P: the folder that the user happens to stand in is no place to import from
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, "GGML_NO_BACKTRACE": "1", **(environment or {})},
            start_new_session=True, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError as error:
        raise _death(f"it could not be started ({error.strerror})") from error


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], watchdog: Watchdog, seconds: float) -> Iterator[None]:
    """Where the block takes longer the process is killed, and ChildDied raised; it is killed too where that fails."""
    try:
        with watchdog.within(seconds):
            try:
                yield
            except BaseException:
                process.kill()
                raise
    except TookTooLong as error:
        raise _death(f"it took longer than {seconds:g} seconds") from error


def _own_output() -> IO[bytes]:
    """Standard output, which from here on is the log for everybody else."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def _answered(reply: Reply, question: bytes) -> bytes:
    try:
        return _packed(reply(json.loads(question)))
    except LocalchatError as error:
        return _packed({"error": str(error), "hint": error.hint})


def _packed(value: Mapping[str, Any]) -> bytes:
    """One line; half a surrogate pair, which is no text, goes over too."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _unpacked(line: bytes) -> dict[str, Any]:
    """An answer. Raises ChildDied where it is none, LocalchatError where the child raised that."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise _death("it answered nothing") from error
    if not isinstance(found, dict):
        raise _death("it answered nonsense")
    if "error" in found:
        raise LocalchatError(found["error"], found["hint"])
    return found


def limit(limits: Limits) -> None:
    """This process may use no more. A limit that the system does not know, or that is lower already, stays as it is."""
    if sys.platform == "win32":
        return
    import resource

    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_CORE: 0,
    }
    for name, value in wanted.items():
        with suppress(ValueError, OSError):
            resource.setrlimit(name, (value, resource.getrlimit(name)[1]))


def _cause(code: int, log: IO[bytes]) -> str:
    if code < 0:
        is_slow = -code == getattr(signal, "SIGXCPU", None)
        return "it took too long" if is_slow else f"it crashed ({signal_name(-code)})"
    if code == MEMORY_CODE:
        return "it took too much memory"
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    lines = log.read().decode("utf-8", "replace").splitlines()
    return one_line(lines[-1], 160) if code == EXCEPTION_CODE and lines else f"it ended with code {code}"


def _death(cause: str) -> ChildDied:
    return ChildDied(cause, "report this with the name of the model")
