"""A model file is made: laid out, written beside its place, checked, and only then put there."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from localchat.convert.checkpoint import Checkpoint, read_checkpoint
from localchat.convert.imatrix import Imatrix, read_imatrix
from localchat.convert.layout import Layout, layout
from localchat.convert.model_source import requantized
from localchat.convert.proof.prove import Proof, prove
from localchat.convert.small_files import small_files
from localchat.convert.write import Finished, Written, write
from localchat.files import writing
from localchat.pull.checking import shown
from localchat.pull.decide import check_disk
from localchat.pull.events import Progress
from localchat.pull.parts import Parts
from localchat.pull.source import Making


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


def build(parts: Parts, name: str, quant: str, out: Path, threads: int, making: Making, template: str = "") -> Building:
    """Convert a checkpoint to the file `out`. Raises LocalchatError and then leaves nothing behind."""
    checkpoint = read_checkpoint(parts.folder, name, parts.base, template or None)
    result = layout(checkpoint, quant, _imatrix(making))
    finished, proof = yield from _written(checkpoint, result, out, threads)
    small = {file: _sha256(path) for file, path in small_files(parts.folder).items()}
    if parts.base is not None:
        small |= {f"base/{file}": _sha256(path) for file, path in small_files(parts.base).items()}
    return Built(finished.sha256, {**small, **finished.inputs}, result.types, checkpoint.notes, proof)


def rebuild(result: Layout, out: Path, threads: int) -> Building:
    """Write another model file anew, as `relayout` says. Raises LocalchatError and then leaves nothing behind."""
    finished, proof = yield from _written(None, result, out, threads)
    return Built(finished.sha256, finished.inputs, result.types, (), proof)


def relayout(path: Path, quant: str, making: Making) -> Layout:
    """What the model file at `path` becomes in another type. Raises LocalchatError where it should not."""
    return requantized(path, quant, _imatrix(making), allow_low_bits=making.allow_requantize)


def _imatrix(making: Making) -> Imatrix | None:
    return read_imatrix(making.imatrix) if making.imatrix else None


def _written(
    checkpoint: Checkpoint | None, result: Layout, out: Path, threads: int
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
        proof = yield from shown(prove(checkpoint, result, partial))
    assert finished is not None, "the last event of a stream says that it is finished"
    return finished, proof


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
