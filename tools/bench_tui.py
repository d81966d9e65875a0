"""The terminal app in a real terminal: how soon it is there, what streaming costs, how late keys are, what it keeps."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from bench_rows import Row

BAR = ("measured", "at most")
COLUMNS, LINES = 120, 40
FIRST_SIGN = 0x100
"""Letters from here on are typed, each once: what is painted otherwise has none of them."""
WARM_SECONDS, STREAM_SECONDS, KEY_SECONDS = 4.0, 15.0, 0.1
KEYS = 200
AGAIN_SECONDS, PATIENCE_SECONDS = 0.01, 30.0
BEGUN = "beginning of the answer"
CHILD = str(Path(__file__).with_name("scripted_app.py"))
LOCALCHAT = [sys.executable, "-m", "localchat"]
MIB = 1 << 20


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, command: Sequence[str], home: str) -> None:
        self._output, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        tty.setraw(inner)  # what is typed before the program reads is not echoed
        environment = os.environ | {"LOCALCHAT_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True
        )
        os.close(inner)
        self.process = psutil.Process(self._process.pid)
        self._seen = b""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._output, text.encode())

    def read(self, seconds: float) -> bytes:
        """What is painted within a time, or as soon as there is something."""
        ready, _, _ = select.select([self._output], [], [], max(0.0, seconds))
        return os.read(self._output, 1 << 16) if ready else b""

    def seconds_until(self, text: str, since: float) -> float:
        """How long after a moment this is painted. Exits where it never is."""
        sought, limit = text.encode(), time.monotonic() + PATIENCE_SECONDS
        while sought not in self._seen:
            painted = self.read(limit - time.monotonic())
            if not painted or time.monotonic() > limit:
                sys.exit(f"{text!r} was never painted; the end of what was: {self._seen[-300:]!r}")
            self._seen = (self._seen + painted)[-(1 << 18) :]
        self._seen = b""
        return time.monotonic() - since

    def wake(self) -> None:
        """Press a key again and again until it is on the screen."""
        sign, painted = chr(FIRST_SIGN), b""
        while sign.encode() not in painted:
            self.type(sign)
            painted = painted[-1:] + self.read(AGAIN_SECONDS)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._output)


def tui_rows(runs: int) -> Iterator[Row]:
    """All that the terminal app must show."""
    yield _row("localchat --help", "ms", 1000 * statistics.median(_help_seconds() for _ in range(runs)), 300)
    first = statistics.median(_first_screen() for _ in range(runs))
    yield _row("first screen that takes a key", "ms", 1000 * first, 800)
    yield from _stream_rows()
    yield _row("open 1,000 messages", "ms", 1000 * _told("open"), 1000)
    sizes = dict(_told("many"))
    yield _row("memory: 10,000 messages beyond 1,000", "MiB", (sizes[10_000] - sizes[1000]) / MIB)


def _row(test: str, unit: str, measured: float, bar: float | None = None) -> Row:
    """The ratio is above 1 where it is better than it must be."""
    return Row(test, unit, measured, bar, bar / measured if bar else None, BAR)


def _help_seconds() -> float:
    began = time.monotonic()
    subprocess.run([*LOCALCHAT, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def _first_screen() -> float:
    """From the start of the process until a key is on the screen that was pressed again and again."""
    with tempfile.TemporaryDirectory() as home:
        _scripted("install", home)
        began = time.monotonic()
        with Terminal(LOCALCHAT, home) as terminal:
            terminal.wake()
            return time.monotonic() - began


def _stream_rows() -> Iterator[Row]:
    """A reply grows at 100 tokens a second behind 200 messages; first nobody types, and then somebody does."""
    lags = []
    with tempfile.TemporaryDirectory() as home, Terminal([sys.executable, CHILD, "talk"], home) as terminal:
        terminal.wake()
        terminal.type("\r")
        terminal.seconds_until(BEGUN, time.monotonic())
        _read_for(terminal, WARM_SECONDS)
        used, began = sum(terminal.process.cpu_times()[:2]), time.monotonic()
        _read_for(terminal, STREAM_SECONDS)
        share = (sum(terminal.process.cpu_times()[:2]) - used) / (time.monotonic() - began)
        for number in range(KEYS):
            sign, pressed = chr(FIRST_SIGN + 1 + number), time.monotonic()
            terminal.type(sign)
            lags.append(terminal.seconds_until(sign, pressed))
            _read_for(terminal, pressed + KEY_SECONDS - time.monotonic())
    lags.sort()
    yield _row("streaming 100 tokens/s behind 200 messages", "% CPU", 100 * share, 30.0)
    yield _row("  a key until it is painted, median", "ms", 1000 * statistics.median(lags))
    yield _row("  a key until it is painted, p99", "ms", 1000 * lags[int(0.99 * (len(lags) - 1))], 100.0)


def _read_for(terminal: Terminal, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        terminal.read(left)


def _told(what: str) -> Any:
    """What the scripted app prints of this."""
    with tempfile.TemporaryDirectory() as home:
        return json.loads(_scripted(what, home))


def _scripted(what: str, home: str) -> str:
    environment = os.environ | {"LOCALCHAT_HOME": home}
    command = [sys.executable, CHILD, what]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
