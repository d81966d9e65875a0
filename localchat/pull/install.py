"""One pull: from a source to an installed model, as a stream of what is decided and done.

Whoever stops reading, stops the pull; a dry run is a reader that stops after `Chosen`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from localchat import __version__, library
from localchat.convert.checkpoint import INDEX, SMALL_FILES, read_checkpoint
from localchat.convert.config import read_config
from localchat.convert.recipe import file_type
from localchat.convert.write import Finished, Layout, Written, layout, write
from localchat.errors import BadFile, LocalchatError
from localchat.files import writing
from localchat.gguf_file import read_header
from localchat.library import Installed, Receipt
from localchat.paths import models_folder
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.hardware import Hardware, detect
from localchat.plan.plan import Plan, Wish, plan
from localchat.pull.decide import check_disk, plan_for
from localchat.pull.download import download_small, download_weights, missing_bytes
from localchat.pull.events import Chosen, Progress, Pull, Ready
from localchat.pull.hub import Repo, read_repo
from localchat.pull.source import Folder, HubRepo, ModelFilePath, Source

HASH_CHUNK_BYTES = 16 << 20


def pull(source: Source, wish: Wish) -> Pull:
    """Install the model of a source. Raises LocalchatError and then leaves nothing unfinished behind."""
    hardware = detect(models_folder())
    match source.place:
        case Folder(path):
            yield from _from_folder(source, path, wish, hardware)
        case ModelFilePath(path):
            yield from _from_model_file(source, path, wish, hardware)
        case HubRepo(repo, revision):
            yield from _from_hub(source, read_repo(repo, revision), wish, hardware)


def convert(source: Source, out: Path, quant: str, threads: int) -> Generator[Progress]:
    """Write the checkpoint of a source as a model file of this type, without installing it. Raises LocalchatError."""
    quant = file_type(quant)
    match source.place:
        case Folder(path):
            yield from _written(path, out, quant, threads)
        case HubRepo(repo_id, revision):
            repo = read_repo(repo_id, revision)
            folder = download_small(repo)
            yield from download_weights(repo, folder)
            yield from _written(folder, out, quant, threads)
            shutil.rmtree(folder)
        case ModelFilePath(path):
            raise LocalchatError(f"{path.name} is a model file already", "convert the checkpoint it was made from")


def _from_folder(source: Source, folder: Path, wish: Wish, hardware: Hardware) -> Pull:
    chosen = plan_for(read_config(folder), hardware, wish)
    _check_name(source.name, str(folder))
    yield Chosen(source.name, str(folder), chosen, 0, chosen.weights_bytes)
    yield Ready((yield from _installed(source, folder, chosen, str(folder), None)))


def _from_hub(source: Source, repo: Repo, wish: Wish, hardware: Hardware) -> Pull:
    _check_name(source.name, repo.id)
    if (present := _present(source.name, repo, wish)) is not None:
        file = read_header(present.path)
        yield Chosen(source.name, repo.id, plan(shape_of(file), [candidate_of(file)], hardware, wish), 0, 0)
        yield Ready(present)
        return
    repo.weights()  # a repository without any says so before anything is fetched
    folder = download_small(repo)
    chosen = plan_for(read_config(folder), hardware, wish)
    download = missing_bytes(repo, folder)
    try:
        yield Chosen(source.name, repo.id, chosen, download, chosen.weights_bytes)
    except GeneratorExit:  # a dry run leaves nothing behind, unless weights were there before
        if download == sum(file.bytes for file in repo.weights()):
            shutil.rmtree(folder)
        raise
    check_disk(models_folder(), download + chosen.weights_bytes)
    yield from download_weights(repo, folder)
    model = yield from _installed(source, folder, chosen, repo.id, repo.commit)
    shutil.rmtree(folder)  # before the last event: its reader may not come back
    yield Ready(model)


def _from_model_file(source: Source, path: Path, wish: Wish, hardware: Hardware) -> Pull:
    model = read_header(path)
    chosen = plan(shape_of(model), [candidate_of(model)], hardware, wish)
    origin = source.entry.package if source.entry else str(path)
    _check_name(source.name, origin)
    yield Chosen(source.name, origin, chosen, 0, 0)
    sha256 = hashlib.sha256()
    yield from _hashing(path, sha256)
    finished = Finished(sha256.hexdigest(), {path.name: sha256.hexdigest()})
    if path.parent == library.folder_for(source.name).resolve():  # it lost its receipt: nothing to link or discard
        yield Ready(library.record(_receipt(source, path, model.quant, origin, None, finished, {})))
        return
    with _unfinished_discarded(source.name):
        linked = _path(source, model.quant)
        _link(path, linked)
        installed = library.record(_receipt(source, linked, model.quant, origin, None, finished, {}))
    yield Ready(installed)


def _installed(
    source: Source, folder: Path, chosen: Plan, origin: str, commit: str | None
) -> Generator[Progress, None, Installed]:
    """Convert a checkpoint into the library; the receipt comes last. Returns the model."""
    with _unfinished_discarded(source.name):
        path = _path(source, chosen.quant)
        finished, recipe = yield from _written(folder, path, chosen.quant, chosen.threads)
        path.chmod(0o600)
        small = {name: _sha256(folder / name) for name in (*SMALL_FILES, INDEX) if (folder / name).is_file()}
        finished = Finished(finished.sha256, {**small, **finished.inputs})
        return library.record(_receipt(source, path, chosen.quant, origin, commit, finished, recipe))


def _written(
    folder: Path, out: Path, quant: str, threads: int
) -> Generator[Progress, None, tuple[Finished, dict[str, str]]]:
    """Convert a checkpoint folder to a file; returns its hashes and the type of each tensor."""
    result = layout(read_checkpoint(folder, folder.name), quant)
    check_disk(out.parent, result.file_bytes)
    with writing(out) as partial, closing(write(result, partial, threads)) as events:
        for event in events:
            match event:
                case Written(tensor, done_bytes, total_bytes):
                    yield Progress("convert", tensor, done_bytes, total_bytes)
                case Finished() as finished:
                    _check_result(partial, result)
    return finished, {tensor.target.name: tensor.type.name for tensor in result.tensors}


def _check_result(path: Path, result: Layout) -> None:
    """Read the file's header back with our strict reader: it must be what was meant."""
    model = read_header(path)
    if [tensor.name for tensor in model.tensors] != [tensor.target.name for tensor in result.tensors]:
        raise BadFile(f"{path.name} did not come out as it was planned", "please report this")


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


def _receipt(
    source: Source, path: Path, quant: str, origin: str, commit: str | None, finished: Finished, recipe: dict[str, str]
) -> Receipt:
    return Receipt(
        name=source.name,
        file=path.name,
        file_bytes=path.stat().st_size,
        file_sha256=finished.sha256,
        quant=quant,
        source=origin,
        commit=commit,
        inputs=finished.inputs,
        recipe=recipe,
        versions={"localchat": __version__, "llama-cpp-python": version("llama-cpp-python")},
        checks=("header", "layout"),
        stops=source.entry.stops if source.entry else (),
        system=source.entry.system if source.entry else "",
        sampling=source.entry.sampling if source.entry else {},
    )


def _link(path: Path, linked: Path) -> None:
    """The same file under another name: no byte is copied. Across disks only a symbolic link can do that."""
    linked.unlink(missing_ok=True)
    try:
        os.link(path, linked)
    except OSError:
        linked.symlink_to(path)


def _hashing(path: Path, sha256: hashlib._Hash) -> Iterator[Progress]:
    total = path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            sha256.update(chunk)
            yield Progress("check", path.name, file.tell(), total)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
