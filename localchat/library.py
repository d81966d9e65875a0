"""Installed models: one folder each, `models/NAME/`, with the model file and a receipt of how it came to be.

A folder without a sound receipt does not exist as far as anybody is told: the receipt is written last.
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from localchat.errors import BadFile, LocalchatError
from localchat.files import PARTIAL, read_json, write_text
from localchat.paths import is_safe_name, models_folder, private_folder, safe_join

RECEIPT, USE = "receipt.json", "use.json"
TEXTS = ("name", "file", "file_sha256", "quant", "source", "system", "installed_at", "revision")
MAPS = ("inputs", "recipe", "versions", "sampling", "fingerprints")
FIELD_TYPES: dict[str, type] = {
    **dict.fromkeys(TEXTS, str), **dict.fromkeys(MAPS, dict), "file_bytes": int,
}  # fmt: skip
USE_TYPES: dict[str, type] = {"last_used_at": str, "tokens_per_second": float}


Verdict = Literal["passed", "noted", "repaired", "failed"]
"""How a check ended: `noted` is neither good nor bad, or could not be found out; `repaired` was put right."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something about a model that was looked at, and what was found, in words."""

    name: str
    verdict: Verdict
    detail: str

    @property
    def is_failed(self) -> bool:
        """Must the model not be used?"""
        return self.verdict == "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a model file is and what it was made from."""

    name: str
    file: str
    """Name of the model file beside the receipt."""
    file_bytes: int
    file_sha256: str
    quant: str
    source: str
    """A Hub repository, a folder, or a file."""
    commit: str | None
    inputs: Mapping[str, str]
    """sha256 of every file of the source that was read, by name."""
    recipe: Mapping[str, str]
    """Type of each tensor; empty where the file was not made here."""
    versions: Mapping[str, str]
    checks: tuple[Check, ...]
    """What was verified before the model was installed."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """What `verify` compares when the source is gone: sha256 of `strings`, of their `token_ids`, of the `template`."""
    notes: tuple[str, ...] = ()
    """What was repaired, left out or disagreed, a sentence each."""
    stops: tuple[str, ...] = ()
    """Texts that end a reply besides the model's own tokens."""
    system: str = ""
    """System message of conversations that have none of their own."""
    sampling: Mapping[str, float] = field(default_factory=dict)
    """What the catalog says the authors recommend, by the names of Sampling's fields."""
    installed_at: str = field(default_factory=lambda: now())
    revision: str = ""
    """The branch, tag or commit that was asked for, which updates keep to; empty for the newest."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that is ready to be used."""

    folder: Path
    receipt: Receipt
    last_used_at: str | None = None
    tokens_per_second: float | None = None

    @property
    def name(self) -> str:
        """The name it was installed under."""
        return self.receipt.name

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.receipt.file


def now() -> str:
    """The time as receipts write it: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def installed() -> list[Installed]:
    """All sound models, the last used first."""
    found = []
    for receipt in models_folder().glob(f"*/{RECEIPT}"):
        try:
            found.append(_open(receipt.parent))
        except BadFile:
            continue  # `find` says what is wrong with it when it is asked for
    return sorted(found, key=lambda model: (model.last_used_at or model.receipt.installed_at, model.name), reverse=True)


def find(name: str) -> Installed:
    """An installed model by its name. Raises LocalchatError with near names, BadFile where it is damaged."""
    if is_safe_name(name) and (models_folder() / name / RECEIPT).is_file():
        return _open(models_folder() / name)
    names = [model.name for model in installed()]
    near = difflib.get_close_matches(name, names, 3, 0.5) or names[:5]
    hint = f"installed are: {', '.join(near)}" if near else "install one: localchat pull SOURCE"
    raise LocalchatError(f"no model named {name!r} is installed", hint)


def folder_for(name: str) -> Path:
    """The folder in which a model of this name is put together."""
    return private_folder(safe_join(models_folder(), name))


def record(receipt: Receipt) -> Installed:
    """Write the receipt, the last step of an installation. Other model files in the folder then go."""
    folder = folder_for(receipt.name)
    write_text(folder / RECEIPT, json.dumps(asdict(receipt), indent=2, ensure_ascii=False) + "\n")
    for path in folder.glob("*.gguf"):
        if path.name != receipt.file:
            path.unlink()
    return _open(folder)


def discard_unfinished(name: str) -> None:
    """Delete what an installation left that did not come to its receipt."""
    folder = folder_for(name)
    for path in folder.glob(f"*{PARTIAL}"):
        path.unlink()
    if not (folder / RECEIPT).exists():
        shutil.rmtree(folder)


def remove(name: str) -> int:
    """Delete a model, a damaged one too; returns the bytes that this frees. A linked file stays where it came from."""
    try:
        path = find(name).path
        freed = path.stat().st_size if not path.is_symlink() and path.stat().st_nlink == 1 else 0
    except BadFile:
        freed = 0
    try:
        shutil.rmtree(models_folder() / name)
    except OSError as error:
        raise LocalchatError(
            f"{name} could not be removed: {error.strerror or error}", "close what uses it, then try again"
        ) from error
    return freed


def remember_use(model: Installed, tokens_per_second: float) -> None:
    """Keep when a model was last used and how fast it wrote here; 0 keeps the rate that was known."""
    rate = tokens_per_second or model.tokens_per_second
    write_text(model.folder / USE, json.dumps({"last_used_at": now(), "tokens_per_second": rate}) + "\n")


def is_broken(path: Path) -> bool:
    """Does it refer to a file that is gone, or on a disk that does not answer?"""
    try:
        path.stat()
    except OSError:
        return path.is_symlink()
    return False


def _open(folder: Path) -> Installed:
    receipt = _receipt(read_json(folder / RECEIPT), folder.name)
    path = safe_join(folder, receipt.file) if not (folder / receipt.file).is_symlink() else folder / receipt.file
    if is_broken(path):
        raise BadFile(
            f"{folder.name} refers to {path.readlink()}, which is gone",
            f"put it back, or run: localchat remove {folder.name}",
        )
    if not path.is_file() or path.stat().st_size != receipt.file_bytes:
        raise BadFile(f"the file of the model {folder.name} is missing or damaged", "pull it again, or remove it")
    use = _use(folder / USE)
    return Installed(folder, receipt, use.get("last_used_at"), use.get("tokens_per_second"))


def _receipt(raw: Mapping[str, Any], name: str) -> Receipt:
    """The receipt in parsed JSON; fields that a later version added are left out."""
    known = {key: value for key, value in raw.items() if key in Receipt.__dataclass_fields__}
    try:
        lists = {name: _texts(known.get(name, [])) for name in ("notes", "stops")}
        receipt = Receipt(**{**known, **lists, "checks": _checks(known["checks"])})
    except (TypeError, KeyError) as error:
        raise BadFile(f"the receipt of the model {name} is damaged", "pull it again") from error
    if not _is_sound(receipt):
        raise BadFile(f"the receipt of the model {name} is damaged", "pull it again")
    if receipt.name != name or not is_safe_name(receipt.file):
        raise BadFile(f"the receipt of the model {name} is not its own", "pull it again")
    return receipt


def _use(path: Path) -> dict[str, Any]:
    try:
        raw = read_json(path) if path.is_file() else {}
    except BadFile:
        return {}  # only a convenience is lost
    return {key: value for key, value in raw.items() if isinstance(value, USE_TYPES.get(key, ()))}


def _is_sound(receipt: Receipt) -> bool:
    has_commit = receipt.commit is None or isinstance(receipt.commit, str)
    if not has_commit or not all(isinstance(getattr(receipt, name), kind) for name, kind in FIELD_TYPES.items()):
        return False
    maps = (receipt.inputs, receipt.recipe, receipt.versions, receipt.fingerprints)
    return all(isinstance(text, str) for texts in maps for text in texts.values())


def _checks(value: Any) -> tuple[Check, ...]:
    """The checks in a list; receipts of the first versions name them only. Raises TypeError for anything else."""
    if not isinstance(value, list):
        raise TypeError("a list of checks is wanted")
    found = tuple(
        Check(entry, "passed", "")
        if isinstance(entry, str)
        else Check(entry["name"], entry["verdict"], entry["detail"])
        for entry in value
    )
    texts = [text for check in found for text in (check.name, check.verdict, check.detail)]
    if not all(isinstance(text, str) for text in texts) or not {c.verdict for c in found} <= set(get_args(Verdict)):
        raise TypeError("a check has a name, a verdict and a detail")
    return found


def _texts(value: Any) -> tuple[str, ...]:
    """The texts of a list. Raises TypeError for anything else."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError("a list of texts is wanted")
    return tuple(value)
