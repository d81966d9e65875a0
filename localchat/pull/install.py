"""One pull: from a source to an installed model, as a stream of what is decided and done.

Whoever stops reading, stops the pull; a dry run is a reader that stops after `Chosen`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from localchat import library
from localchat.convert.header import aligned
from localchat.convert.proof.prove import Proof
from localchat.convert.recipe import file_type
from localchat.convert.sketch import hollow
from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile, read_header
from localchat.library import Check, Installed
from localchat.paths import models_folder
from localchat.plan.facts import shape_of, subject_of
from localchat.plan.here import this_machine
from localchat.plan.make import Machine, make_plan
from localchat.plan.plan import Plan
from localchat.plan.shape import candidate
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.build import Building, Built, Wanted, build, rebuild, relayout
from localchat.pull.cached import repo_or_cached
from localchat.pull.checking import hashing
from localchat.pull.decide import check_disk, normal, plan_for
from localchat.pull.events import Chosen, Pull, Ready
from localchat.pull.gguf_local import pull_parts
from localchat.pull.gguf_parts import parts_beside
from localchat.pull.gguf_repo import asked_of, is_of_files, kept, moved_notes, pull_gguf_repo
from localchat.pull.hub import Repo
from localchat.pull.installing import check_name, expect, path_for, recorded, unchanged, unfinished_discarded
from localchat.pull.keeping import is_elsewhere, nearest_folder
from localchat.pull.link import link
from localchat.pull.parts import Parts, parts_of_folder, parts_of_repo
from localchat.pull.rates import measured
from localchat.pull.source import Folder, HubRepo, ModelFilePath, Source, with_type

FOREIGN = Check("header", "passed", "the file was not made here; its header is sound")


def pull(source: Source, wish: Wish, machine: Machine | None = None) -> Pull:
    """Install the model of a source, planned for this machine as it is now unless another is given.

    Raises LocalchatError and then leaves nothing unfinished behind.
    """
    yield from measured(_pull(source, with_type(source, wish), machine or this_machine(models_folder())))


def _pull(source: Source, wish: Wish, machine: Machine) -> Pull:
    match source.place:
        case Folder(path):
            yield from _from_folder(source, path, wish, machine)
        case ModelFilePath(path):
            yield from _from_model_file(source, path, wish, machine)
        case HubRepo(repo, revision):
            yield from _from_hub(source, *repo_or_cached(repo, revision), wish, machine)


def convert(source: Source, out: Path, quant: str, threads: int) -> Building:
    """Write the checkpoint of a source as a model file of this type, without installing it. Raises LocalchatError."""
    quant, making = file_type(quant), source.making
    if isinstance(source.place, ModelFilePath):
        return (yield from rebuild(relayout(source.place.path, quant, making), out, threads))
    if isinstance(source.place, Folder):
        parts = parts_of_folder(source.place.path, making.base)
    else:
        repo, _ = repo_or_cached(source.place.repo, source.place.revision)
        parts = parts_of_repo(repo, making.base)
    with parts.alone():
        built = yield from build(parts, _wanted(source, quant, out, threads), out.parent)
    if not parts.begun:  # by a pull that was stopped
        parts.discard()
    return built


def _wanted(source: Source, quant: str, out: Path, threads: int) -> Wanted:
    return Wanted(source.name, quant, out, threads, source.making, source.entry)


def _from_folder(source: Source, folder: Path, wish: Wish, machine: Machine) -> Pull:
    check_name(source.name, str(folder))
    parts = parts_of_folder(folder, source.making.base)
    yield from _from_parts(source, parts, str(folder), None, plan_for(parts.config(), machine, wish))


def _from_hub(source: Source, repo: Repo, notes: tuple[str, ...], wish: Wish, machine: Machine) -> Pull:
    if is_of_files(source, repo):
        if source.making.keep_checkpoint:
            raise LocalchatError(
                f"{repo.id} has only model files and no checkpoint to keep", "leave --keep-checkpoint out"
            )
        yield from pull_gguf_repo(source, repo, wish, machine)
        return
    origins = (repo.id, asked_of(source))
    notes = (*notes, *moved_notes(asked_of(source), repo))
    if (present := _present(source.name, repo, origins, wish)) is not None:
        yield from kept(source, repo, present, machine, notes)
        return
    check_name(source.name, *origins)
    parts = _kept(source, parts_of_repo(repo, source.making.base))
    if (same := unchanged(source.name, repo, parts.folder, wish)) is not None:
        parts.discard()
        yield from kept(source, repo, same, machine, notes)
        return
    chosen = _begun(source.name, parts, machine, wish) or plan_for(parts.config(), machine, wish)
    notes += ("its weights are in the Hub cache and are taken from there",) if parts.is_from_cache else ()
    yield from _from_parts(source, parts, repo.id, repo.commit, chosen, notes)


def _kept(source: Source, parts: Parts) -> Parts:
    """The parts as they are downloaded where the checkpoint is to stay."""
    if source.making.keep_checkpoint and isinstance(source.place, HubRepo):
        return replace(parts, kept_as=source.place.revision or "main")
    return parts


def _begun(name: str, parts: Parts, machine: Machine, wish: Wish) -> Plan | None:
    """The plan of a file that was begun, if the wish leaves the type open: a little more or less free memory would
    often choose another, and all that is done would be lost.
    """
    if wish.quant or wish.size_bytes:
        return None
    for file in parts.begun:
        match = re.fullmatch(rf"{re.escape(name)}\.(\w+)\.gguf", file)
        with suppress(LocalchatError):
            if match:
                return plan_for(parts.config(), machine, replace(wish, quant=match[1]))
    return None


def _from_parts(
    source: Source, parts: Parts, origin: str, commit: str | None, chosen: Plan, notes: tuple[str, ...] = ()
) -> Pull:
    """Download what is missing, convert, install; what was downloaded goes when it is not needed any more."""
    is_untouched, missing = parts.is_untouched, parts.missing_bytes(f"{source.name}.{chosen.quant}.gguf")
    try:
        disk_bytes = chosen.weights_bytes + (missing if parts.kept_as else 0)
        yield Chosen(source.name, origin, chosen, missing, disk_bytes, commit, notes, source_bytes=parts.source_bytes)
    except GeneratorExit:  # a dry run leaves nothing behind, unless weights were there before
        if is_untouched:
            parts.discard()
        raise
    _check_room(parts, chosen.weights_bytes)
    workshop = parts.workshop or models_folder()
    with parts.alone(), unfinished_discarded(source.name):
        out = path_for(source.name, chosen.quant)
        built = yield from build(parts, _wanted(source, chosen.quant, out, chosen.threads), workshop)
        model = recorded(source, out, chosen.quant, origin, commit, built)
        expect(model, chosen)
    parts.discard()  # before the last event: its reader may not come back
    yield Ready(model)


def _check_room(parts: Parts, file_bytes: int) -> None:
    """Raises LocalchatError where the model file, or what is downloaded before it is made, has no room."""
    if parts.kept_as:
        check_disk(nearest_folder(), parts.missing_bytes())
    is_beside = not parts.can_arrive and not (parts.kept_as and is_elsewhere(models_folder()))
    check_disk(models_folder(), file_bytes + (parts.missing_bytes() if is_beside else 0))


def _from_model_file(source: Source, path: Path, wish: Wish, machine: Machine) -> Pull:
    if parts := parts_beside(path):
        yield from pull_parts(source, parts, wish, machine)
        return
    model = read_header(path)
    origin = (source.entry.package if source.entry else "") or str(path)
    check_name(source.name, origin)
    if wish.quant and file_type(wish.quant) != model.quant:
        yield from _requantized(source, model, origin, wish, machine)
        return
    chosen = make_plan(subject_of(model), machine, wish)
    yield Chosen(source.name, origin, chosen, 0, 0)
    sha256 = yield from hashing(path)
    built = Built(sha256, {path.name: sha256}, {}, (), Proof((FOREIGN,)))
    if path.parent == library.folder_for(source.name).resolve():  # it lost its receipt: nothing to link or discard
        yield Ready(recorded(source, path, model.quant, origin, None, built))
        return
    with unfinished_discarded(source.name):
        linked = path_for(source.name, model.quant)
        link(path, linked)
        installed = recorded(source, linked, model.quant, origin, None, built)
        expect(installed, chosen)
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
    with unfinished_discarded(source.name):
        out = path_for(source.name, quant)
        built = yield from rebuild(result, out, chosen.threads)
        installed = recorded(source, out, quant, origin, None, built)
        expect(installed, chosen)
    yield Ready(installed)


def _present(name: str, repo: Repo, origins: Sequence[str], wish: Wish) -> Installed | None:
    """The installed model if it is of this commit and what was asked for.

    Which type was chosen for it then is not chosen anew each time that a little more or less memory is free.
    """
    for model in library.installed():
        if model.name == name and model.receipt.commit == repo.commit and model.receipt.source in origins:
            is_wanted = wish.quant in (None, model.receipt.quant) and not wish.size_bytes
            return model if is_wanted else None
    return None
