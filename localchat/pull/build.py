"""A model file is made: laid out, written beside its place, checked, and only then put there."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from localchat.catalog import Entry
from localchat.convert.checkpoint import Checkpoint, read_checkpoint
from localchat.convert.imatrix import Imatrix, read_imatrix
from localchat.convert.layout import Layout, layout
from localchat.convert.model_source import requantized
from localchat.convert.proof.kept import KeptRows
from localchat.convert.proof.prove import Proof, prove
from localchat.convert.small_files import small_files
from localchat.convert.write import Finished, Written, write
from localchat.errors import BadFile
from localchat.files import check_ordinary, disk_error, put_in_place, writing
from localchat.pull.checking import shown
from localchat.pull.decide import check_disk
from localchat.pull.disagreements import disagreements
from localchat.pull.events import Progress
from localchat.pull.outline import outlined
from localchat.pull.parts import Parts
from localchat.pull.source import Making
from localchat.pull.streaming import Stream, stream_for, write_arriving
from localchat.pull.unfinished import Unfinished, alone, unfinished


@dataclass(frozen=True, slots=True)
class Built:
    """What a new model file is and what it was made from."""

    sha256: str
    inputs: Mapping[str, str]
    """sha256 of every file that was read, by its name."""
    types: Mapping[str, str]
    """Type of each tensor."""
    notes: tuple[str, ...]
    """What was repaired or left out on the way, a sentence each."""
    proof: Proof
    """What was checked before the file got its name."""


Building = Generator[Progress, None, Built]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The model file that a checkpoint is to become."""

    name: str
    """What the model is called in its metadata."""
    quant: str
    out: Path
    threads: int
    making: Making
    entry: Entry | None = None
    """What the catalog knows: its template serves checkpoints that have none of their own."""

    @property
    def template(self) -> str | None:
        """The catalog's template."""
        return self.entry.template or None if self.entry else None


def build(parts: Parts, wanted: Wanted, workshop: Path) -> Building:
    """Make the model file of a checkpoint: while its weights arrive, where that is possible, else of files here.

    What is unfinished of the former lies in the folder `workshop`, on the same disk as the file, and the next attempt
    goes on with it. Raises LocalchatError.
    """
    if parts.can_arrive and (built := (yield from _arriving(parts, wanted, workshop))) is not None:
        return built
    yield from parts.download()
    return (yield from _from_files(parts, wanted))


def _from_files(parts: Parts, wanted: Wanted) -> Building:
    checkpoint = read_checkpoint(parts.folder, wanted.name, parts.base, wanted.template)
    result = layout(checkpoint, wanted.quant, _imatrix(wanted.making))
    finished, proof = yield from _written(checkpoint, result, wanted.out, wanted.threads, parts)
    return _built(parts, wanted, checkpoint, result, finished, proof)


def _arriving(parts: Parts, wanted: Wanted, workshop: Path) -> Generator[Progress, None, Built | None]:
    """None where too much of the checkpoint is needed at the same time."""
    check_ordinary(wanted.out)
    yield from parts.download_adapters()
    with outlined(parts) as outline:
        checkpoint = read_checkpoint(outline.folder, wanted.name, outline.base, wanted.template)
        result = layout(checkpoint, wanted.quant, _imatrix(wanted.making))
        way = stream_for(result, outline.remote)
        if way is None:
            check_disk(wanted.out.parent, parts.missing_bytes() + result.file_bytes)
            return None
        place = unfinished(workshop, wanted.out.name)
        check_disk(workshop, result.file_bytes - place.disk_bytes)
        with alone(place):
            finished = yield from write_arriving(way, place, wanted.threads)
            proof = yield from _proved(checkpoint, way, place)
            _put(place, wanted.out)
    return _built(parts, wanted, checkpoint, result, finished, proof)


def _put(place: Unfinished, out: Path) -> None:
    try:
        put_in_place(place.path, out)
    except OSError as error:
        raise disk_error(error, out) from error
    place.discard()


def _proved(checkpoint: Checkpoint, way: Stream, place: Unfinished) -> Generator[Progress, None, Proof]:
    try:
        return (yield from shown(prove(checkpoint, way.plan, place.path, KeptRows(place.rows, way.steps))))
    except BadFile:
        place.discard()  # to go on with it would end here again
        raise


def _built(
    parts: Parts, wanted: Wanted, checkpoint: Checkpoint, result: Layout, finished: Finished, proof: Proof
) -> Built:
    small = {file: _sha256(path) for file, path in small_files(parts.folder).items()}
    if parts.base is not None:
        small |= {f"base/{file}": _sha256(path) for file, path in small_files(parts.base).items()}
    known = disagreements(wanted.entry, checkpoint) if wanted.entry else ()
    inputs, notes = {**small, **finished.inputs}, (*checkpoint.notes, *known)
    return Built(finished.sha256, inputs, result.types, notes, proof)


def rebuild(result: Layout, out: Path, threads: int) -> Building:
    """Write another model file anew, as `relayout` says. Raises LocalchatError and then leaves nothing behind."""
    finished, proof = yield from _written(None, result, out, threads, None)
    return Built(finished.sha256, finished.inputs, result.types, (), proof)


def relayout(path: Path, quant: str, making: Making) -> Layout:
    """What the model file at `path` becomes in another type. Raises LocalchatError where it should not."""
    return requantized(path, quant, _imatrix(making), allow_low_bits=making.allow_requantize)


def _imatrix(making: Making) -> Imatrix | None:
    return read_imatrix(making.imatrix) if making.imatrix else None


def _written(
    checkpoint: Checkpoint | None, result: Layout, out: Path, threads: int, parts: Parts | None
) -> Generator[Progress, None, tuple[Finished, Proof]]:
    """Write the file and prove it right, and only then let it have its name."""
    check_disk(out.parent, result.file_bytes)
    finished: Finished | None = None
    with writing(out) as partial:
        with closing(write(result, partial, threads)) as events:
            for event in events:
                match event:
                    case Written(tensor, done_bytes, total_bytes):
                        yield Progress("convert", tensor, done_bytes, total_bytes)
                    case Finished():
                        finished = event
        assert finished is not None, "the last event of a stream says that it is finished"
        if parts is not None:
            parts.check(finished.inputs)
        proof = yield from shown(prove(checkpoint, result, partial))
    return finished, proof


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
