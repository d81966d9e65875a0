"""From the Hub to a model file in one pass: weights are quantized as they arrive and are never on the disk.

What is done is kept in a journal beside the unfinished file, so that after a cut, a kill or a full disk the same pull
goes on. Nothing of it is believed: what was written is hashed and compared before it counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from localchat import __version__
from localchat.convert.layout import Layout
from localchat.convert.output import Output
from localchat.convert.proof.kept import KeptRows
from localchat.convert.small_files import small_files
from localchat.convert.steps import Step, steps
from localchat.convert.write import BLOCK_WEIGHTS, Finished, Made, digest_of, make
from localchat.files import disk_error
from localchat.pull.arriving import Arriving, Shard, WrongFile
from localchat.pull.events import Progress
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.journal import Entry, Journal, Mark
from localchat.pull.ranges import stream
from localchat.pull.segments import PIECE_BYTES, peak_bytes
from localchat.pull.unfinished import Unfinished

WINDOW_BYTES, WINDOW_LIMIT_BYTES = 512 << 20, 1 << 30
WRONG_LIMIT = 2  # times that a file may arrive damaged

Remote = Sequence[tuple[Path, Repo, RemoteFile]]
"""Stand-ins of files, and where the real ones are."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A conversion whose weights arrive."""

    plan: Layout
    steps: tuple[Step, ...]
    remote: Remote
    window_bytes: int

    @property
    def total_bytes(self) -> int:
        """Of all that arrives."""
        return sum(file.bytes for _, _, file in self.remote)

    @property
    def here(self) -> list[Path]:
        """Files on this disk that take part."""
        away = {path for path, _, _ in self.remote}
        used = {ref.file for step in self.steps for ref in step.refs}
        return [path for path in self.plan.inputs if path in used - away]

    @property
    def identity(self) -> str:
        """The sha256 of all that decides which bytes come out, and in which order."""
        found = hashlib.sha256(self.plan.header)
        for step in self.steps:
            found.update(repr((step.tensor.target.name, step.first, step.last)).encode())
            found.update(repr([(ref.file.name, ref.start, ref.end) for ref in step.refs]).encode())
        found.update(repr([(path.name, file.sha256) for path, _, file in self.remote]).encode())
        for tensor in self.plan.tensors:
            found.update(b"" if tensor.importance is None else tensor.importance.tobytes())
        for adapter in self.here:
            for path in (adapter, *small_files(adapter.parent).values()):
                with path.open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
        found.update(repr((BLOCK_WEIGHTS, __version__, version("llama-cpp-python"))).encode())
        return found.hexdigest()


class _HighWater:
    """Progress that never goes back, though a damaged file is fetched again."""

    def __init__(self, total_bytes: int) -> None:
        self._total, self._highest = total_bytes, 0

    def progress(self, item: str, done_bytes: int) -> Progress:
        self._highest = max(self._highest, done_bytes)
        return Progress("download", item, self._highest, self._total)


def stream_for(plan: Layout, remote: Remote) -> Stream | None:
    """How the model file is made of weights that arrive; None where too much of them is needed at the same time."""
    used = {ref.file for tensor in plan.tensors for ref in tensor.weights.refs}
    remote = [one for one in remote if one[0] in used]
    todo = steps(plan)
    window = peak_bytes(todo, {path: file.bytes for path, _, file in remote}) + PIECE_BYTES
    if window > WINDOW_LIMIT_BYTES or not all(file.sha256 for _, _, file in remote):
        return None
    return Stream(plan, todo, remote, max(window, WINDOW_BYTES))


def write_arriving(way: Stream, place: Unfinished, threads: int) -> Generator[Progress, None, Finished]:
    """Make the model file at `place`. Closed, cut or killed, it goes on next time.

    Raises LocalchatError where the Hub, the network or the disk refuses, or where a file arrives damaged twice.
    """
    high, wrong = _HighWater(way.total_bytes), dict[Path, int]()
    while True:
        try:
            return (yield from _attempt(way, place, threads, high))
        except WrongFile as error:
            wrong[error.path] = wrong.get(error.path, 0) + 1
            if wrong[error.path] == WRONG_LIMIT:
                place.discard()
                raise
            _forget(way, place, error.path)
        except OSError as error:
            raise disk_error(error, place.path) from error


def _attempt(way: Stream, place: Unfinished, threads: int, high: _HighWater) -> Generator[Progress, None, Finished]:
    journal, rows = Journal(place.journal, way.identity), KeptRows(place.rows, way.steps)
    place.path.touch(mode=0o600)
    with place.path.open("r+b") as file:
        out = Output(file)
        yield from _prove_done(way, journal, out)
        if not journal.entries:
            out.write(0, way.plan.header)
        todo = way.steps[len(journal.entries) :]
        gone, shards = _split(way, todo, journal.marks())
        inputs, item = Arriving(shards, way.here, way.window_bytes), ""
        with closing(make(way.plan, todo, inputs, out, threads, is_hashed=True)) as events:
            for made in events:
                if made is not None:
                    item = made.step.tensor.target.name
                    _use_up(made, rows, inputs)
                    file.flush()  # what the journal says is there even if this process is killed
                    journal.append(Entry(made.sha256, inputs.marks()))
                inputs.advance()
                yield high.progress(item, gone + (inputs.received_bytes + inputs.released_bytes) // 2)
        return Finished(out.finish(way.plan.file_bytes), {**_known(way), **inputs.digests()})


def _use_up(made: Made, rows: KeptRows, inputs: Arriving) -> None:
    rows.keep(made.step, inputs)
    for path, up_to in made.step.releases:
        inputs.release(path, up_to)


def _prove_done(way: Stream, journal: Journal, out: Output) -> Generator[Progress]:
    """Compare what an earlier attempt left with what it says; from the first step that is not right, all is redone."""
    total, done = sum(tensor.bytes for tensor in way.plan.tensors), 0
    for number, (step, entry) in enumerate(zip(way.steps, journal.entries, strict=False)):
        if digest_of(way.plan, step, out) != entry.sha256:
            journal.cut(number)
            return
        done += step.tensor.bytes // step.tensor.target.rows * (step.last - step.first)
        yield Progress("check", step.tensor.target.name, done, total)


def _split(way: Stream, todo: Sequence[Step], marks: Mapping[str, Mark]) -> tuple[int, list[Shard]]:
    """The bytes of the files that are used up, and the files that are not."""
    gone, shards = 0, []
    for path, repo, file in way.remote:
        mark = marks.get(path.name, Mark(0, ""))
        if mark.at == file.bytes:
            gone += file.bytes
        else:
            refs = tuple(ref for step in todo for ref in step.refs if ref.file == path)
            shards.append(Shard(path, file.bytes, file.sha256 or "", partial(stream, repo, file), refs, mark))
    return gone, shards


def _known(way: Stream) -> dict[str, str]:
    """The hashes of the files that arrive: whichever was used up was found to have it."""
    return {path.name: file.sha256 or "" for path, _, file in way.remote}


def _forget(way: Stream, place: Unfinished, path: Path) -> None:
    """What was made of a damaged file, and all behind it, is not done."""
    first = next(number for number, step in enumerate(way.steps) if any(ref.file == path for ref in step.refs))
    Journal(place.journal, way.identity).cut(first)
