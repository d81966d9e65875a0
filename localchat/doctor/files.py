"""What localchat keeps: may it be written, is it private, and can all of it be read?"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from localchat import library, settings
from localchat.doctor.finding import Finding, command, move_aside
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json
from localchat.gguf_file import read_header
from localchat.history.schema import MIGRATIONS
from localchat.plan.unused import unset_command
from localchat.text import one_line, size

FILES_LIMIT = 20_000
SET_HOME = '$env:LOCALCHAT_HOME="$HOME\\localchat"' if sys.platform == "win32" else "export LOCALCHAT_HOME=~/localchat"
OTHERS = 0o077


def check_home(home: Path) -> list[Finding]:
    """Can the folder of everything be written, and can nobody else read it?"""
    if not home.exists():
        parent = next((path for path in home.parents if path.exists()), home)
        if os.access(parent, os.W_OK | os.X_OK):
            return [Finding("home", "ok", f"{home} will be made when it is needed")]
        sentence = f"{home} cannot be made: {parent} cannot be written"
        return [Finding("home", "broken", sentence, SET_HOME)]
    if not home.is_dir():
        return [Finding("home", "broken", f"{home} is no folder", move_aside(home))]
    locked = next((path for path in _own(home) if not _is_writable(path) and path.exists()), None)
    if locked is not None:
        return [Finding("home", "broken", f"{locked} cannot be written", _unlock(home, locked))]
    if sys.platform != "win32" and home.stat().st_mode & OTHERS:
        sentence = f"other people of this machine can look into {home}"
        return [Finding("home", "note", sentence, command("chmod", "-R", "go-rwx", home))]
    return [Finding("home", "ok", f"{home} can be written, and read by you alone")]


def _own(home: Path) -> Iterator[Path]:
    """The folder and what is in it, as far as that was made by localchat: what links lead to is not."""
    found = (Path(folder) / name for folder, folders, files in os.walk(home) for name in (*folders, *files))
    return islice((path for path in (home, *found) if not path.is_symlink()), FILES_LIMIT)


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK | os.R_OK | (os.X_OK if path.is_dir() else 0))


def _unlock(home: Path, locked: Path) -> str:
    if sys.platform == "win32":
        return command("icacls", home, "/grant", f"{os.environ.get('USERNAME', '')}:F", "/t")
    if locked.stat().st_uid != os.getuid():
        return command("sudo", "chown", "-R", str(os.getuid()), home)
    return command("chmod", "-R", "u+rwX", home)


def check_downloads(folder: Path) -> list[Finding]:
    """What pulls that were stopped have left, which is only of use to those that go on with them."""
    left = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    if not left:
        return []
    sentence = (
        f"pulls that are not finished keep up to {size(left)} in {folder}; pull the same again to go on with them"
    )
    return [Finding("downloads", "note", sentence)]


def check_history(path: Path) -> list[Finding]:
    """Can the conversations be read? Nothing is changed: what opens them in earnest puts a damaged file aside."""
    if not path.exists():
        return [Finding("history", "ok", "no conversation has been kept yet")]
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            state = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        state, version = str(error), 0
    if state != "ok":
        return [Finding("history", "broken", f"{path} is damaged: {one_line(state)}", move_aside(path))]
    if version > len(MIGRATIONS):
        sentence = f"{path} was written by a newer localchat"
        return [Finding("history", "broken", sentence, "git pull && make chat")]
    return [Finding("history", "ok", f"{path} is sound")]


def check_settings(path: Path) -> list[Finding]:
    """Are the settings what they must be, in the file and in the environment?"""
    try:
        settings.load(path)
    except LocalchatError as error:
        return [Finding("settings", "broken", one_line(f"{error}; {error.hint}"), _mend(path))]
    return [Finding("settings", "ok", f"{path} is sound" if path.exists() else "the defaults are in force")]


def _mend(path: Path) -> str:
    """The environment is at fault where it is refused without the file."""
    try:
        settings.load(path.with_name("no-such-file.toml"))
    except LocalchatError as error:
        names = [name for name in settings.Settings.__dataclass_fields__ if f": {name} must be" in str(error)]
        return unset_command([f"LOCALCHAT_{name.upper()}" for name in names])
    return move_aside(path)


def check_models(home: Path) -> list[Finding]:
    """Are the files of all installed models there, as large as they were, and with a sound header?"""
    names = sorted(path.parent.name for path in (home / "models").glob(f"*/{library.RECEIPT}"))
    found = [finding for name in names if (finding := _model(home, name))]
    if not names:
        return [Finding("models", "ok", "none is installed; localchat catalog lists what there is")]
    return found or [Finding("models", "ok", f"{len(names)} installed, all files are there")]


def _model(home: Path, name: str) -> Finding | None:
    try:
        read_header(library.find(name).path)
    except LocalchatError as error:
        return Finding("models", "broken", one_line(f"{name}: {error}"), _get_again(home, name))
    return None


def _get_again(home: Path, name: str) -> str:
    """Pull it once more from where it came; without a receipt that says so, remove it."""
    try:
        source = read_json(home / "models" / name / library.RECEIPT).get("source")
    except BadFile:
        source = None
    if isinstance(source, str) and source and not source.startswith("-"):
        return one_line(command("localchat", "pull", source, "--name", name), 500)
    return one_line(command("localchat", "remove", name), 500)
