"""What is seen of a server from outside: what its processes take, and what it still thinks of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from bench_chaos import HELD, MIB, SETTLED
from bench_rows import Row
from soak_asking import LATE_SECONDS, Client, numbers_of


@dataclass(frozen=True, slots=True)
class Taken:
    """By a process: bytes in memory that are its own, threads, open files."""

    bytes: int
    threads: int
    files: int


def taken(process: psutil.Process) -> Taken:
    """What it has now."""
    return Taken(process.memory_info().rss, process.num_threads(), process.num_fds())


def idle(client: Client) -> float:
    """How many requests the server still thinks of when it has had time to end them all."""
    limit = time.monotonic() + LATE_SECONDS
    while True:
        client.close()  # the server ends a connection that was idle for long
        counts = numbers_of(client)
        busy = counts["replies_writing"] + counts["requests_waiting"]
        if not busy or time.monotonic() > limit:
            client.close()
            time.sleep(1)  # in which the connection is forgotten
            return busy
        time.sleep(0.2)


def kept(name: str, old: Taken, new: Taken) -> Iterator[Row]:
    """What a process has now, and what it may have."""
    most = old.bytes * SETTLED
    yield Row(f"memory of the {name}", "MiB", new.bytes / MIB, most / MIB, new.bytes / old.bytes, HELD)
    yield Row(f"threads of the {name}", "threads", new.threads, old.threads, None, HELD)
    yield Row(f"open files of the {name}", "files", new.files, old.files, None, HELD)
