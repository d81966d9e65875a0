"""Grammars for replies, from JSON schemas or from users: made and tried in a child process.

Both are programs of somebody else's, and neither the converter nor llama.cpp defends itself: a few lines can end the
process, hang it or fill its memory, and some do so only when a reply has come to a certain place. So the text is
looked at first, llama.cpp reads the grammar, and then it is walked through as a reply would: from the root, and from
each rule that contains itself or unfolds to much, because a trap that lies far from the root is such a rule. What
survives that within the limits may reach the engine. No walk can prove that a grammar is harmless, so there too
`Constraint` gives up where one token takes too long.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from localchat.child import ChildDied, Limits, answer, ask, limit
from localchat.errors import LocalchatError
from localchat.llama.bounds import WORDS, is_bounded
from localchat.llama.gbnf import check_shape
from localchat.llama.placement import Placement
from localchat.llama.vocabulary import NO_GPU
from localchat.text import one_line

SCHEMA_LIMIT_CHARACTERS = 64 << 10
DEPTH_LIMIT = 64
LIMITS = Limits(memory_bytes=3 << 30, cpu_seconds=6)
TIMEOUT_SECONDS = 60.0  # a busy machine, or a slow disk that the model file is read from
AT_ONCE = 2  # children, however many requests of a server want one: each may take all that LIMITS allows
KNOWN = 64  # grammars that are not tried again
HINT = "simplify it"
UNENFORCED = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems", "contains", "not", "if",
    "minProperties", "maxProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
)  # fmt: skip

_known: dict[tuple[str, str, str], str] = {}
_turns = threading.BoundedSemaphore(AT_ONCE)


def read_schema(text: str) -> dict[str, Any]:
    """The JSON schema in a text. Raises LocalchatError where it is none, too long or nested too deeply."""
    if len(text) > SCHEMA_LIMIT_CHARACTERS:
        raise LocalchatError(f"the schema is longer than {SCHEMA_LIMIT_CHARACTERS >> 10} KiB", HINT)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LocalchatError(f"the schema is not JSON: {one_line(str(error), 80)}", "correct the file") from error
    if not isinstance(schema, dict):
        raise LocalchatError("the schema is not a JSON object", 'begin with {"type": "object"}')
    _check_depth(schema)
    return schema


def grammar_of_schema(schema: dict[str, Any], model: Path | None = None) -> str:
    """The grammar, in GBNF, of the JSON texts that obey the schema, tried with the vocabulary of the model.

    What a grammar cannot say is left out: `unenforced` names it. Raises LocalchatError for what is no schema, refers
    to something outside of itself, or makes a grammar that is too large.
    """
    _check_depth(schema)
    text = json.dumps(schema)
    if len(text) > SCHEMA_LIMIT_CHARACTERS:
        raise LocalchatError(f"the schema is longer than {SCHEMA_LIMIT_CHARACTERS >> 10} KiB", HINT)
    return _tried("schema", text, str(model or ""))


def check_grammar(gbnf: str, model: Path | None = None) -> None:
    """Raises LocalchatError for a grammar that llama.cpp cannot read, crashes over, or hangs over while it is used."""
    check_shape(gbnf)
    _tried("grammar", gbnf, str(model or ""))


def unenforced(schema: dict[str, Any]) -> list[str]:
    """The words in a schema that its grammar cannot enforce."""
    found = set()
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            found |= node.keys() & (set(UNENFORCED) - (WORDS if is_bounded(node) else set()))
        if isinstance(node, dict | list):
            todo += node.values() if isinstance(node, dict) else node
    return sorted(found)


def _check_depth(schema: dict[str, Any]) -> None:
    level: list[Any] = [schema]
    for _ in range(DEPTH_LIMIT):
        parts = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [part for inner in parts for part in inner]
    if level:
        raise LocalchatError("the schema is nested too deeply", "use $defs and $ref")


def _tried(kind: str, text: str, model: str) -> str:
    """The grammar, once a child process has tried it; the same one is not tried again."""
    key = (kind, text, model)
    if (found := _known.get(key)) is None:
        with _turns:
            if (found := _known.get(key)) is None:  # else somebody else wanted the same at the same moment
                _known[key] = found = _asked(kind, text, model)
                for old in list(_known)[:-KNOWN]:
                    _known.pop(old, None)
    return found


def _asked(kind: str, text: str, model: str) -> str:
    question = {"kind": kind, "text": text, "model": model, "cpu_seconds": LIMITS.cpu_seconds}
    try:
        return str(ask("localchat.llama.grammar", question, TIMEOUT_SECONDS, NO_GPU)["grammar"])
    except ChildDied as error:
        raise LocalchatError(f"the {kind} cannot be used: {error}", HINT) from error


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    from localchat.llama.model import Model, start
    from localchat.llama.schema import schema_gbnf
    from localchat.llama.walk import read, walk

    limit(replace(LIMITS, cpu_seconds=question["cpu_seconds"]))
    text = question["text"]
    gbnf = schema_gbnf(json.loads(text)) if question["kind"] == "schema" else text
    check_shape(gbnf)
    start()
    read(gbnf)
    if question["model"]:
        walk(Model(Path(question["model"]), Placement(0, 1, 1, "f16"), part="vocabulary"), gbnf)
    return {"grammar": gbnf}


if __name__ == "__main__":
    answer(_reply)
