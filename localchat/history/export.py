"""Conversations as files: Markdown for people, JSON with all branches for programs and for `importing`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from localchat.errors import LocalchatError
from localchat.files import disk_error
from localchat.history.days import when
from localchat.history.saved import Heading, Saved
from localchat.history.store import History
from localchat.history.whole import Whole
from localchat.text import clean, one_line

Format = Literal["markdown", "json"]
ENDINGS: dict[Format, str] = {"markdown": "md", "json": "json"}
NAME, VERSION = "localchat-history", 1
NAME_CHARACTERS = 40
COPIES_LIMIT = 1000
STATES = {
    "writing": "interrupted", "length": "cut at a limit", "stopped": "stopped", "failed": "broken off",
}  # fmt: skip
SIGNS = re.compile(r"([\\`*_\[\]<>#&|~!])")


def exported(history: History, conversations: Iterable[int], form: Format) -> str:
    """The text of a file. Raises LocalchatError where one of the conversations is not there."""
    if form == "json":
        return json_text(history.whole(number) for number in conversations)
    headings = {heading.id: heading for heading in history.conversations()}
    pages = [markdown(_known(headings, number), history.messages(number)) for number in conversations]
    return "\n---\n\n".join(pages)


def _known(headings: dict[int, Heading], conversation: int) -> Heading:
    if conversation not in headings:
        raise LocalchatError(f"there is no conversation {conversation}", "list them: localchat history list")
    return headings[conversation]


def markdown(heading: Heading, messages: Iterable[Saved]) -> str:
    """The open branch to read. Every message is a quotation, so that nothing in it can pass for what is around it."""
    facts = [when(heading.updated_at), heading.model]
    lines = [f"# {_plain(heading.title)}", "", " · ".join(_plain(fact) for fact in facts if fact), ""]
    for message in messages:
        lines += [f"## {speaker(message)}", "", *_quoted(message.text), ""]
    return "\n".join(lines)


def speaker(message: Saved) -> str:
    """Who said it, and what there is to know of how."""
    notes = [*(["pinned"] if message.pinned else []), *filter(None, [STATES.get(message.state)])]
    name = {"system": "System prompt", "user": "You"}.get(message.role, _plain(message.model) or "Reply")
    return name + (f" ({', '.join(notes)})" if notes else "")


def _quoted(text: str) -> Iterator[str]:
    for line in clean(text).split("\n"):
        yield f"> {line}".rstrip()


def _plain(text: str) -> str:
    """A line that means nothing to Markdown."""
    return SIGNS.sub(r"\\\1", one_line(text))


def json_text(conversations: Iterable[Whole]) -> str:
    """The JSON of a file with these conversations."""
    value = {"format": NAME, "version": VERSION, "conversations": [facts(whole) for whole in conversations]}
    return json.dumps(value, indent=1) + "\n"


def facts(whole: Whole) -> dict[str, Any]:
    """A conversation as programs read it."""
    messages = [
        {
            "id": said.id, "parent": said.parent, "role": said.role, "text": said.text, "state": said.state,
            "model": said.model, "pinned": said.pinned, "open": said.is_open, "created_at": said.created_at,
        }
        for said in whole.messages
    ]  # fmt: skip
    return {
        "title": whole.title, "model": whole.model, "created_at": whole.created_at, "updated_at": whole.updated_at,
        "pinned": whole.pinned, "preset": whole.preset, "messages": messages,
    }  # fmt: skip


def file_name(title: str, form: Format) -> str:
    """A name for a file with this conversation: letters, digits and hyphens."""
    words = re.sub(r"[^\w]+|_+", "-", one_line(title)).strip("-")[:NAME_CHARACTERS].strip("-").lower()
    return f"localchat-{words or 'conversation'}.{ENDINGS[form]}"


def save(folder: Path, name: str, text: str) -> Path:
    """Write a private file that was not there, with a number in its name if need be; returns where it is."""
    stem, dot, ending = name.rpartition(".")
    names = [name, *(f"{stem}-{number}{dot}{ending}" for number in range(2, COPIES_LIMIT))]
    for path in map(folder.joinpath, names):
        try:
            write_new(path, text)
        except FileExistsError:
            continue
        return path
    raise LocalchatError(f"{folder} has {COPIES_LIMIT} files of this name", "move them to another folder")


def write_new(path: Path, text: str) -> None:
    """Write a private file. Raises FileExistsError where there is something, LocalchatError where it cannot be."""
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text, "utf-8", errors="replace", newline="\n")
    except FileExistsError:
        raise
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise disk_error(error, path) from error
