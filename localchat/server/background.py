"""A server that goes on without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from localchat.errors import LocalchatError
from localchat.server.running import Running, find, log_file
from localchat.text import one_line

START_SECONDS, LOOK_SECONDS = 60.0, 0.1
LOG_LIMIT_BYTES, TAIL_BYTES = 1 << 20, 2000
TOKEN_VARIABLE = "LOCALCHAT_SERVER_TOKEN"


def start(arguments: Sequence[str], token: str) -> Running:
    """Run `localchat serve` with these arguments; it has its own token where none is given here.

    Raises LocalchatError with the last thing that it said where it does not begin to serve.
    """
    log = log_file()
    with suppress(OSError):
        if log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".old.log"))
    environment = {key: value for key, value in os.environ.items() if key != TOKEN_VARIABLE}
    if token:
        environment[TOKEN_VARIABLE] = token
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "localchat", "serve", *arguments],
            stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, env=environment, start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    finally:
        os.close(descriptor)
    return _begun(process)


def _begun(process: subprocess.Popen[bytes]) -> Running:
    limit = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < limit:
        running = find()
        if running is not None and running.pid == process.pid:
            return running
        time.sleep(LOOK_SECONDS)
    process.terminate()
    raise LocalchatError(f"the server did not start: {_last_words()}", f"its log is {log_file()}")


def _last_words() -> str:
    with suppress(OSError), log_file().open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return one_line(lines[-2] if len(lines) > 1 else lines[-1]) if lines else "it said nothing"
    return "it said nothing"
