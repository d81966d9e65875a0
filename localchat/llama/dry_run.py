"""What memory llama.cpp would take for a model, asked of llama.cpp itself without taking it.

`python -m localchat.llama.dry_run` is the child process that does it. It loads the header of a model file, whose
weights may be a hole, and makes contexts with `no_alloc`: the graph is laid out for real and nothing is allocated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from localchat.child import answer, ask
from localchat.llama.placement import Placement, placement_of

TIMEOUT_SECONDS = 120  # a cold GPU driver takes tens of seconds; each case milliseconds


@dataclass(frozen=True, slots=True)
class Work:
    """What one placement takes besides weights and KV cache."""

    devices_bytes: Mapping[str, int]
    """Work buffers on each device of the placement."""
    host_bytes: int
    """The same in main memory, and the logits."""
    copies_weights: bool
    """Would the CPU keep its weights in an order of its own, beside the mapped file?"""


@dataclass(frozen=True, slots=True)
class Case:
    """A model file, whole or a header alone, and a way to load it."""

    path: Path
    placement: Placement


def dry_run(cases: Sequence[Case]) -> list[Work]:
    """What each case would take; quickest where cases of one file and one spread of layers follow each other.

    Raises LocalchatError where llama.cpp refuses one of the models, ChildDied where it crashes over one.
    """
    question = [{"path": str(case.path), "placement": asdict(case.placement)} for case in cases]
    found = ask("localchat.llama.dry_run", {"cases": question}, TIMEOUT_SECONDS)
    return [Work(**fields) for fields in found["works"]]


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    from localchat.llama.model import start

    cases = [Case(Path(case["path"]), placement_of(case["placement"])) for case in question["cases"]]
    start(sorted({address for case in cases for address in case.placement.rpc}))
    return {"works": [asdict(work) for _, same in groupby(cases, key=_model_of) for work in _works(list(same))]}


def _model_of(case: Case) -> tuple[object, ...]:
    """What a model in memory depends on, as opposed to its contexts."""
    return case.path, case.placement.shares, case.placement.experts_on_host


def _works(cases: Sequence[Case]) -> Iterator[Work]:
    """Contexts of one model in memory."""
    from localchat.llama.context import Context
    from localchat.llama.log import LOG
    from localchat.llama.model import Model

    LOG.forget()
    first = cases[0]
    model = Model(first.path, first.placement, part="shape")
    copies_weights = LOG.are_weights_copied
    for case in cases:
        LOG.forget()
        Context(model, case.placement).close()
        *devices, host = LOG.buffers(first.placement.devices)
        yield Work({device.device: device.compute_bytes for device in devices}, host.compute_bytes, copies_weights)
    model.close()


if __name__ == "__main__":
    answer(_reply)
