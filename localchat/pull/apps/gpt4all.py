"""GPT4All: .gguf files in one folder, of the app or of its Python package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localchat.errors import BadFile
from localchat.files import read_bytes
from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.walk import is_file, model_files, whole_path

APP = "GPT4All"
SETTINGS_LIMIT_BYTES = 256 << 10
KEY = "modelPath="


def folders(place: Place) -> list[Path]:
    """The app's own folder, the one of its settings, and the package's."""
    data = place.cache if place.platform == "win32" else place.data  # it keeps models in the local part there
    config = place.config if place.platform == "win32" else place.home / ".config"
    chosen = _chosen(config / "nomic.ai/GPT4All.ini")
    return [data / "nomic.ai/GPT4All", *chosen, place.home / ".cache/gpt4all"]


def models_in(folder: Path) -> Iterator[Candidate]:
    """The model files below the folder."""
    return model_files(APP, folder)


def _chosen(file: Path) -> list[Path]:
    try:
        text = read_bytes(file, SETTINGS_LIMIT_BYTES).decode("utf-8", "replace") if is_file(file) else ""
    except BadFile:
        return []
    values = [line.removeprefix(KEY).strip().strip('"') for line in text.splitlines() if line.startswith(KEY)]
    return whole_path(values[0]) if values else []
