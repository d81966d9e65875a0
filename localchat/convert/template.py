"""Where a checkpoint keeps its chat templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from localchat.convert.tokenizer.tokenizer_files import CONFIG_LIMIT_BYTES, optional_json
from localchat.errors import BadFile
from localchat.files import read_bytes

TEMPLATE_LIMIT_BYTES = 64 << 10
NAMED_LIMIT = 32
NAME_LIMIT_CHARACTERS = 64
CONFIG, JINJA, JSON, MORE = (
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)
HINT = "do not trust this checkpoint"

Named = dict[str, str]


@dataclass(frozen=True, slots=True)
class Templates:
    """The chat template, and others that authors give for other uses (tools, retrieval) by name."""

    default: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    """The file that the default was read from; empty where there is none."""
    notes: tuple[str, ...] = ()


def read_templates(folder: Path) -> Templates:
    """The chat templates of a checkpoint folder: of chat_template.jinja, else tokenizer_config.json, else
    chat_template.json, as transformers reads them.

    llama.cpp's converter prefers tokenizer_config.json; where the two differ, a note says so. Raises BadFile for a
    template that is too long or no text, and for more templates than anyone publishes.
    """
    places = {
        JINJA: _jinja(folder),
        CONFIG: _value(optional_json(folder / CONFIG, CONFIG_LIMIT_BYTES).get("chat_template"), CONFIG),
        JSON: _value(optional_json(folder / JSON).get("chat_template"), JSON),
    }
    found = [(source, named) for source, named in places.items() if named]
    if not found:
        return Templates()
    source, named = found[0]
    name = "default" if "default" in named else next(iter(named))
    notes = [] if name == "default" else [f"{source} has no default template; the one named {name!r} is taken for it"]
    notes += [
        f"{source} and {other} have different chat templates; the one in {source} counts"
        for other, rest in found[1:]
        if "default" in rest and rest["default"] != named[name]
    ]
    others = {key: text for key, text in named.items() if key != "default"}
    return Templates(named[name], others, source, tuple(notes))


def _jinja(folder: Path) -> Named:
    """The templates that are files of their own."""
    path = folder / JINJA
    more = sorted(islice((folder / MORE).glob("*.jinja"), NAMED_LIMIT + 1)) if (folder / MORE).is_dir() else []
    entries = [("default", path)] if path.is_file() else []
    entries += [(file.stem, file) for file in more if file.is_file()]
    return _checked(((name, _text(file)) for name, file in entries), JINJA)


def _text(path: Path) -> str:
    return read_bytes(path, TEMPLATE_LIMIT_BYTES).decode("utf-8", "replace")


def _value(value: Any, source: str) -> Named:
    """The templates in a JSON file: one text, or a list of objects with a name and a template."""
    if isinstance(value, str):
        return _checked(iter([("default", value)]), source)
    entries = value if isinstance(value, list) else []
    return _checked(
        ((entry.get("name"), entry.get("template")) for entry in entries if isinstance(entry, dict)), source
    )


def _checked(entries: Iterator[tuple[Any, Any]], source: str) -> Named:
    """Names become part of a key in the model file, so they are written as gguf's writer does: letters and digits."""
    found: Named = {}
    for name, text in entries:
        if not isinstance(text, str) or not text:
            continue
        if len(text) > TEMPLATE_LIMIT_BYTES:
            raise BadFile(f"{source} has an absurdly long chat template", HINT)
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            raise BadFile(f"{source} has a chat template that is no text", HINT)
        plain = re.sub("[^A-Za-z0-9]", "_", str(name))[:NAME_LIMIT_CHARACTERS]
        found.setdefault(plain, text)
        if len(found) > NAMED_LIMIT:
            raise BadFile(f"{source} has more than {NAMED_LIMIT} chat templates", HINT)
    return found
