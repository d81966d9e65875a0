"""llama.cpp's own downloads: OWNER_REPO_FILE.gguf in one folder, with manifest=OWNER=REPO=TAG.json beside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.walk import SUFFIX, files_below, suggested

APP = "llama.cpp"
MANIFEST = re.compile(r"manifest=([^=]+)=([^=]+)=[^=]*\.json")
REPO = re.compile(r"[^_]+_.*?-gguf_(?=.)", re.IGNORECASE)


def folders(place: Place) -> list[Path]:
    """Where it keeps what it downloads."""
    return [place.named("LLAMA_CACHE") or place.cache / "llama.cpp"]


def models_in(folder: Path) -> Iterator[Candidate]:
    """The model files below the folder."""
    paths = list(files_below(folder))
    repos = [f"{match[1]}_{match[2]}_" for path in paths if (match := MANIFEST.fullmatch(path.name))]
    for path in paths:
        if path.suffix.lower() == SUFFIX:
            name = file_name(path.name, repos)
            yield Candidate(APP, path.name, path, suggested(Path(name)))


def file_name(name: str, repos: Sequence[str]) -> str:
    """The name that the file has in its repository, if it can be told: owners and repositories may have `_` too."""
    for repo in sorted(repos, key=len, reverse=True):
        if name.startswith(repo) and len(name) > len(repo) + len(SUFFIX):
            return name.removeprefix(repo)
    return REPO.sub("", name, count=1)
