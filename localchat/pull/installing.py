"""The first and the last steps of every installation: may the name be used, what is there already, the receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from localchat import __version__, library
from localchat.convert.small_files import small_files
from localchat.errors import LocalchatError
from localchat.library import Installed, Receipt
from localchat.plan.plan import Plan
from localchat.plan.truth import load_of, remember
from localchat.plan.wish import Wish
from localchat.pull.build import Built
from localchat.pull.hub import Repo
from localchat.pull.source import HubRepo, Source


def check_name(name: str, *origins: str) -> None:
    """A model of another origin is never replaced in silence; several origins are names of one that moved."""
    for model in library.installed():
        if model.name == name and model.receipt.source not in origins:
            raise LocalchatError(
                f"a model named {name} is installed already, from {model.receipt.source}",
                "give this one another name with --name, or remove that one first",
            )


def path_for(name: str, quant: str) -> Path:
    """Where the model file of an installed model lies."""
    return library.folder_for(name) / f"{name}.{quant}.gguf"


@contextmanager
def unfinished_discarded(name: str) -> Iterator[None]:
    """However the body ends, a model folder is left only if it has its receipt, and no partial file in it."""
    try:
        yield
    finally:
        library.discard_unfinished(name)


def recorded(source: Source, path: Path, quant: str, origin: str, commit: str | None, built: Built) -> Installed:
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
        revision=revision_of(source),
    )
    return library.record(receipt)


def unchanged(name: str, repo: Repo, folder: Path, wish: Wish) -> Installed | None:
    """The installed model, if all that it was made of is in the repository as it was, and it is what is asked for.

    `folder` has the describing files of the repository as they are now.
    """
    model = next((one for one in library.installed() if one.name == name and one.receipt.source == repo.id), None)
    if model is None or wish.quant not in (None, model.receipt.quant) or wish.size_bytes:
        return None
    now = {file.name: file.sha256 for file in repo.weights(folder)}
    for file, path in small_files(folder).items():
        with path.open("rb") as content:
            now[file] = hashlib.file_digest(content, "sha256").hexdigest()
    return model if now == dict(model.receipt.inputs) else None


def confirmed(model: Installed, source: Source, repo: Repo) -> Installed:
    """The same model at another commit, or under another name of its repository, that changed nothing of it."""
    now = replace(model.receipt, source=repo.id, commit=repo.commit, revision=revision_of(source))
    return model if now == model.receipt else library.record(now)


def revision_of(source: Source) -> str:
    """What the receipt keeps of the revision that was asked for."""
    asked = source.place.revision if isinstance(source.place, HubRepo) else ""
    return "" if asked == "main" else asked


def expect(model: Installed, chosen: Plan) -> None:
    """Remember how it was meant to run: a load that turns out smaller then says so."""
    remember(load_of(model.receipt.file_sha256, chosen, "planned", {}))
