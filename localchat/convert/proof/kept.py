"""Rows of a source that goes by: those that the proof will ask for are put aside as they pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localchat.convert.inputs import Inputs
from localchat.convert.layout import TensorPlan
from localchat.convert.proof.rows import sampled
from localchat.convert.steps import Step
from localchat.convert.weights import Rows
from localchat.errors import BadFile
from localchat.llama.quantize import Floats

WIDTH = 4  # bytes of a float32


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the rows of a step lie in the file."""

    rows: Rows
    offset: int


class KeptRows:
    """A file with the sampled rows of all steps, as float32; each has its place from the beginning."""

    def __init__(self, path: Path, steps: Sequence[Step]) -> None:
        self._path = path
        self._places: dict[str, dict[int, _Place]] = {}
        offset = 0
        for step in steps:
            place = _Place(_rows(step), offset)
            self._places.setdefault(step.tensor.target.name, {})[step.first] = place
            offset += len(place.rows) * step.tensor.target.columns * WIDTH

    def keep(self, step: Step, inputs: Inputs) -> None:
        """Put the rows of a step aside while its weights are there. Raises OSError where the disk is full."""
        place = self._places[step.tensor.target.name][step.first]
        if not len(place.rows):
            return
        with self._path.open("r+b" if self._path.exists() else "w+b") as file:
            file.seek(place.offset)
            file.write(np.ascontiguousarray(step.tensor.weights.read(inputs, place.rows), np.float32).data)

    def rows(self, plan: TensorPlan, rows: Rows) -> Floats:
        """Rows of a tensor, all of them among those that were sampled. Raises BadFile where some are not there."""
        columns, found = plan.target.columns, np.empty((len(rows), plan.target.columns), np.float32)
        offsets = {
            int(row): place.offset + number * columns * WIDTH
            for place in self._places[plan.target.name].values()
            for number, row in enumerate(place.rows)
        }
        with self._path.open("rb") as file:
            for number, row in enumerate(rows):
                file.seek(offsets[int(row)])
                data = file.read(columns * WIDTH)
                if len(data) != columns * WIDTH:
                    raise BadFile(f"{self._path.name} is cut short", "run the same command again")
                found[number] = np.frombuffer(data, np.float32)
        return found


def _rows(step: Step) -> Rows:
    target = step.tensor.target
    all_rows = sampled(target.name, target.rows // target.matrix_rows, target.matrix_rows)
    return all_rows[(all_rows >= step.first) & (all_rows < step.last)]
