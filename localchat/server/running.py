"""The server of this user: its token, and how other commands find it. Needs nothing of the server's own libraries."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_bytes, read_json, write_text
from localchat.paths import home, logs_folder, private_folder

TOKEN_BYTES, TOKEN_LIMIT_BYTES = 32, 4096
TOKEN_LEAST_CHARACTERS = 16
STOP_SECONDS, LOOK_SECONDS = 15.0, 0.1
SAME_SECONDS = 2.0  # the start of a process is not told to the same digit by everybody
TYPES = {"pid": int, "started": float, "host": str, "port": int, "has_own_token": bool}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs."""

    pid: int
    started: float
    """When its process began, in seconds of the epoch: a process id may be given to another one later."""
    host: str
    port: int
    has_own_token: bool
    """Does it ask for the token of this user?"""

    @property
    def url(self) -> str:
        """Where its API begins."""
        return address(self.host, self.port)


def address(host: str, port: int) -> str:
    """The address of a server that listens there, as one on this machine asks it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{name}]:{port}/v1" if ":" in name else f"http://{name}:{port}/v1"


def token_file() -> Path:
    """The token of this user, made at the first start."""
    return private_folder(home()) / "server.token"


def log_file() -> Path:
    """What a server in the background has to say."""
    return logs_folder() / "server.log"


def own_token() -> str:
    """The token of this user's server, which is made where there is none. Raises LocalchatError."""
    path = token_file()
    if not path.exists():  # two that begin at the same moment must not read the file before it is written
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not path.exists():
                write_text(path, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n")
    text = read_bytes(path, TOKEN_LIMIT_BYTES).decode("ascii", "replace").strip()
    return strong(text, f"delete {path}, and a new one is made")


def strong(token: str, hint: str) -> str:
    """The token, if it can be one. Raises LocalchatError."""
    if len(token) < TOKEN_LEAST_CHARACTERS or not all("!" <= character <= "~" for character in token):
        raise LocalchatError(f"the token is not one of {TOKEN_LEAST_CHARACTERS} or more plain characters", hint)
    return token


@contextmanager
def alone() -> Iterator[None]:
    """Be the only server of this home meanwhile. Raises LocalchatError where another is.

    The system lets go of the lock when the process ends, however it does.
    """
    lock = FileLock(private_folder(home()) / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise runs_already(find()) from error
    try:
        yield
    finally:
        lock.release()


def runs_already(other: Running | None) -> LocalchatError:
    """Why there can be no second one; the other may not have said yet where it is."""
    return LocalchatError(f"a server runs already{f': {other.url}' if other else ''}", "end it with: localchat stop")


def record(host: str, port: int, *, has_own_token: bool) -> Running:
    """Say to other commands that this process is the server."""
    running = Running(os.getpid(), psutil.Process().create_time(), host, port, has_own_token)
    write_text(_state_file(), json.dumps(asdict(running)) + "\n")
    return running


def forget() -> None:
    """This process is the server no more, if it was."""
    found = find()
    if found and found.pid == os.getpid():
        _state_file().unlink(missing_ok=True)


def find() -> Running | None:
    """The server that runs, if one does; what a server left that was killed does not count."""
    found = _recorded()
    return found if found and _is_same(found) else None


def _recorded() -> Running | None:
    path = _state_file()
    try:
        fields = read_json(path) if path.is_file() else {}
    except BadFile:
        return None
    if not all(type(fields.get(name)) is kind for name, kind in TYPES.items()):
        return None
    return Running(**{name: fields[name] for name in TYPES})


def stop(running: Running, seconds: float = STOP_SECONDS) -> None:
    """End the server, and wait for it. Raises LocalchatError where it does not end."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(running.pid).terminate()
    limit = time.monotonic() + seconds
    while _is_same(running):
        if time.monotonic() > limit:
            raise LocalchatError("the server does not end", f"end the process {running.pid} yourself")
        time.sleep(LOOK_SECONDS)
    if _recorded() == running:  # else another has begun meanwhile
        _state_file().unlink(missing_ok=True)


def token_for(url: str) -> str:
    """The token of this user's server, if it is what runs at this address; else nothing."""
    running = find()
    is_own = (
        running is not None and running.has_own_token and url.rstrip("/").removesuffix("/v1") in _addresses(running)
    )
    return own_token() if is_own else ""


def _addresses(running: Running) -> list[str]:
    names = ("127.0.0.1", "localhost", "[::1]", running.host)
    return [f"http://{name}:{running.port}" for name in names]


def _is_same(running: Running) -> bool:
    try:
        process = psutil.Process(running.pid)
        is_it = abs(process.create_time() - running.started) < SAME_SECONDS
        return is_it and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _state_file() -> Path:
    return private_folder(home()) / "server.json"
