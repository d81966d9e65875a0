"""Work buffers of a model in every way that a plan may consider: from what was asked before, else from a dry run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json, write_text
from localchat.llama.dry_run import Case, Work, dry_run
from localchat.llama.placement import Placement, Share
from localchat.paths import measured_folder
from localchat.plan.layout import BATCH, Spread, WorkKey, Works
from localchat.plan.shape import Candidate, Shape

KEPT = 2000
LEAST_LAYERS = 3  # the output, the last layer, which computes the last token alone, and one that computes all of them
PIPELINE_COPIES = 2  # on several devices llama.cpp keeps inputs of batches that overlap; twice is the most seen

_known: dict[str, Work] = {}
_lock = Lock()

HeaderOf = Callable[[str], AbstractContextManager[Path]]
"""Gives the path of a model file, or of its header alone, in this type."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What the dry runs run on."""

    names: tuple[str, ...]
    are_here: bool = True
    """Else the devices are of another machine, and the CPU here stands in for each."""
    rpc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that a plan is wanted for."""

    shape: Shape
    candidates: tuple[Candidate, ...]
    """The types it could have, the best first."""
    header_of: HeaderOf


def find_works(subjects: Sequence[Subject], keys: Sequence[Sequence[WorkKey]], devices: Devices) -> list[Works]:
    """The dry runs of all these keys of each subject, in one child process at most.

    Raises LocalchatError where llama.cpp cannot load such a model.
    """
    asked = [[key if devices.are_here else _stand_in(key) for key in group] for group in keys]
    build = version("llama-cpp-python")
    names = [
        [_name(build, subject, key, devices) for key in group] for subject, group in zip(subjects, asked, strict=True)
    ]
    with _lock:
        _remember()
        missing = {
            name: (subject, key)
            for subject, group, named in zip(subjects, asked, names, strict=True)
            for key, name in zip(group, named, strict=True)
            if name not in _known
        }
        if missing:
            _known.update(zip(missing, _dry_runs(list(missing.values()), devices), strict=True))
            _store()
    return [
        {key: _seen_from(key, _known[name], devices) for key, name in zip(group, named, strict=True)}
        for group, named in zip(keys, names, strict=True)
    ]


def _dry_runs(asked: Sequence[tuple[Subject, WorkKey]], devices: Devices) -> list[Work]:
    with ExitStack() as files:
        paths: dict[tuple[int, str], Path] = {}
        cases = []
        for subject, key in asked:
            name = (id(subject), key[0])
            if name not in paths:
                paths[name] = files.enter_context(subject.header_of(key[0]))
            cases.append(Case(paths[name], _placement(subject.shape, key, devices)))
        try:
            return dry_run(cases)
        except LocalchatError as error:
            message = f"llama.cpp cannot lay out a model of this shape: {error}"
            raise LocalchatError(message, "check the installation: localchat doctor") from error


def _placement(shape: Shape, key: WorkKey, devices: Devices) -> Placement:
    """A placement of this spread; how many layers are where makes no difference to the work buffers."""
    _, spread, context, kv_type = key
    shares, experts = _shares(shape, spread, devices.names), shape.layers // 2 if spread == "experts" else 0
    return Placement(context, 1, BATCH, kv_type, shares, max(1, experts) if spread == "experts" else 0, rpc=devices.rpc)


def _shares(shape: Shape, spread: Spread, names: Sequence[str]) -> tuple[Share, ...]:
    whole = shape.layers + 1
    some = min(whole - 1, max(LEAST_LAYERS, whole // 2))
    layers = {"host": 0, "one": whole, "all": whole, "experts": whole, "split": some}[spread]
    used = names[:1] if spread == "one" else names
    each = [layers * (number + 1) // len(used) - layers * number // len(used) for number in range(len(used))]
    return tuple(Share(name, count) for name, count in zip(used, each, strict=True) if count)


def _stand_in(key: WorkKey) -> WorkKey:
    quant, _, context, kv_type = key
    return quant, "host", context, kv_type


def _seen_from(key: WorkKey, work: Work, devices: Devices) -> Work:
    """The work buffers of a foreign machine: each of its devices takes what the CPU here would."""
    if devices.are_here or key[1] == "host":
        return work
    count = work.host_bytes * (PIPELINE_COPIES if key[1] == "all" else 1)
    return Work(dict.fromkeys(devices.names, count), work.host_bytes, work.copies_weights)


def _name(build: str, subject: Subject, key: WorkKey, devices: Devices) -> str:
    on = "" if key[1] == "host" else ",".join(devices.names)
    weights = next(one.weights_bytes for one in subject.candidates if one.quant == key[0])
    parts = [build, subject.shape.identity, str(weights), *map(str, key), str(BATCH), on]
    return "|".join(parts)


def _file() -> Path:
    return measured_folder() / "work.json"


def _remember() -> None:
    """Read what earlier processes asked; what cannot be understood is asked again."""
    with suppress(BadFile, TypeError):
        _known.update({name: _work(fields) for name, fields in read_json(_file()).items() if name not in _known})


def _work(fields: Mapping[str, object]) -> Work:
    """Raises TypeError where these are not the fields of one."""
    work = Work(**fields)  # type: ignore[arg-type]
    if not isinstance(work.devices_bytes, dict):
        raise TypeError("a dry run has devices")
    counts = [work.host_bytes, *work.devices_bytes.values()]
    if not all(type(count) is int and count >= 0 for count in counts) or type(work.copies_weights) is not bool:
        raise TypeError("a dry run has counts")
    return work


def _store() -> None:
    newest = list(_known.items())[-KEPT:]
    with suppress(LocalchatError):  # only a convenience is lost
        write_text(_file(), json.dumps({name: asdict(work) for name, work in newest}) + "\n")
