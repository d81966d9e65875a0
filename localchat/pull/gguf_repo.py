"""Pulls from repositories that have model files and no checkpoint: one of them is chosen, fetched and installed."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from localchat import library
from localchat.errors import LocalchatError
from localchat.files import PARTIAL, disk_error, put_in_place
from localchat.gguf_file import read_header
from localchat.library import Installed
from localchat.paths import downloads_folder, models_folder, private_folder
from localchat.plan.facts import subject_of
from localchat.plan.make import Machine, make_plan
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.pull.build import Built
from localchat.pull.decide import check_disk
from localchat.pull.events import Chosen, Progress, Pull, Ready
from localchat.pull.fetch import fetch
from localchat.pull.gguf_choice import Choice, Opened, choose, understood
from localchat.pull.gguf_join import join
from localchat.pull.gguf_names import PART
from localchat.pull.gguf_proof import proof_of_file
from localchat.pull.gguf_variants import Variant, of_one_model, variants_of
from localchat.pull.hub import Repo
from localchat.pull.installing import check_name, confirmed, expect, path_for, recorded, unfinished_discarded
from localchat.pull.source import HubRepo, Source, with_type
from localchat.pull.unfinished import alone, discard_folder, unfinished
from localchat.text import one_line

WHOLE = "whole.gguf"


def pull_gguf_repo(source: Source, repo: Repo, wish: Wish, machine: Machine) -> Pull:
    """Install a model file of a repository: the one that the source names, else what suits this machine best.

    Nothing but headers is fetched before `Chosen`. Raises LocalchatError and then leaves nothing that is of no use.
    """
    place, offered = _place(source), offered_by(source, repo)
    origins, notes = (repo.id, place.repo), moved_notes(place.repo, repo)
    wish = understood(with_type(source, wish), offered)
    if (present := _present(source.name, origins, offered, wish)) is not None:
        yield from kept(source, repo, present, machine, notes)
        return
    check_name(source.name, *origins)
    wish = _as_before(source.name, origins, offered, wish)
    with headers_folder() as folder:
        choice = choose(repo, offered, wish, machine, Path(folder))
        target = downloads_folder() / _folder_name(repo, choice.opened.variant)
        missing = max(0, choice.opened.whole.file_bytes - _there(target, choice.opened.variant))
        disk_bytes = choice.opened.whole.file_bytes
        yield Chosen(source.name, repo.id, choice.plan, missing, disk_bytes, repo.commit, notes, source_bytes=0)
        check_disk(models_folder(), missing)
        yield from _installed(source, repo, choice, target)


def is_of_files(source: Source, repo: Repo) -> bool:
    """Is a model file of the repository to be installed, rather than made of its checkpoint?"""
    return repo.is_gguf_only or bool(_place(source).file)


def offered_by(source: Source, repo: Repo) -> list[Variant]:
    """The variants that may be taken, the largest first; with a file only the one that it is of.

    Raises LocalchatError where there is none.
    """
    variants, file = variants_of(repo), _place(source).file
    if not file:
        return of_one_model(variants, repo.id.split("/")[1])
    named = [variant for variant in variants if any(_is_named(one.name, file) for one in variant.files)]
    if named:
        return named[:1]
    if PART.fullmatch(file) and any(_is_named(name, file) for name in repo.files):
        raise LocalchatError(f"{repo.id} lacks parts of {one_line(file, 120)}", "ask its authors, or take another file")
    names = ", ".join(one_line(variant.name, 60) for variant in variants[:5])
    raise LocalchatError(
        f"{repo.id} has no model file {one_line(file, 120)}", f"it has {names}" if names else "look at its page"
    )


def asked_of(source: Source) -> str:
    """The repository as the user named it; it may have another name by now."""
    return _place(source).repo


def _place(source: Source) -> HubRepo:
    assert isinstance(source.place, HubRepo), "a repository is a place on the Hub"
    return source.place


def moved_notes(asked: str, repo: Repo) -> tuple[str, ...]:
    """What to say where a repository has another name now."""
    return (f"{asked} has moved to {repo.id}",) if asked.lower() != repo.id.lower() else ()


def _is_named(name: str, file: str) -> bool:
    return file in (name, name.rpartition("/")[2])


def _present(name: str, origins: Sequence[str], offered: Sequence[Variant], wish: Wish) -> Installed | None:
    """The installed model, if it is of files that are still there and what was asked for."""
    model = _of_origin(name, origins)
    if model is None:
        return None
    inputs = dict(model.receipt.inputs)
    same = next((one for one in offered if {file.name: file.sha256 for file in one.files} == inputs), None)
    is_wanted = wish.quant in (None, model.receipt.quant) and same is not None
    return model if is_wanted and (not wish.size_bytes or model.receipt.file_bytes <= wish.size_bytes) else None


def _of_origin(name: str, origins: Sequence[str]) -> Installed | None:
    found = (one for one in library.installed() if one.name == name and one.receipt.source in origins)
    return next(found, None)


def _as_before(name: str, origins: Sequence[str], offered: Sequence[Variant], wish: Wish) -> Wish:
    """An update keeps the type, where there is it still: it is not chosen anew when less memory is free."""
    model = _of_origin(name, origins)
    if model is None or wish.quant or wish.size_bytes:
        return wish
    is_there = any(variant.type == model.receipt.quant for variant in offered)
    return replace(wish, quant=model.receipt.quant) if is_there else wish


def kept(source: Source, repo: Repo, model: Installed, machine: Machine, notes: tuple[str, ...]) -> Pull:
    """There is nothing to fetch; at most the receipt learns of another commit.

    Where it cannot be planned now, since memory is taken, perhaps by this very model, there is no `Chosen`.
    """
    if (chosen := _planned(model, machine)) is not None:
        yield Chosen(source.name, repo.id, chosen, 0, 0, repo.commit, notes, is_present=True, source_bytes=0)
    yield Ready(confirmed(model, source, repo))


def _planned(model: Installed, machine: Machine) -> Plan | None:
    with suppress(LocalchatError):
        return make_plan(subject_of(read_header(model.path)), machine, Wish())
    return None


def _installed(source: Source, repo: Repo, choice: Choice, target: Path) -> Pull:
    """Fetch, check, put in its place; what was fetched stays for the next attempt if that fails."""
    opened = choice.opened
    private_folder(target)
    _discard_others(repo, target)
    with alone(unfinished(target, WHOLE)):
        fetched, sha256 = yield from _fetched(repo, opened, target)
    yield Progress("check", "header and vocabulary", 0, fetched.stat().st_size)
    proof = proof_of_file(read_header(fetched))
    inputs = {file.name: file.sha256 or "" for file in opened.variant.files}
    with unfinished_discarded(source.name):
        out = path_for(source.name, opened.label)
        _move(fetched, out)
        built = Built(sha256, inputs, {}, (), proof)
        model = recorded(source, out, opened.label, repo.id, repo.commit, built)
        expect(model, choice.plan)
    shutil.rmtree(target, ignore_errors=True)
    yield Progress("check", "header and vocabulary", out.stat().st_size, out.stat().st_size)
    yield Ready(model)


def _fetched(repo: Repo, opened: Opened, target: Path) -> Generator[Progress, None, tuple[Path, str]]:
    """The model file, whole and as the Hub has it, and its sha256."""
    files, total = opened.variant.files, opened.whole.file_bytes
    if len(files) > 1:
        path = target / (WHOLE + PARTIAL)
        return path, (yield from _joined(join(repo, files, opened.whole, path), opened.variant.name, total))
    (target / files[0].name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for done in fetch(repo, files[0], target):
        yield Progress("download", files[0].name, done, total)
    return target / files[0].name, files[0].sha256 or ""


def _joined(steps: Generator[int, None, str], name: str, total: int) -> Generator[Progress, None, str]:
    with closing(steps):
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                return str(end.value)
            yield Progress("download", name, done, total)


def _move(path: Path, out: Path) -> None:
    """Put the file in its place. Raises LocalchatError where the disk refuses."""
    try:
        put_in_place(path, out)
    except OSError as error:
        raise disk_error(error, out) from error


def _there(target: Path, variant: Variant) -> int:
    """Bytes that an earlier attempt left."""
    name = variant.name if len(variant.files) == 1 else WHOLE
    paths = [target / name, target / (name + PARTIAL)]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _folder_name(repo: Repo, variant: Variant) -> str:
    """Named by what is fetched and not by the commit, which also changes with every word of the page."""
    return f"{repo.id.replace('/', '--')}@{(variant.files[0].sha256 or '')[:16]}"


def _discard_others(repo: Repo, target: Path) -> None:
    """What was begun of this repository and given up."""
    for other in downloads_folder().glob(f"{repo.id.replace('/', '--')}@*"):
        if other != target:
            discard_folder(other)


def headers_folder() -> TemporaryDirectory[str]:
    """Where headers are kept. Raises LocalchatError."""
    try:
        return TemporaryDirectory(prefix="localchat-")
    except OSError as error:
        raise LocalchatError(
            f"headers could not be kept: {error.strerror or error}", "set TMPDIR to a folder on another disk"
        ) from error
