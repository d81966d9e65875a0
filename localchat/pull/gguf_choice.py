"""Which of a repository's model files suits this machine: a plan over those that there are, by their headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from localchat.convert.recipe import ALIASES
from localchat.convert.sketch import hollow
from localchat.errors import BadFile, LocalchatError
from localchat.gguf_file import ModelFile
from localchat.plan.facts import shape_of
from localchat.plan.make import Machine, make_plan
from localchat.plan.plan import Plan
from localchat.plan.rungs import GOOD, LOW
from localchat.plan.shape import candidate
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.gguf_headers import FIRST_BYTES, SPARE_BYTES, remote_header
from localchat.pull.gguf_names import is_family
from localchat.pull.gguf_parts import Joined, joined
from localchat.pull.gguf_variants import Variant
from localchat.pull.hub import Repo
from localchat.text import one_line

READ_LIMIT = 12  # headers that are read for one choice
NO_MODELS = ("clip", "adapter", "imatrix", "mmproj")
# What is taken where a repository has not the usual type: the nearest smaller that is nearly as good.
NEAREST = {
    "Q8_0": ("Q6_K_L", "UD-Q6_K_XL"),
    "Q6_K": ("UD-Q5_K_XL", "Q5_K_L"),
    "Q5_K_M": ("Q5_K_S", "Q5_1", "Q5_0", "UD-Q4_K_XL", "Q4_K_L"),
    "Q4_K_M": ("Q4_K_S", "IQ4_NL", "Q4_0", "IQ4_XS"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opened:
    """A variant whose headers were read: what it is called by, and the one file that it becomes."""

    variant: Variant
    label: str
    whole: Joined


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant to take, how it will run, and why it."""

    opened: Opened
    plan: Plan


class Reader:
    """Reads the headers of variants, each once."""

    def __init__(self, repo: Repo, folder: Path) -> None:
        self._repo, self._folder, self._first_bytes = repo, folder, FIRST_BYTES

    def all(self, variants: Sequence[Variant]) -> list[Opened]:
        """Those that are models; of two with one label, the larger."""
        found: dict[str, Opened] = {}
        for variant in variants[:READ_LIMIT]:
            parts = [self._header(variant, number) for number in range(len(variant.files))]
            if _is_model(parts[0]):
                opened = Opened(variant, _label(variant, parts), joined(parts))
                found.setdefault(opened.label, opened)
        return list(found.values())

    def _header(self, variant: Variant, number: int) -> ModelFile:
        guess = self._first_bytes if number == 0 else FIRST_BYTES // 4
        header = remote_header(self._repo, variant.files[number], self._folder, guess)
        if number == 0:
            self._first_bytes = header.data_offset + SPARE_BYTES
        return header


def choose(repo: Repo, variants: Sequence[Variant], wish: Wish, machine: Machine, folder: Path) -> Choice:
    """The best of the variants here. Headers are kept in the folder, which must outlive the choice.

    Raises LocalchatError where none is as wished, or none can run here.
    """
    reader = Reader(repo, folder)
    subject, opened = subject_of_variants(repo, variants, wish, reader)
    try:
        chosen = make_plan(subject, machine, wish)
    except LocalchatError:
        smaller = _smaller(variants, opened) if wish.quant is None else []
        if not smaller:
            raise
        opened = [*opened, *reader.all(smaller)]
        chosen = make_plan(_subject(opened), machine, wish)
    taken = next(one for one in reversed(opened) if one.label == chosen.quant)  # as the plan: of two the smaller
    return Choice(taken, replace(chosen, reasons=(_why(repo, variants, taken), *chosen.reasons)))


def subject_of_variants(
    repo: Repo, variants: Sequence[Variant], wish: Wish, reader: Reader
) -> tuple[Subject, list[Opened]]:
    """What a plan needs, and the variants that it is about, the largest first. Raises LocalchatError."""
    considered = _considered(repo, variants, wish)
    opened = reader.all(considered)
    if not opened:
        raise BadFile(f"{repo.id} has no GGUF file of a model", "look for the repository that has its weights")
    if wish.quant and (other := opened[0].label) != wish.quant:
        raise LocalchatError(
            f"{repo.id} has no {wish.quant}: {one_line(opened[0].variant.name, 120)} is {other} by its header",
            f"choose one of {', '.join(dict.fromkeys([other, *labels(variants)]))}",
        )
    return _subject(opened), opened


def understood(wish: Wish, variants: Sequence[Variant]) -> Wish:
    """The wish with its type as the repository calls it, where that is another word for the same."""
    kinds = {variant.type for variant in variants}
    other = ALIASES.get(wish.quant or "", "")
    return replace(wish, quant=other) if other and wish.quant not in kinds and other in kinds else wish


def labels(variants: Sequence[Variant]) -> list[str]:
    """The types that are offered, by their names, the largest first."""
    return list(dict.fromkeys(variant.type or one_line(variant.name, 60) for variant in variants))


def _considered(repo: Repo, variants: Sequence[Variant], wish: Wish) -> list[Variant]:
    """Those whose headers are worth reading. Raises LocalchatError where none is of the type that is asked for."""
    if not variants:
        raise BadFile(f"{repo.id} has no whole GGUF file of a model", "look for the repository that has its weights")
    if wish.quant:
        named = [variant for variant in variants if variant.type in (wish.quant, "")]
        if not named:
            raise LocalchatError(
                f"{repo.id} has no {one_line(wish.quant, 40)}", f"choose one of {', '.join(labels(variants))}"
            )
        return sorted(named, key=lambda variant: variant.type == "")[:1]
    return list(_usual(variants)) or list(variants)


def _usual(variants: Sequence[Variant]) -> Iterator[Variant]:
    """Those that a plan chooses from, each once, and those whose names tell nothing."""
    by_type = {variant.type: variant for variant in reversed(variants)}
    wanted = {kind for kind in (*GOOD, *LOW) if kind in by_type}
    for kind, nearest in NEAREST.items():
        if kind not in by_type:
            wanted |= {next((one for one in nearest if one in by_type), kind)}
    yield from (one for one in variants if not one.type or (one.type in wanted and by_type[one.type] is one))


def _smaller(variants: Sequence[Variant], opened: Sequence[Opened]) -> list[Variant]:
    """What is left to try where nothing of the usual fits."""
    least = min(one.variant.bytes for one in opened)
    return [variant for variant in variants if variant.bytes < least]


def subject_of_files(files: Mapping[str, Joined]) -> Subject:
    """What a plan needs of one model in these types, by what each is called. Raises BadFile like `shape_of`."""
    first = next(iter(files.values()))
    parts = [stretch.part for stretch in first.stretches]
    shape = replace(shape_of(parts[0]), parameters=sum(part.parameters for part in parts))
    candidates = [candidate(label, shape.layers, _sizes(whole)) for label, whole in files.items()]
    candidates.sort(key=lambda one: -one.weights_bytes)
    return Subject(shape, tuple(candidates), lambda label: _hollow(files[label]))


def _subject(opened: Sequence[Opened]) -> Subject:
    return subject_of_files({one.label: one.whole for one in opened})


def _sizes(whole: Joined) -> Iterator[tuple[str, str, int]]:
    return ((tensor.name, tensor.type.name, tensor.bytes) for tensor in whole.tensors)


def _hollow(whole: Joined) -> AbstractContextManager[Path]:
    return hollow(whole.header, whole.file_bytes - len(whole.header))


def _label(variant: Variant, parts: Sequence[ModelFile]) -> str:
    """What it is called by: the type of its header, unless its name says a mix of the same kind."""
    said = type_of(parts, variant.type)
    return variant.type if variant.type and is_family(variant.type, said) else said


def type_of(parts: Sequence[ModelFile], name: str = "") -> str:
    """The type of the header; where it says none that of its name, else that which most of its bytes have."""
    if parts[0].quant != "unknown":
        return parts[0].quant
    bytes_of = Counter[str]()
    for part in parts:
        for tensor in part.tensors:
            bytes_of[tensor.type.name] += tensor.bytes
    return name or next((kind for kind, _ in bytes_of.most_common(1)), "unknown")


def _is_model(header: ModelFile) -> bool:
    """Not what only belongs to one."""
    kind = str(header.metadata.get("general.type", "model")).lower()
    return kind not in NO_MODELS and header.architecture.lower() not in NO_MODELS


def _why(repo: Repo, variants: Sequence[Variant], taken: Opened) -> str:
    others = [label for label in labels(variants) if label != taken.variant.type]
    parts = f", in {len(taken.variant.files)} parts" if len(taken.variant.files) > 1 else ""
    what = f"{one_line(taken.variant.name, 120)} is taken{parts}"
    return f"{what}; {repo.id} also has {', '.join(others)}" if others else f"{what}, the only model file of {repo.id}"
