"""The Hub of tools/local_hub.py in a process of its own, so that its Python takes nothing from what is measured.

    bench_hub.py ROOT BYTES_PER_SECOND        0: as fast as it can

Prints its address, then reads commands from standard input, a line each: `cut N`, and `sent` and `cuts`, which it
answers.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from local_answers import Answer
from local_hub import LocalHub

END_SECONDS = 20.0


class HubProcess:
    """A Hub that runs as long as the block lasts, and at most so many bytes a second; `url` is its address."""

    def __init__(self, root: Path, rate: float = 0) -> None:
        command = [sys.executable, __file__, str(root), str(rate)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._process.stdin.close()
        self._process.wait(END_SECONDS)
        self._process.stdout.close()

    def cut_after(self, count: int) -> None:
        """Close the connection after so many bytes of the next file body that is longer than that."""
        self._say(f"cut {count}")

    def sent_bytes(self) -> int:
        """What was sent so far, descriptions and all."""
        self._say("sent")
        return int(self._line())

    def cuts(self) -> int:
        """How many connections were closed so."""
        self._say("cuts")
        return int(self._line())

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None, "it is a pipe"
        return self._process.stdout.readline().strip()


class _CountingHub(LocalHub):
    """Knows how much it sent, and how often it was cut."""

    sent_bytes = cuts = 0

    def body(self, given: Answer) -> Iterator[bytes]:
        for chunk in super().body(given):
            with _counting:
                self.sent_bytes += len(chunk)
            yield chunk

    def _take_cut(self, size: int) -> int | None:
        cut_bytes = super()._take_cut(size)
        self.cuts += cut_bytes is not None
        return cut_bytes


_counting = threading.Lock()


def main() -> None:
    root, rate = Path(sys.argv[1]), float(sys.argv[2])
    with _CountingHub(root, rate=rate or None) as hub:
        hub.warm()
        print(hub.url, flush=True)
        for line in sys.stdin:
            match line.split():
                case ["cut", count]:
                    hub.cut_after(int(count))
                case ["cuts"]:
                    print(hub.cuts, flush=True)
                case _:
                    print(hub.sent_bytes, flush=True)


if __name__ == "__main__":
    main()
