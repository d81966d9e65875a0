"""Where things are kept, and the only way to make a path from a name that came from outside."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path, PurePosixPath

from localchat.errors import LocalchatError

PART_BYTES = 200
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"|?*\\]')


def home() -> Path:
    """The folder of everything that localchat keeps: `LOCALCHAT_HOME`, else the platform's data folder."""
    chosen = os.environ.get("LOCALCHAT_HOME")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError as error:
            raise LocalchatError(
                f"LOCALCHAT_HOME is {chosen}, whose user is not known", "set it to a folder"
            ) from error
    from platformdirs import user_data_path

    return user_data_path("localchat", appauthor=False)


def models_folder() -> Path:
    """One folder for each installed model, `models/NAME/`."""
    return private_folder(home() / "models")


def downloads_folder() -> Path:
    """Checkpoints that are being downloaded; what lies here is kept until it is converted."""
    return private_folder(home() / "downloads")


def logs_folder() -> Path:
    """llama.cpp's own words, one file for each engine."""
    return private_folder(home() / "logs")


def measured_folder() -> Path:
    """What was measured on this machine and is not measured again."""
    return private_folder(home() / "measured")


def sessions_folder() -> Path:
    """What was read of conversations, as llama.cpp keeps it."""
    return private_folder(home() / "sessions")


def history_file() -> Path:
    """The SQLite file of all conversations."""
    return private_folder(home()) / "history.db"


def config_file() -> Path:
    """The user's settings; need not exist."""
    return home() / "config.toml"


def private_folder(path: Path) -> Path:
    """The folder, made if need be, readable by its owner alone. Raises LocalchatError where it cannot be made."""
    try:
        for folder in reversed([path, *path.parents]):  # `parents=True` would make these with the usual rights
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LocalchatError(
            f"the folder {path} cannot be made: {error.strerror}", "set LOCALCHAT_HOME to a folder you can write to"
        ) from error
    return path


def is_safe_name(name: str) -> bool:
    """Is this one plain file name on every system: no separator, drive, reserved device or control character?"""
    return (
        0 < len(name.encode("utf-8", "replace")) <= PART_BYTES
        and name not in (".", "..")
        and not name.endswith((" ", "."))
        and not FORBIDDEN.search(name)
        and "/" not in name
        and not RESERVED.fullmatch(name)
    )


def safe_join(root: Path, name: str) -> Path:
    """`root/name` for a relative name from outside, which may have folders in it but never leaves the root.

    Raises LocalchatError for absolute names, drives, `..`, reserved names, and links that lead out of the root.
    """
    parts = PurePosixPath(name).parts  # a leading slash, a drive or a backslash is in a part, and no part may have it
    if not parts or not all(map(is_safe_name, parts)):
        raise LocalchatError(f"the file name {name!r} is not safe to use", "do not trust where it came from")
    path = root.joinpath(*parts)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)) or _is_loop(path):
        raise LocalchatError(f"the file name {name!r} leads out of its folder", "do not trust where it came from")
    return path


def _is_loop(path: Path) -> bool:
    """Do links lead in a circle? `realpath` does not say so."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def model_name(text: str) -> str:
    """A name to install a model under: lower case letters, digits, `.`, `-` and `_` of the given text."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.strip().lower()).strip("-.")[:PART_BYTES]
    if not is_safe_name(name):
        raise LocalchatError(f"{text!r} cannot be used as a model's name", "choose another with --name")
    return name
