"""All checks of a new model file, before it gets its name. None takes long: no tensor is read as a whole."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.layout import Layout
from localchat.convert.proof.rows import Checking, Files, Source, check_rows
from localchat.convert.proof.tokens import (
    Said,
    ask_about,
    check_added,
    check_bytes,
    check_tokens,
    check_vocabulary,
    said_of_added,
)
from localchat.convert.proof.turns import check_stop, check_template, fingerprint
from localchat.convert.tokenizer.special import role_texts
from localchat.convert.tokenizer.tokenizer_files import read_tokenizer_files
from localchat.errors import BadFile
from localchat.gguf_file import ModelFile, read_header
from localchat.library import Check

HINT = "report this with the name of the model; until then another type or another model may do"


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of a model file that may be used."""

    checks: tuple[Check, ...] = ()
    stops: tuple[str, ...] = ()
    """Texts to stop a reply at, because no token ends a turn."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """What is compared when the checkpoint is gone, for the receipt."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repaired, a sentence each."""
        return tuple(check.detail for check in self.checks if check.verdict == "repaired")


Proving = Generator[Checking, None, Proof]


def prove(checkpoint: Checkpoint | None, layout: Layout, path: Path, source: Source | None = None) -> Proving:
    """Check the model file at `path` against what it was made from; without a checkpoint that is another model file.

    The `source` has the rows where the files of the layout are not here.
    Raises BadFile, one sentence, at the first check that fails.
    """
    model = read_header(path)
    checks = [sound(check_header(model, layout))]
    rest = Proof()
    if checkpoint is not None:
        yield Checking("vocabulary", 0, model.file_bytes)
        rest = _prove_words(checkpoint, model)
    found = yield from check_rows(layout.tensors, source or Files(layout.inputs), model)
    checks += [*rest.checks, *map(sound, found)]
    return Proof(tuple(checks), rest.stops, rest.fingerprints)


def sound(check: Check) -> Check:
    """The check itself. Raises BadFile where it failed."""
    if check.is_failed:
        raise BadFile(check.detail, HINT)
    return check


def check_header(model: ModelFile, layout: Layout) -> Check:
    """Are the tensors those that were planned?"""
    found = {tensor.name: (tensor.type, tensor.dimensions[::-1]) for tensor in model.tensors}
    if found != {plan.target.name: (plan.type, plan.target.shape) for plan in layout.tensors}:
        return Check("header", "failed", "the model file did not come out as it was planned")
    return Check("header", "passed", f"{len(model.tensors):,} tensors and {len(model.metadata):,} facts are sound")


@dataclass(frozen=True, slots=True)
class _Source:
    """What the tokenizer's files say, read once more and kept while they are not."""

    added: Said
    prefix: bool | None
    words: Mapping[str, str | None]


def _source(checkpoint: Checkpoint) -> _Source:
    files = read_tokenizer_files(checkpoint.tokenizer_folder)
    prefix = files.settings.get("add_prefix_space")
    return _Source(
        said_of_added(files, checkpoint.vocab), prefix if isinstance(prefix, bool) else None, role_texts(files)
    )


def _prove_words(checkpoint: Checkpoint, model: ModelFile) -> Proof:
    """Everything about text: vocabulary, template, and how a turn ends."""
    vocab, has_bytes = checkpoint.vocab, sound(check_bytes(model))  # first, since llama.cpp would crash
    source = _source(checkpoint)
    asked = ask_about(model, source.added)
    is_whole = sound(check_vocabulary(model, asked))  # before ids are looked up
    stop, stops = check_stop(model, vocab.ends, asked.answers)
    checks = (
        is_whole,
        has_bytes,
        check_added(model, asked, source.added),
        check_tokens(model, asked, source.added, checkpoint.tokenizer_folder / vocab.source, source.prefix),
        check_template(model, checkpoint.templates, source.words),
        stop,
    )
    prints = {**asked.fingerprints, "template": fingerprint(model)}
    return Proof(tuple(map(sound, checks)), stops, prints)
