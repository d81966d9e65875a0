"""Every tensor of a model file made once more from its source and compared byte for byte; nothing is written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import BinaryIO

from localchat.convert.inputs import MappedInputs
from localchat.convert.layout import Layout
from localchat.convert.steps import steps
from localchat.convert.write import make
from localchat.gguf_file import ModelFile
from localchat.library import Check
from localchat.pull.events import Progress


class _Comparing:
    """Takes what would be written, and looks whether it is there."""

    def __init__(self, file: BinaryIO, shift: int) -> None:
        self._file, self._shift = file, shift
        self._is_same = True

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._file.seek(offset + self._shift)
        self._is_same &= self._file.read(memoryview(data).nbytes) == memoryview(data).tobytes()

    def was_same(self) -> bool:
        """Was all the same since this was asked last?"""
        found, self._is_same = self._is_same, True
        return found


def check_rebuilt(plan: Layout, model: ModelFile, threads: int) -> Generator[Progress, None, Check]:
    """Make the tensors of this layout again. The words of the header may be those of an older version.

    Raises LocalchatError where the source cannot be read or has weights that cannot be used.
    """
    places = {tensor.name: (tensor.offset, tensor.type) for tensor in model.tensors}
    if places != {one.target.name: (one.offset, one.type) for one in plan.tensors}:
        return Check("rebuilt", "failed", "its tensors are not those that the source gives")
    inputs, done, different = MappedInputs(plan.inputs), 0, list[str]()
    with model.path.open("rb") as file:
        there = _Comparing(file, model.data_offset - len(plan.header))
        with closing(make(plan, steps(plan), inputs, there, threads)) as events:
            for made in events:
                if made is None:
                    continue
                if not there.was_same():
                    different.append(made.step.tensor.target.name)
                for path, up_to in made.step.releases:
                    inputs.release(path, up_to)
                done += made.step.source_bytes
                yield Progress("check", made.step.tensor.target.name, done, plan.source_bytes)
    if different:
        return Check("rebuilt", "failed", f"{different[0]} is not what the source gives, byte for byte")
    return Check("rebuilt", "passed", f"all {len(plan.tensors):,} tensors are, byte for byte, what the source gives")
