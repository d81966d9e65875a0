"""What other apps have, as a page and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from localchat.printing import print_table, say
from localchat.pull.adopt import broken
from localchat.pull.apps.found import Found
from localchat.text import counted, one_line, size

HIDDEN = ("identity", "suggestion")
TITLE_LIMIT = 40
ADOPTED, SAME = "✓", "="
NOTHING = "No app that is known has a model here. Look in another folder: localchat adopt --from FOLDER"
THINGS = {"part": "later part", "vocabulary": "file without weights", "other": "other file"}


def found_facts(found: Found) -> dict[str, Any]:
    """A file of another app as programs read it."""
    return {key: value for key, value in asdict(found).items() if key not in HIDDEN} | {"path": str(found.path)}


def print_found(found: Sequence[Found]) -> None:
    """The models as a table; then, on standard error, what cannot be adopted, and what to type next."""
    models = [one for one in found if not one.trouble]
    if models:
        first = {one.identity: number for number, one in reversed([*enumerate(models)])}
        rows = [_row(one, first[one.identity] < number) for number, one in enumerate(models)]
        print_table(("", "App", "Type", "Size", "On disk", "Name"), rows, right=(3, 4))
    for line in (*_troubles(found), *_broken()):
        say(line)
    say(_summary(models) if models else NOTHING)


def _row(one: Found, is_counted: bool) -> tuple[str, ...]:
    """A line of the table; what the disk holds only once has its size there only once."""
    mark = ADOPTED if one.adopted_as else SAME if one.same_as else ""
    name = f"{one.name} ← {one.title}" if one.adopted_as else one.name
    return mark, one.app, one.quant, size(one.bytes), "" if is_counted else size(one.disk_bytes), name


def disk_bytes(found: Iterable[Found]) -> int:
    """What they take together; hard links to one file are counted once."""
    return sum({one.identity: one.disk_bytes for one in found}.values())


def _troubles(found: Sequence[Found]) -> Iterator[str]:
    """Models that cannot be adopted, with why, and a count of what is no model at all."""
    for one in found:
        if one.trouble and one.kind in ("model", "damaged"):
            yield f"✗ {_ending(one.title)} ({one.app}): {one_line(one.trouble, 300)}"
    others = Counter(one.kind for one in found if one.kind not in ("model", "damaged"))
    if others:
        words = (counted(count, THINGS.get(kind, kind)) for kind, count in sorted(others.items()))
        yield f"No models: {', '.join(words)}."


def _ending(title: str) -> str:
    """The last part of a long title, which says most."""
    return one_line(title if len(title) <= TITLE_LIMIT else f"…{title[1 - TITLE_LIMIT :]}", TITLE_LIMIT)


def _broken() -> Iterator[str]:
    for name, path in broken():
        yield f"✗ {one_line(name)} refers to {one_line(path)}, which is gone; remove it: localchat remove {name}"


def _summary(models: Sequence[Found]) -> str:
    here, same = sum(bool(one.adopted_as) for one in models), sum(bool(one.same_as) for one in models)
    parts = [f"{counted(len(models), 'model')}, {size(disk_bytes(models))} on the disk"]
    parts += [f"{ADOPTED} {here} adopted"] if here else []
    parts += [f"{SAME} {same} the same file as one above"] if same else []
    return f"{'; '.join(parts)}.\nAdopt without copying: localchat adopt NAME, or --all"
