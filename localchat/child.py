"""One question to a process of its own: for libraries that read files of strangers and may crash or hang over them.

The parent calls `ask`; the module that it names calls `answer` when it is run. Question and answer are JSON, on
standard input and on what was standard output before the module sent it to the log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from localchat.errors import LocalchatError
from localchat.text import one_line

LOG_TAIL_BYTES = 2048
EXCEPTION_CODE = 1  # how Python ends over an exception, whose text is then the last line of the log


class ChildDied(LocalchatError):
    """The process ended without an answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use; not enforced on Windows."""

    memory_bytes: int
    cpu_seconds: int


def ask(
    module: str, question: Mapping[str, Any], seconds: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answer of `python -m module`. Raises ChildDied where there is none in time, else what the child raised."""
    with tempfile.TemporaryFile() as log:
        try:
            # -P: the folder that the user happens to stand in is no place to import from
            done = subprocess.run(
                [sys.executable, "-P", "-m", module],
                input=json.dumps(question).encode(), stdout=subprocess.PIPE, stderr=log, timeout=seconds, check=False,
                env={**os.environ, "GGML_NO_BACKTRACE": "1", **(environment or {})},
                start_new_session=True, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise _death(f"it took longer than {seconds:.0f} seconds") from error
        if done.returncode:
            raise _death(_cause(done.returncode, log))
    try:
        found = json.loads(done.stdout.splitlines()[-1])  # a driver may print something while it is loaded
    except (ValueError, IndexError) as error:
        raise _death("it answered nothing") from error
    if not isinstance(found, dict):
        raise _death("it answered nonsense")
    if "error" in found:
        raise LocalchatError(found["error"], found["hint"])
    return found


def answer(reply: Callable[[dict[str, Any]], dict[str, Any]], limits: Limits | None = None) -> None:
    """The child's side: read the question, answer it once."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if limits is not None:
        _limit(limits)
    try:
        found = reply(json.load(sys.stdin.buffer))
    except LocalchatError as error:
        found = {"error": str(error), "hint": error.hint}
    with out:
        out.write(json.dumps(found).encode())


def signal_name(number: int) -> str:
    """What a signal is called, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


def _limit(limits: Limits) -> None:
    """A limit that the system does not know, or that is lower already, is left as it is."""
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
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    lines = log.read().decode("utf-8", "replace").splitlines()
    return one_line(lines[-1], 160) if code == EXCEPTION_CODE and lines else f"it ended with code {code}"


def _death(cause: str) -> ChildDied:
    return ChildDied(cause, "report this with the name of the model")
