"""Models that other apps have: found, and linked into the library without copying them.

Another app's files are read and linked and never written to.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from localchat import library
from localchat.catalog import Entry
from localchat.errors import BadFile, LocalchatError
from localchat.library import Installed
from localchat.paths import model_name, models_folder
from localchat.plan.make import Machine
from localchat.plan.wish import Wish
from localchat.pull.apps import gpt4all, hub_cache, jan, llama_cpp, lm_studio, ollama, text_generation_webui
from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.found import Found, Nature, look
from localchat.pull.apps.walk import is_folder, model_files
from localchat.pull.events import Pull, Ready
from localchat.pull.install import pull
from localchat.pull.link import kind_of_link
from localchat.pull.source import ModelFilePath, Source
from localchat.text import one_line

APPS = (ollama, lm_studio, hub_cache, jan, gpt4all, text_generation_webui, llama_cpp)
"""In this order: of one file that several apps have, the first one's manner is the best known."""
RECOGNIZED: tuple[tuple[Callable[[Path], bool], Callable[[Path], Iterator[Candidate]]], ...] = (
    (ollama.is_one, ollama.models_in), (hub_cache.is_one, hub_cache.models_in), (jan.is_one, jan.models_in),
    (text_generation_webui.is_one, text_generation_webui.models_in),
)  # fmt: skip
FOLDER = "folder"


class AlreadyHere(LocalchatError):
    """What should be adopted is the file of an installed model, `name`."""

    def __init__(self, found: Found, name: str) -> None:
        super().__init__(f"{found.title} of {found.app} is here already, as {name}", f"chat: localchat {name}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Known:
    """What of an installed model tells that a file is the same."""

    name: str
    sha256: str
    source: str
    bytes: int
    identity: tuple[int, int]


def this_place() -> Place:
    """Where to look on this machine."""
    return Place(Path.home(), os.environ, sys.platform)


def find(place: Place, folder: Path | None = None) -> list[Found]:
    """Everything that the apps have, or that is below one folder, looked at and named. Raises no LocalchatError."""
    candidates = candidates_below(folder.absolute()) if folder else candidates_of(place)
    folders = [path.name for path in models_folder().iterdir()]  # those of damaged models are not given away either
    return placed(looked_at(candidates), known(), folders)


def looked_at(candidates: Iterable[Candidate]) -> list[Found]:
    """All of them, each file read only once."""
    natures: dict[tuple[int, int], Nature] = {}
    return [look(candidate, natures) for candidate in candidates]


def candidates_of(place: Place) -> Iterator[Candidate]:
    """What each app says it has; a folder that cannot be looked through says why."""
    for app in APPS:
        for folder in dict.fromkeys(path.absolute() for path in app.folders(place)):
            if _is_closed(folder):
                yield Candidate(app.APP, folder.name, folder, trouble=f"you may not look into {folder}")
            elif is_folder(folder):
                yield from _told(app.APP, folder, app.models_in(folder))


def _is_closed(folder: Path) -> bool:
    """Is it there, or might be, and only for others to read? A service has a home of its own."""
    try:
        return stat.S_ISDIR(folder.stat().st_mode) and not os.access(folder, os.R_OK | os.X_OK)
    except PermissionError:
        return True
    except OSError:
        return False


def candidates_below(folder: Path) -> Iterator[Candidate]:
    """What is in a folder, which may be one of an app."""
    for is_one, models_in in RECOGNIZED:
        if is_one(folder):
            return _told(FOLDER, folder, models_in(folder))
    return _told(FOLDER, folder, model_files(FOLDER, folder))


def _told(app: str, folder: Path, candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    try:
        yield from candidates
    except LocalchatError as error:
        yield Candidate(app, folder.name, folder, trouble=str(error))


def known() -> list[Known]:
    """What is installed; a model whose file is gone is not."""
    found = []
    for model in library.installed():
        receipt, facts = model.receipt, model.path.stat()
        identity = (facts.st_dev, facts.st_ino)
        found.append(Known(model.name, receipt.file_sha256, receipt.source, receipt.file_bytes, identity))
    return found


def placed(found: Sequence[Found], models: Sequence[Known], names: Iterable[str] = ()) -> list[Found]:
    """The same, each with a name that no other has, and which of them are here already or one file."""
    numbers_of: dict[str, Iterator[int]] = {}
    hashes = {one.identity: one.sha256 for one in found if one.sha256}
    taken, first, result = {*names, *(model.name for model in models)}, dict[object, str](), []
    for one in found:
        keys = [key for key in (one.identity, one.sha256 or hashes.get(one.identity)) if key and not one.trouble]
        here = next((model.name for model in models if is_same(one, model, keys)), "")
        same_as = next((first[key] for key in keys if key in first), "")
        name = here or _free_name(one, taken, numbers_of)
        taken.add(name)
        first |= {key: same_as or name for key in keys if key not in first}
        result.append(replace(one, name=name, adopted_as=here, same_as="" if here else same_as))
    return result


def is_same(found: Found, model: Known, keys: Sequence[object]) -> bool:
    """Is this installed model that file, as far as can be told without reading it?

    The keys are what is known of the file: its device and inode, and the sha256 that an app says it has.
    """
    if model.identity in keys or model.sha256 in keys:
        return True
    return not found.trouble and model.bytes == found.bytes and model.source == str(found.path.resolve())


def _free_name(found: Found, taken: set[str], numbers_of: dict[str, Iterator[int]]) -> str:
    try:
        plain = model_name(found.suggestion)
    except LocalchatError:
        plain = "model"
    more = [part.lower().replace(" ", "-") for part in (found.quant, found.app) if part and part != "unknown"]
    names = [plain, *(model_name(f"{plain[:150]}-{part}") for part in more)]
    numbers = numbers_of.setdefault(plain[:150], count(2))
    numbered = (f"{plain[:150]}-{number}" for number in numbers)
    return next(name for name in chain(names, numbered) if name not in taken)


def chosen(names: Sequence[str], found: Sequence[Found]) -> list[Found]:
    """Those of a name, of what the app calls it, or of the only beginning of a name. Raises LocalchatError."""
    picked: list[Found] = []
    for one in (_named(name, found) for name in names):
        if one not in picked:
            picked.append(one)
    return picked


def _named(name: str, found: Sequence[Found]) -> Found:
    wanted = name.lower()
    exact = [one for one in found if wanted in (one.name, one.title.lower())]
    near = exact or [one for one in found if one.name.startswith(wanted)]
    names = list(dict.fromkeys(one.name for one in near))
    if exact or len(names) == 1:
        return near[0]
    if near:
        raise LocalchatError(f"{name} could be {' or '.join(names[:5])}", "say which")
    raise LocalchatError(f"no app here has a model called {name}", "see what there is: localchat adopt")


def check(found: Found) -> None:
    """Raises BadFile where it cannot be adopted, AlreadyHere where it was."""
    if found.trouble:
        raise BadFile(f"{found.title} cannot be adopted: {found.trouble}", "choose another: localchat adopt")
    if found.adopted_as:
        raise AlreadyHere(found, found.adopted_as)


def adopt(found: Found, machine: Machine | None = None) -> Pull:
    """Install what another app has, as a pull of its file does.

    Raises LocalchatError, and then it is not here; AlreadyHere where it turns out to be the file of another model.
    """
    check(found)
    path, before = found.path.resolve(), known()
    entry = Entry(  # nothing of it is published: it carries the app's manner, and what the file is part of
        name=found.name, title=found.title, licence="", format="", package=str(path), stops=found.stops,
        system=found.system, sampling=found.sampling,
    )  # fmt: skip
    with closing(pull(Source(ModelFilePath(path), found.name, entry), Wish(), machine)) as events:
        for event in events:
            yield Ready(_settled(found, path, event.model, before)) if isinstance(event, Ready) else event


def _settled(found: Found, path: Path, model: Installed, before: Iterable[Known]) -> Installed:
    """The new model with its origin in its receipt. Raises LocalchatError where its bytes are not what they should be.

    The bytes are hashed as the file is installed, so that only now is known what they are.
    """
    sha256 = model.receipt.file_sha256
    if found.sha256 and sha256 != found.sha256:
        library.remove(model.name)
        raise BadFile(
            f"the file of {found.title} is not what {found.app} says it is: it hashes to {sha256[:12]}…",
            f"get it in {found.app} again",
        )
    if twin := next((one for one in before if one.sha256 == sha256 and one.name != model.name), None):
        library.remove(model.name)
        raise AlreadyHere(found, twin.name)
    kind = kind_of_link(path, model.path)
    note = f"adopted from {found.app}, which calls it {one_line(found.title)}: a {kind} to {path}"
    return library.record(replace(model.receipt, notes=(note, *found.notes, *model.receipt.notes)))


def broken() -> list[tuple[str, str]]:
    """The models that are references to files that are gone: their names, and where the files were."""
    links = (path for path in sorted(models_folder().glob("*/*.gguf")) if library.is_broken(path))
    return [(path.parent.name, str(path.readlink())) for path in links]
