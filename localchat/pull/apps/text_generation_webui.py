"""text-generation-webui: models below the folder it was unpacked to, which only the user knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.walk import is_folder, model_files

APP = "TextGen"
NAME = "text-generation-webui"
MODELS = "user_data/models"


def folders(place: Place) -> list[Path]:
    """Where many have it; another one is named with --from."""
    return [place.home / NAME]


def is_one(folder: Path) -> bool:
    """Is this the folder it was unpacked to?"""
    return is_folder(folder / MODELS) or (folder.name == NAME and is_folder(folder / "models"))


def models_in(folder: Path) -> Iterator[Candidate]:
    """The model files of its own folder of today and of its former one."""
    for models in (folder / MODELS, folder / "models"):
        yield from model_files(APP, models)
