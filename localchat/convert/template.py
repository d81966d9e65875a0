"""Where a checkpoint keeps its chat template."""

from __future__ import annotations

from pathlib import Path

from localchat.convert.vocab import TOKENIZER_LIMIT_BYTES, optional_json
from localchat.errors import BadFile
from localchat.files import read_bytes

TEMPLATE_LIMIT_BYTES = 64 << 10


def read_template(folder: Path) -> str | None:
    """The chat template: of tokenizer_config.json (the default one of several), else of chat_template.jinja."""
    value = optional_json(folder / "tokenizer_config.json", TOKENIZER_LIMIT_BYTES).get("chat_template")
    if isinstance(value, list):
        named = {str(entry.get("name")): entry.get("template") for entry in value if isinstance(entry, dict)}
        value = named.get("default", next(iter(named.values()), None))
    if isinstance(value, str):
        if len(value) > TEMPLATE_LIMIT_BYTES:
            raise BadFile("tokenizer_config.json has an absurdly long chat template", "do not trust this checkpoint")
        return value
    path = folder / "chat_template.jinja"
    return read_bytes(path, TEMPLATE_LIMIT_BYTES).decode("utf-8", "replace") if path.is_file() else None
