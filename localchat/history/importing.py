"""Conversations from a JSON file of `export`, read with suspicion: all of them come in, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, get_args

from localchat.conversation import Ending, Role
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_bytes
from localchat.history.database import now
from localchat.history.export import NAME, VERSION
from localchat.history.store import TITLE_CHARACTERS, History
from localchat.history.whole import Said, Whole, check
from localchat.text import one_line

FILE_LIMIT_BYTES = 256 << 20
VALUES_LIMIT = 8_000_000  # each takes up to 300 bytes of memory and only two in the file
TEXT_LIMIT = 16 << 20
ID_LIMIT = 1 << 53
HINT = "export it again: localchat history export --all --format json"

Kind = TypeVar("Kind", str, int, bool, list[Any])


def import_file(history: History, path: Path) -> list[int]:
    """Add the conversations of a file; what was imported before comes once more. Raises LocalchatError, BadFile."""
    return history.add(conversations(read_bytes(path, FILE_LIMIT_BYTES), path.name))


def conversations(data: bytes, name: str) -> list[Whole]:
    """The conversations in the bytes of a file. Raises BadFile, which says what is wrong and where."""
    if sum(map(data.count, (b"[", b"{", b","))) > VALUES_LIMIT:
        raise BadFile(f"{name} has more values than any history", "do not trust where it came from")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} is not valid JSON ({one_line(str(error), 80)})", HINT) from error
    if not isinstance(value, dict) or value.get("format") != NAME:
        raise BadFile(f"{name} is no history of localchat", "give the file that localchat history export wrote")
    if value.get("version") != VERSION:
        raise BadFile(f"{name} was written by a newer localchat", "update localchat")
    return [_conversation(one, f"{name}: conversation {number}") for number, one in _each(value, "conversations", name)]


def _conversation(value: Any, where: str) -> Whole:
    facts = _object(value, where)
    messages = tuple(_message(one, f"{where}: message {number}") for number, one in _each(facts, "messages", where))
    if not messages:
        raise BadFile(f"{where} has no messages", HINT)
    created = _time(facts, "created_at", where, now())
    whole = Whole(
        title=one_line(_field(facts, "title", str, where), TITLE_CHARACTERS) or "(empty)",
        model=_field(facts, "model", str, where, ""),
        created_at=created,
        updated_at=_time(facts, "updated_at", where, created),
        pinned=_field(facts, "pinned", bool, where, False),
        preset=_field(facts, "preset", str, where, ""),
        messages=messages,
    )
    try:
        check(whole)
    except LocalchatError as error:
        raise BadFile(f"{where}: {error}", HINT) from error
    return whole


def _message(value: Any, where: str) -> Said:
    facts = _object(value, where)
    role: Role = _choice(facts, "role", get_args(Role), where)
    return Said(
        id=_id(facts, "id", where),
        parent=None if facts.get("parent") is None else _id(facts, "parent", where),
        role=role,
        text=_field(facts, "text", str, where),
        state=_state(facts, role, where),
        model=_field(facts, "model", str, where, ""),
        created_at=_time(facts, "created_at", where, now()),
        pinned=_field(facts, "pinned", bool, where, False),
        is_open=_field(facts, "open", bool, where, False),
    )


def _state(facts: Mapping[str, Any], role: Role, where: str) -> Any:
    """How a reply ended; one that was being written was interrupted."""
    if role != "assistant":
        return "said"
    ending = _choice(facts, "state", ("writing", *get_args(Ending)), where, "stop")
    return "stopped" if ending == "writing" else ending


def _each(facts: Mapping[str, Any], name: str, where: str) -> list[tuple[int, Any]]:
    return list(enumerate(_field(facts, name, list, where), start=1))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadFile(f"{where} is no object", HINT)
    return value


def _field(facts: Mapping[str, Any], name: str, kind: type[Kind], where: str, default: Kind | None = None) -> Kind:
    value = facts.get(name, default)
    if type(value) is not kind:  # True is no number here
        raise BadFile(f"{where}: {name} is missing or of the wrong kind", HINT)
    if isinstance(value, str) and len(value) > TEXT_LIMIT:
        raise BadFile(f"{where}: {name} is too long", HINT)
    return value


def _choice(facts: Mapping[str, Any], name: str, known: tuple[str, ...], where: str, default: str | None = None) -> Any:
    value = _field(facts, name, str, where, default)
    if value not in known:
        raise BadFile(f"{where}: {name} is none of {', '.join(known)}", HINT)
    return value


def _id(facts: Mapping[str, Any], name: str, where: str) -> int:
    value = _field(facts, name, int, where)
    if not 0 < value < ID_LIMIT:
        raise BadFile(f"{where}: {name} is out of range", HINT)
    return value


def _time(facts: Mapping[str, Any], name: str, where: str, default: str) -> str:
    """A time in the form that sorts."""
    try:
        time = datetime.fromisoformat(_field(facts, name, str, where, default))
        return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError, OSError) as error:
        raise BadFile(f"{where}: {name} is no time", HINT) from error
