"""Conversations to and from files, as the history screen does it."""

from __future__ import annotations

from pathlib import Path

from localchat.errors import LocalchatError
from localchat.history.export import Format, exported, file_name, save
from localchat.history.importing import import_file
from localchat.history.store import Heading, History
from localchat.text import one_line

PATH_CHARACTERS = 4096


def export_to_folder(history: History, heading: Heading, form: Format) -> Path:
    """Write a conversation into the current folder, or where that cannot be the home folder; returns the file."""
    text, name = exported(history, [heading.id], form), file_name(heading.title, form)
    try:
        return save(Path.cwd(), name, text)
    except (LocalchatError, OSError):  # the current folder may be read-only, full, or gone
        return save(Path.home(), name, text)


def import_typed(history: History, typed: str) -> list[int]:
    """Add the conversations of the file that was typed. Raises LocalchatError."""
    try:
        path = Path(one_line(typed, PATH_CHARACTERS)).expanduser()
    except RuntimeError as error:
        raise LocalchatError("this user's folder is not known", "type the whole path") from error
    return import_file(history, path)
