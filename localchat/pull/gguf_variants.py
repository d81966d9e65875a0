"""The model files that a repository offers: each in its type, the parts of one together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localchat.pull.gguf_names import NO_MODEL, PART, is_gguf, model_in, type_in
from localchat.pull.gguf_parts import PARTS_LIMIT
from localchat.pull.hub import RemoteFile, Repo


@dataclass(frozen=True, slots=True)
class Variant:
    """A model file of a repository, or the parts of one."""

    files: tuple[RemoteFile, ...]
    type: str
    """What its name says, such as `Q4_K_M`; empty where it says nothing."""
    model: str
    """Its name without type, number and ending: the same for all types of one model."""

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(file.bytes for file in self.files)

    @property
    def name(self) -> str:
        """The name of its first file."""
        return self.files[0].name


def variants_of(repo: Repo) -> list[Variant]:
    """The model files of a repository, the largest first. A model that lacks parts is left out."""
    single, parts = [], dict[tuple[str, int], dict[int, RemoteFile]]()
    for name, file in repo.files.items():
        if not is_gguf(name) or NO_MODEL.search(name) or file.sha256 is None or not file.bytes:
            continue
        if (match := PART.fullmatch(name)) is None:
            single.append(_variant((file,), name))
        else:
            parts.setdefault((match["start"], int(match["of"])), {})[int(match["number"])] = file
    joined = [
        _variant(tuple(found[number] for number in sorted(found)), f"{start}.gguf")
        for (start, count), found in parts.items()
        if sorted(found) == list(range(1, min(count, PARTS_LIMIT) + 1))
    ]
    return sorted([*single, *joined], key=lambda variant: (-variant.bytes, variant.name))


def of_one_model(variants: Iterable[Variant], title: str) -> list[Variant]:
    """Those of the model that most files are of; of several such, of the one that the repository is named by."""
    groups: dict[str, list[Variant]] = {}
    for variant in variants:
        groups.setdefault(variant.model, []).append(variant)
    return max(groups.values(), key=lambda group: (len(group), _likeness(group[0].model, title)), default=[])


def _variant(files: tuple[RemoteFile, ...], name: str) -> Variant:
    return Variant(files, type_in(name), model_in(name).lower())


def _likeness(model: str, title: str) -> int:
    """How many signs at their beginning are the same."""
    pairs = zip(model.lower(), title.lower(), strict=False)
    return next((count for count, (left, right) in enumerate(pairs) if left != right), min(len(model), len(title)))
