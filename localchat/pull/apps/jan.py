"""Jan: a model.yml for each model, which says where its file is, below a folder of data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_bytes, read_json
from localchat.paths import is_safe_name
from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.manner import manner_of
from localchat.pull.apps.walk import SUFFIX, files_below, is_file, is_folder, model_files, whole_path

APP = "Jan"
MODEL_FILE = "model.yml"
MODEL_LIMIT_BYTES = 64 << 10
KEYS = ("model_path", "name", "stop", "files", "model_sha256")
SAMPLING = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "typ_p": "typical_p",
    "repeat_penalty": "repeat_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}  # fmt: skip
LINE = re.compile(r"([a-z_0-9]+):(?:\s+(.*))?", re.ASCII)
ITEM = re.compile(r"\s*-\s+(.*)")
SHA256 = re.compile(r"[0-9a-f]{64}")


def folders(place: Place) -> list[Path]:
    """Its folder of data today, its former one, and the one that its settings name."""
    own = place.data / "Jan"
    settings = [own / "settings.json", place.config / "Jan/settings.json"]
    return [place.home / "jan", own / "data", *(path for file in settings for path in _chosen(file))]


def is_one(folder: Path) -> bool:
    """Is this Jan's folder of data?"""
    return is_folder(folder / "llamacpp/models")


def models_in(folder: Path) -> Iterator[Candidate]:
    """The models that have a model.yml, then the model files that have none."""
    for models in (folder / "llamacpp/models", folder / "models"):
        claimed: set[str] = set()
        for path in files_below(models):
            if path.name == MODEL_FILE and is_file(path):
                yield (found := _model(folder, models, path))
                claimed.add(os.path.realpath(found.path))
        yield from (one for one in model_files(APP, models) if os.path.realpath(one.path) not in claimed)


def facts_of(text: str) -> dict[str, Any]:
    """The facts of a model.yml that count here: numbers, texts, and lists of texts, at its first level.

    A reader of whole YAML would follow aliases, of which a small file can make a huge one.
    """
    found: dict[str, Any] = {}
    key = ""
    for line in text.splitlines():
        if match := LINE.fullmatch(line):
            key = match[1]
            if key in KEYS or key in SAMPLING:
                found[key] = _value(match[2] or "")
        elif (item := ITEM.fullmatch(line)) and key in KEYS and (found[key] == "" or isinstance(found[key], list)):
            found[key] = [*(found[key] or []), _value(item[1])]
    return found


def _value(text: str) -> Any:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    text = text.partition(" #")[0].strip()
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return text


def _model(data: Path, models: Path, path: Path) -> Candidate:
    title = path.parent.relative_to(models).as_posix()
    try:
        facts = facts_of(read_bytes(path, MODEL_LIMIT_BYTES).decode("utf-8"))
        file = _file(data, facts)
    except UnicodeDecodeError:
        return Candidate(APP, title, path, trouble=f"its {MODEL_FILE} is no text")
    except LocalchatError as error:
        return Candidate(APP, title, path, trouble=str(error))
    sha256 = str(facts.get("model_sha256", "")).lower()
    known = {key: value for key, value in facts.items() if key == "stop" or key in SAMPLING}
    manner = manner_of(APP, known, SAMPLING)
    return Candidate(
        APP, title, file, PurePosixPath(title).name, sha256 if SHA256.fullmatch(sha256) else "",
        manner.stops, "", manner.sampling, manner.notes,
    )  # fmt: skip


def _file(data: Path, facts: Mapping[str, Any]) -> Path:
    """The model file: below the folder of data, or a whole path where the user has imported it. Raises BadFile."""
    listed = facts.get("files")
    name = facts.get("model_path") or (listed[0] if isinstance(listed, list) and listed else "")
    if not isinstance(name, str) or not name.lower().endswith(SUFFIX) or "\0" in name:
        raise BadFile(f"its {MODEL_FILE} names no {SUFFIX} file", "import it in Jan again")
    if Path(name).is_absolute():
        return Path(name)
    if not all(map(is_safe_name, PurePosixPath(name).parts)):
        raise BadFile(f"its {MODEL_FILE} names a file that is not safe to use", "do not trust where it came from")
    return data / name


def _chosen(file: Path) -> list[Path]:
    try:
        return whole_path(read_json(file).get("data_folder")) if is_file(file) else []
    except BadFile:
        return []
