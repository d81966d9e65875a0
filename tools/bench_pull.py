"""A pull from a Hub that sends no faster than it is told to: its time, its room, and what kills and cuts do to it.

The Hub and the pull are processes of their own, and the library of the pull is a folder that nothing else is in.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bench_hub import HubProcess
from bench_rows import Row

REPO, NAME = "bench/model", "model"
QUANT = "Q4_K_M"
SAMPLE_SECONDS = 0.05
SAMPLE_OF_DOWNLOAD_SECONDS = 15.0
MEMORY = ("RssAnon", "RssShmem", "VmRSS")
SMALL_BYTES, MIB = 64 << 20, 1 << 20
PIECES = 24
"""Of a small checkpoint: in as many parts it is asked for."""
TIMES = 50
SEED = 7
LONGER = ("pull", "longer")
HELD = ("found", "wanted")
PULLER = Path(__file__).with_name("bench_puller.py")

Harm = Callable[[Path], None]
Puller = AbstractContextManager[subprocess.Popen[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured; None is found out."""

    runs: int
    rate: float | None
    quantize_seconds: float | None
    kills: int | None
    cuts: int | None


@dataclass(slots=True)
class Watched:
    """What a pull took."""

    seconds: float = 0.0
    extra_disk_bytes: int = 0
    """On the disk beside the result, at most."""
    own_memory_bytes: int = 0
    """Without pages of mapped files, at most."""
    memory_bytes: int = 0
    done: list[tuple[float, str, int]] = field(default_factory=list)
    """When what was said: a stage, and the bytes of it."""

    @property
    def backward_steps(self) -> int:
        """How often the progress of a stage went back."""
        return sum(one[1] == other[1] and other[2] < one[2] for one, other in pairwise(self.done))


def pull_rows(checkpoint: Path, asked: Asked) -> Iterator[Row]:
    """Numbers of the pull of a checkpoint, which a Hub on this machine publishes."""
    total_bytes = sum(path.stat().st_size for path in checkpoint.iterdir())
    is_small = total_bytes < SMALL_BYTES
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _publish(checkpoint, place / "hub")
        quantize = asked.quantize_seconds or _median(_quantize(checkpoint, place) for _ in range(asked.runs))
        rate = asked.rate or total_bytes / quantize
        yield Row(f"quantize alone, {total_bytes / MIB:,.0f} MiB", "s", quantize)
        with HubProcess(place / "hub", rate) as hub:
            yield from _time_rows(hub, place, total_bytes, quantize, asked.runs)
        default = TIMES if is_small else 0
        piece_bytes = max(1, total_bytes // PIECES) if is_small else 0
        kills = default if asked.kills is None else asked.kills
        cuts = default if asked.cuts is None else asked.cuts
        if not (kills or cuts):
            return
        with HubProcess(place / "hub", rate) as hub:
            yield from _Harm(hub, place, piece_bytes, total_bytes).rows(kills, cuts)


def _time_rows(hub: HubProcess, place: Path, total_bytes: int, quantize: float, runs: int) -> Iterator[Row]:
    download = total_bytes / _download_rate(hub, place)
    yield Row(f"download alone, {total_bytes / download / 1e6:.1f} MB/s", "s", download)
    pulls = [_pulled(hub, place) for _ in range(runs)]
    seconds, longer = _median(one.seconds for one in pulls), max(quantize, download)
    yield Row("pull, beside the longer of both", "s", seconds, longer, seconds / longer, LONGER)
    yield Row("most disk in use beside the result", "MiB", max(one.extra_disk_bytes for one in pulls) / MIB)
    yield Row("most memory of its own", "MiB", max(one.own_memory_bytes for one in pulls) / MIB)
    yield Row("most memory with mapped files", "MiB", max(one.memory_bytes for one in pulls) / MIB)
    yield Row("progress that went back", "times", sum(one.backward_steps for one in pulls), 0, None, HELD)


def _publish(checkpoint: Path, root: Path) -> None:
    folder = root / REPO
    folder.mkdir(parents=True)
    for path in checkpoint.iterdir():
        (folder / path.name).symlink_to(path.resolve())


def _median(found: Iterator[float]) -> float:
    return statistics.median(found)


def _quantize(checkpoint: Path, place: Path) -> float:
    """Seconds that the same takes of files on this disk."""
    out = place / "alone.gguf"
    command = [sys.executable, "-m", "localchat", "convert", str(checkpoint), str(out), "--type", QUANT]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    out.unlink()
    return seconds


def _download_rate(hub: HubProcess, place: Path) -> float:
    """Bytes a second that arrive over the connections of a pull, counted for some seconds."""
    with _home(place) as home, _puller(hub, home, "alone") as process:
        assert process.stdout is not None, "it is a pipe"
        arrived, started, now = 0, 0.0, 0.0
        for line in process.stdout:
            now = time.perf_counter()
            started, arrived = started or now, arrived + int(line.split()[1])
            if now - started > SAMPLE_OF_DOWNLOAD_SECONDS:
                process.kill()
                break
    return arrived / max(1e-9, now - started)


# One pull


@contextmanager
def _home(place: Path) -> Iterator[Path]:
    """A library with nothing in it; also where temporary files lie."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        (Path(folder) / "tmp").mkdir()
        yield Path(folder)


@contextmanager
def _puller(hub: HubProcess, home: Path, piece: str) -> Iterator[subprocess.Popen[str]]:
    places = {"LOCALCHAT_HOME": str(home), "TMPDIR": str(home / "tmp"), "HF_HOME": str(home / "hf")}
    with subprocess.Popen(
        [sys.executable, str(PULLER), REPO, QUANT, piece],
        env={**os.environ, **places, "HF_ENDPOINT": hub.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if piece == "alone" else None,
        text=True,
    ) as process:
        yield process


def _pulled(hub: HubProcess, place: Path) -> Watched:
    """A pull from its start to its end, watched all the time."""
    watched, started = Watched(), time.perf_counter()
    with _home(place) as home:
        with _puller(hub, home, "0") as process:
            watcher = threading.Thread(target=_watch, args=(process, home, watched))
            watcher.start()
            _follow(process, watched)
        watcher.join()
        if process.returncode:
            sys.exit("the pull failed")
    watched.seconds = time.perf_counter() - started
    return watched


def _follow(process: subprocess.Popen[str], watched: Watched) -> None:
    """Read what a pull says until it ends."""
    assert process.stdout is not None, "it is a pipe"
    for line in process.stdout:
        stage, count = line.split()
        watched.done.append((time.perf_counter(), stage, int(count)))


def _watch(process: subprocess.Popen[str], home: Path, watched: Watched) -> None:
    while process.poll() is None:
        watched.extra_disk_bytes = max(watched.extra_disk_bytes, _extra_bytes(home))
        memory = _memory(process.pid)
        watched.own_memory_bytes = max(watched.own_memory_bytes, memory.get("RssAnon", 0) + memory.get("RssShmem", 0))
        watched.memory_bytes = max(watched.memory_bytes, memory.get("VmRSS", 0))
        time.sleep(SAMPLE_SECONDS)


def _extra_bytes(home: Path) -> int:
    """Bytes on the disk of all but the result, finished or not."""
    found = 0
    for path in home.rglob("*"):
        with suppress(FileNotFoundError):
            is_result = path.name.endswith((".gguf", ".gguf.partial"))
            found += 0 if is_result else path.lstat().st_blocks * 512
    return found


def _memory(pid: int) -> dict[str, int]:
    """Bytes by the names of /proc; nothing once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, value in pairs if name in MEMORY}


def _result(home: Path) -> str | None:
    """The hash of the model file that was installed; None where none was."""
    for receipt in (home / "models").glob("*/receipt.json"):
        (path,) = receipt.parent.glob("*.gguf")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None


# Kills and cuts


class _Harm:
    """Pulls of a small checkpoint that are killed or cut, beside one that is not."""

    def __init__(self, hub: HubProcess, place: Path, piece_bytes: int, total_bytes: int) -> None:
        self._hub, self._place, self._piece_bytes, self._total_bytes = hub, place, piece_bytes, total_bytes
        self._chance = random.Random(SEED)
        self._backward_steps = 0
        with _home(place) as home:
            before, watched = hub.sent_bytes(), self._whole(home)
            self._expected, self._sent = _result(home), hub.sent_bytes() - before
        if self._expected is None:
            sys.exit("the pull failed")
        self._seconds = watched.done[-1][0] - watched.done[0][0]

    def rows(self, kills: int, cuts: int) -> Iterator[Row]:
        for count, name, harm in ((kills, "kills", self._kill), (cuts, "cuts", self._cut)):
            if count:
                outcomes = [self._outcome(harm) for _ in range(count)]
                yield Row(f"{name}: identical files", "files", sum(same for same, _ in outcomes), count, None, HELD)
                again = statistics.mean(sent for _, sent in outcomes) / self._total_bytes * 100
                yield Row(f"{name}: sent again, of the whole", "%", again)
        if cuts:
            yield Row("cuts that took place", "cuts", self._hub.cuts(), cuts, None, HELD)
        yield Row("harmed pulls: progress that went back", "times", self._backward_steps, 0, None, HELD)

    def _outcome(self, harm: Harm) -> tuple[bool, int]:
        """Is the file what it is without harm, and how many bytes were sent again?"""
        with _home(self._place) as home:
            before = self._hub.sent_bytes()
            harm(home)
            return _result(home) == self._expected, self._hub.sent_bytes() - before - self._sent

    def _kill(self, home: Path) -> None:
        """At any moment between the choice and the end; then the same again, in peace."""
        with self._started(home) as process:
            assert process.stdout is not None, "it is a pipe"
            process.stdout.readline()
            time.sleep(self._chance.random() * self._seconds)
            process.send_signal(signal.SIGKILL)
        if not list((home / "models").glob("*/receipt.json")):
            self._whole(home)

    def _cut(self, home: Path) -> None:
        """At any byte of a piece, at any moment."""
        with self._started(home) as process:
            assert process.stdout is not None, "it is a pipe"
            process.stdout.readline()
            timer = threading.Timer(self._chance.random() * self._seconds * 0.8, self._cut_next)
            timer.start()
            watched = Watched()
            _follow(process, watched)
            timer.cancel()
        self._backward_steps += watched.backward_steps

    def _cut_next(self) -> None:
        self._hub.cut_after(self._chance.randrange(self._piece_bytes or self._total_bytes))

    def _whole(self, home: Path) -> Watched:
        watched = Watched()
        with self._started(home) as process:
            _follow(process, watched)
        self._backward_steps += watched.backward_steps
        return watched

    def _started(self, home: Path) -> Puller:
        return _puller(self._hub, home, str(self._piece_bytes))
