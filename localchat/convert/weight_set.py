"""Which files of a checkpoint hold its weights. A repository may hold them several times over; one set is taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json
from localchat.paths import is_safe_name

Kind = Literal["safetensors", "torch", "consolidated"]
INDEX_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class _Form:
    kind: Kind
    index: str
    file: re.Pattern[str]


# In the order of preference. Safetensors cannot execute anything; consolidated files repeat what the others hold.
FORMS = (
    _Form(
        "safetensors", "model.safetensors.index.json",
        re.compile(r"model(?:[-_](?P<number>\d{5})-of-(?P<of>\d{5}))?\.safetensors"),
    ),
    _Form(
        "torch", "pytorch_model.bin.index.json",
        re.compile(r"pytorch_model(?:[-_](?P<number>\d{5})-of-(?P<of>\d{5}))?\.bin"),
    ),
    _Form(
        "consolidated", "consolidated.safetensors.index.json",
        re.compile(r"consolidated(?:[.-](?P<number>\d{2,5})(?:-of-(?P<of>\d{5}))?)?\.(?:safetensors|pth|pt)"),
    ),
)  # fmt: skip
INDEXES = tuple(form.index for form in FORMS)


@dataclass(frozen=True, slots=True)
class WeightSet:
    """One set of weights: its kind, its files, and which of them holds a tensor where the index says so."""

    kind: Kind
    files: tuple[str, ...]
    index: Mapping[str, str]


def has_weights(names: Iterable[str]) -> bool:
    """Is there a whole model's file of weights among these names, or a part of one?"""
    return any(form.file.fullmatch(name) for name in names for form in FORMS)


def choose(names: Iterable[str], indexes: Path | None) -> WeightSet:
    """The set to take of the files of these names; `indexes` is the folder with the indexes, where it is known.

    Raises LocalchatError where there are no weights, BadFile where a part is missing or an index is hostile.
    """
    present = frozenset(names)
    for form in FORMS:
        if any(form.file.fullmatch(name) for name in present):
            index = _index(indexes / form.index) if indexes is not None and form.index in present else {}
            return WeightSet(form.kind, tuple(_files(form, present, index)), index)
    raise LocalchatError(
        "there are no weights here: no model*.safetensors, pytorch_model*.bin or consolidated.*",
        "name a folder or repository with the 16-bit weights of a model",
    )


def _files(form: _Form, present: frozenset[str], index: Mapping[str, str]) -> list[str]:
    """The files of one upload: authors leave parts of an earlier one, cut into another number, beside it."""
    indexed = set(index.values()) & present
    uploads: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(present):
        if match := form.file.fullmatch(name):
            cut = "" if match["number"] is None else f"of {match['of']}"
            uploads.setdefault((cut, name.rpartition(".")[2]), []).append(name)
    chosen = [files for files in uploads.values() if indexed.intersection(files)] or list(uploads.values())
    upload = max(chosen, key=lambda files: (not _missing(form, files), files[0].endswith("safetensors"), len(files)))
    if missing := _missing(form, upload):
        name = re.sub(r"\d{5}(?=-of-)", f"{missing[0]:05}", upload[0])
        raise BadFile(f"{name}, a part of the weights, is missing", "download the checkpoint again")
    return sorted(indexed.union(upload))


def _missing(form: _Form, files: Iterable[str]) -> list[int]:
    """The numbers of the parts that an upload lacks, by what the names of its other parts say."""
    parts = [match for name in files if (match := form.file.fullmatch(name)) and match["of"]]
    return sorted(set(range(1, int(parts[0]["of"]) + 1)) - {int(part["number"]) for part in parts}) if parts else []


def _index(path: Path) -> dict[str, str]:
    weights = read_json(path, INDEX_LIMIT_BYTES).get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
        raise BadFile(f"{path.name} has no weight_map", "download the checkpoint again")
    ending = ".bin" if ".bin." in path.name else ".safetensors"
    if not all(is_safe_name(name) and name.endswith(ending) for name in set(weights.values())):
        raise BadFile(f"{path.name} names a file that is no {ending} file of this folder", "do not use it")
    return weights
