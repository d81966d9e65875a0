"""LM Studio: models/PUBLISHER/REPO/FILE.gguf in a folder of its own, or in one that its settings name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localchat.errors import BadFile
from localchat.files import read_bytes, read_json
from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.walk import is_file, model_files, whole_path

APP = "LM Studio"
POINTER = ".lmstudio-home-pointer"
POINTER_LIMIT_BYTES = 4096


def folders(place: Place) -> list[Path]:
    """Where its models may be: in its home of today, in its former one, and where its settings say."""
    homes = [place.home / ".lmstudio", place.home / ".cache/lm-studio", *_pointed(place.home / POINTER)]
    settings = [home / "settings.json" for home in (*homes, place.config / APP)]
    return [*(home / "models" for home in homes), *(path for file in settings for path in _chosen(file))]


def models_in(folder: Path) -> Iterator[Candidate]:
    """The model files below the folder."""
    return model_files(APP, folder)


def _pointed(file: Path) -> list[Path]:
    """The home that the user has moved it to."""
    try:
        text = read_bytes(file, POINTER_LIMIT_BYTES).decode("utf-8").strip() if is_file(file) else ""
    except (BadFile, UnicodeDecodeError):
        return []
    return whole_path(text)


def _chosen(file: Path) -> list[Path]:
    """The folder of downloads in its settings."""
    try:
        return whole_path(read_json(file).get("downloadsFolder")) if is_file(file) else []
    except BadFile:
        return []
