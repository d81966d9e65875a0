"""One pull: from a source to an installed model, as a stream of what is decided and done.

Whoever stops reading, stops the pull; a dry run is a reader that stops after `Chosen`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from localchat import __version__, library
from localchat.convert.header import aligned
from localchat.convert.proof.prove import Proof
from localchat.convert.recipe import file_type
from localchat.convert.sketch import hollow
from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile, read_header
from localchat.library import Check, Installed, Receipt
from localchat.paths import models_folder
from localchat.plan.facts import shape_of, subject_of
from localchat.plan.here import this_machine
from localchat.plan.make import Machine, make_plan
from localchat.plan.plan import Plan
from localchat.plan.shape import candidate
from localchat.plan.truth import load_of, remember
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.build import Building, Built, build, rebuild, relayout
from localchat.pull.checking import hashing
from localchat.pull.decide import check_disk, normal, plan_for
from localchat.pull.events import Chosen, Pull, Ready
from localchat.pull.hub import Repo, read_repo
from localchat.pull.parts import Parts, parts_of_folder, parts_of_repo
from localchat.pull.source import Folder, HubRepo, ModelFilePath, Source

FOREIGN = Check("header", "passed", "the file was not made here; its header is sound")


def pull(source: Source, wish: Wish, machine: Machine | None = None) -> Pull:
    """Install the model of a source, planned for this machine as it is now unless another is given.

    Raises LocalchatError and then leaves nothing unfinished behind.
    """
    machine = machine or this_machine(models_folder())
    match source.place:
        case Folder(path):
            yield from _from_folder(source, path, wish, machine)
        case ModelFilePath(path):
            yield from _from_model_file(source, path, wish, machine)
        case HubRepo(repo, revision):
            yield from _from_hub(source, read_repo(repo, revision), wish, machine)


def convert(source: Source, out: Path, quant: str, threads: int) -> Building:
    """Write the checkpoint of a source as a model file of this type, without installing it. Raises LocalchatError."""
    quant, making = file_type(quant), source.making
    if isinstance(source.place, ModelFilePath):
        return (yield from rebuild(relayout(source.place.path, quant, making), out, threads))
    if isinstance(source.place, Folder):
        parts = parts_of_folder(source.place.path, making.base)
    else:
        parts = parts_of_repo(read_repo(source.place.repo, source.place.revision), making.base)
    yield from parts.download()
    template = source.entry.template if source.entry else ""
    built = yield from build(parts, source.name, quant, out, threads, making, template)
    parts.discard()
    return built


def _from_folder(source: Source, folder: Path, wish: Wish, machine: Machine) -> Pull:
    _check_name(source.name, str(folder))
    parts = parts_of_folder(folder, source.making.base)
    yield from _from_parts(source, parts, str(folder), None, plan_for(parts.config(), machine, wish))


def _from_hub(source: Source, repo: Repo, wish: Wish, machine: Machine) -> Pull:
    if (present := _present(source.name, repo, wish)) is not None:
        file = read_header(present.path)
        yield Chosen(source.name, repo.id, make_plan(subject_of(file), machine, wish), 0, 0)
        yield Ready(present)
        return
    _check_name(source.name, repo.id)
    parts = parts_of_repo(repo, source.making.base)
    yield from _from_parts(source, parts, repo.id, repo.commit, plan_for(parts.config(), machine, wish))


def _from_parts(source: Source, parts: Parts, origin: str, commit: str | None, chosen: Plan) -> Pull:
    """Download what is missing, convert, install; what was downloaded goes when it is not needed any more."""
    is_untouched, missing = parts.is_untouched, parts.missing_bytes
    try:
        yield Chosen(source.name, origin, chosen, missing, chosen.weights_bytes)
    except GeneratorExit:  # a dry run leaves nothing behind, unless weights were there before
        if is_untouched:
            parts.discard()
        raise
    check_disk(models_folder(), missing + chosen.weights_bytes)
    yield from parts.download()
    template = source.entry.template if source.entry else ""
    with _unfinished_discarded(source.name):
        out = _path(source, chosen.quant)
        built = yield from build(parts, source.name, chosen.quant, out, chosen.threads, source.making, template)
        model = _recorded(source, out, chosen.quant, origin, commit, built)
        _expect(model, chosen)
    parts.discard()  # before the last event: its reader may not come back
    yield Ready(model)


def _from_model_file(source: Source, path: Path, wish: Wish, machine: Machine) -> Pull:
    model = read_header(path)
    origin = source.entry.package if source.entry else str(path)
    _check_name(source.name, origin)
    if wish.quant and file_type(wish.quant) != model.quant:
        yield from _requantized(source, model, origin, wish, machine)
        return
    chosen = make_plan(subject_of(model), machine, wish)
    yield Chosen(source.name, origin, chosen, 0, 0)
    sha256 = yield from hashing(path)
    built = Built(sha256, {path.name: sha256}, {}, (), Proof((FOREIGN,)))
    if path.parent == library.folder_for(source.name).resolve():  # it lost its receipt: nothing to link or discard
        yield Ready(_recorded(source, path, model.quant, origin, None, built))
        return
    with _unfinished_discarded(source.name):
        linked = _path(source, model.quant)
        _link(path, linked)
        installed = _recorded(source, linked, model.quant, origin, None, built)
        _expect(installed, chosen)
    yield Ready(installed)


def _requantized(source: Source, model: ModelFile, origin: str, wish: Wish, machine: Machine) -> Pull:
    """Another type is wanted than the file has: it is quantized anew."""
    quant = file_type(wish.quant or model.quant)
    result = relayout(model.path, quant, source.making)
    sizes = ((one.target.name, one.type.name, aligned(one.bytes)) for one in result.tensors)
    weights_bytes = result.file_bytes - len(result.header)
    shape = shape_of(model)
    subject = Subject(shape, (candidate(quant, shape.layers, sizes),), lambda _: hollow(result.header, weights_bytes))
    chosen = make_plan(subject, machine, normal(wish))
    yield Chosen(source.name, origin, chosen, 0, chosen.weights_bytes)
    with _unfinished_discarded(source.name):
        out = _path(source, quant)
        built = yield from rebuild(result, out, chosen.threads)
        installed = _recorded(source, out, quant, origin, None, built)
        _expect(installed, chosen)
    yield Ready(installed)


def _check_name(name: str, origin: str) -> None:
    """A model of another origin is never replaced in silence."""
    for model in library.installed():
        if model.name == name and model.receipt.source != origin:
            raise LocalchatError(
                f"a model named {name} is installed already, from {model.receipt.source}",
                "give this one another name with --name, or remove that one first",
            )


def _present(name: str, repo: Repo, wish: Wish) -> Installed | None:
    """The installed model if it is of this commit and what was asked for.

    Which type was chosen for it then is not chosen anew each time that a little more or less memory is free.
    """
    for model in library.installed():
        if (model.name, model.receipt.commit) == (name, repo.commit):
            is_wanted = wish.quant in (None, model.receipt.quant) and not wish.size_bytes
            return model if is_wanted else None
    return None


def _path(source: Source, quant: str) -> Path:
    return library.folder_for(source.name) / f"{source.name}.{quant}.gguf"


@contextmanager
def _unfinished_discarded(name: str) -> Iterator[None]:
    """However the body ends, a model folder is left only if it has its receipt, and no partial file in it."""
    try:
        yield
    finally:
        library.discard_unfinished(name)


def _recorded(source: Source, path: Path, quant: str, origin: str, commit: str | None, built: Built) -> Installed:
    """Write the receipt, the last step of an installation."""
    if not path.is_symlink() and path.stat().st_nlink == 1:
        path.chmod(0o600)
    receipt = Receipt(
        name=source.name,
        file=path.name,
        file_bytes=path.stat().st_size,
        file_sha256=built.sha256,
        quant=quant,
        source=origin,
        commit=commit,
        inputs=built.inputs,
        recipe=built.types,
        versions={"localchat": __version__, "llama-cpp-python": version("llama-cpp-python")},
        checks=built.proof.checks,
        fingerprints=built.proof.fingerprints,
        notes=(*built.notes, *built.proof.notes),
        stops=tuple(dict.fromkeys([*(source.entry.stops if source.entry else ()), *built.proof.stops])),
        system=source.entry.system if source.entry else "",
        sampling=source.entry.sampling if source.entry else {},
    )
    return library.record(receipt)


def _expect(model: Installed, chosen: Plan) -> None:
    """Remember how it was meant to run: a load that turns out smaller then says so."""
    remember(load_of(model.receipt.file_sha256, chosen, "planned", {}))


def _link(path: Path, linked: Path) -> None:
    """The same file under another name: no byte is copied. Across disks only a symbolic link can do that."""
    linked.unlink(missing_ok=True)
    try:
        os.link(path, linked)
    except OSError:
        linked.symlink_to(path)
