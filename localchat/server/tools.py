"""Tools of a request: told by the model's template, or else in the system message; called in JSON of a grammar."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localchat.errors import LocalchatError
from localchat.server.refusal import Refusal

CALLS_LIMIT = 8  # in one reply
DEPTH_LIMIT = 64
ROOT = re.compile(r"^root ::=", re.MULTILINE)
FREE = "root ::= calls | free?\nfree ::= [ \\t\\n]* [^\\[ \\t\\n] [^\\x00]*\n"
AUTO = "auto"
MISTRAL = "[AVAILABLE_TOOLS]"
DECODER, SEPARATOR = json.JSONDecoder(), re.compile(r"[\s,]*")
INTRODUCTION = (
    "You can call tools. To call one, answer with nothing but a JSON list of calls, such as "
    '[{"name": "the tool\'s name", "arguments": {}}]; what it returns comes with the next message. '
    "Answer in plain words where no tool is needed, and when you know what was asked. The tools are:"
)


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that the client can do for the model."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema of an object."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What may be called, and whether something must be."""

    tools: tuple[Tool, ...]
    must_call: bool = False
    several: bool = True
    """May one reply have more than one call?"""


@dataclass(frozen=True, slots=True)
class Call:
    """The model wants a tool to be used."""

    id: str
    name: str
    arguments: str
    """JSON."""


def chosen(tools: Sequence[Tool], choice: str, name: str = "", *, several: bool = True) -> Tools | None:
    """The tools that count where the choice is `auto`, `required`, `none`, or one by its name. Raises Refusal."""
    if choice == "none" or not tools:
        if choice in (AUTO, "none"):
            return None
        raise Refusal(400, "invalid_request", "a tool must be called and there are none", param="tools")
    if len({tool.name for tool in tools}) < len(tools):
        raise Refusal(400, "invalid_request", "two tools have the same name", param="tools")
    if not name:
        return Tools(tuple(tools), choice == "required", several)
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        raise Refusal(
            400, "invalid_request", "the tool that must be called is not among the tools", param="tool_choice"
        )
    return Tools(named, True, several=False)


def introduction(tools: Tools) -> str:
    """What the model is told of them."""
    facts = (
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in tools.tools
    )
    return "\n".join((INTRODUCTION, *(json.dumps(fact, ensure_ascii=False) for fact in facts)))


def is_told_by(template: str | None) -> bool:
    """Has this template a place for tools, in the form in which Mistral's models were trained to call them?"""
    return MISTRAL in (template or "")


def for_template(tools: Tools) -> tuple[Mapping[str, Any], ...]:
    """The tools as such a template takes them."""
    return tuple(
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools.tools
    )


def schema_of(tools: Tools) -> dict[str, Any]:
    """The JSON schema of a list of calls. Raises LocalchatError for parameters that are nested too deeply."""
    definitions = {str(number): _rebased(tool.parameters, number) for number, tool in enumerate(tools.tools)}
    kinds = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{number}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, tool in enumerate(tools.tools)
    ]
    return {
        "type": "array", "minItems": 1, "maxItems": CALLS_LIMIT if tools.several else 1,
        "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds}, "$defs": definitions,
    }  # fmt: skip


def with_free_text(grammar: str) -> str:
    """A grammar whose answers may also be any text that does not begin as a list does."""
    return FREE + ROOT.sub("calls ::=", grammar)


def may_be_calls(text: str) -> bool:
    """Can this beginning of a reply still become a list of calls?"""
    return text.lstrip()[:1] in ("", "[")


def calls_in(text: str, tools: Tools) -> list[Call]:
    """The calls in a reply, each once; none where it is something else. Of one that was cut, those that are whole."""
    names = {tool.name for tool in tools.tools}
    entries = _entries(text.strip())
    if not all(isinstance(entry, dict) and entry.get("name") in names for entry in entries):
        return []
    called = [(entry["name"], json.dumps(entry.get("arguments") or {}, ensure_ascii=False)) for entry in entries]
    return [Call(f"call_{secrets.token_hex(12)}", *one) for one in dict.fromkeys(called)]


def _entries(text: str) -> list[Any]:
    """The entries of a JSON list, which may be cut; none where something follows it."""
    found: list[Any] = []
    place = _skipped(text, 1) if text.startswith("[") else len(text)
    while place < len(text) and text[place] != "]":
        try:
            entry, place = DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            break  # it was cut here
        found.append(entry)
        place = _skipped(text, place)
    return [] if text[place + 1 :] and text[place] == "]" else found


def _skipped(text: str, place: int) -> int:
    found = SEPARATOR.match(text, place)
    return found.end() if found else place


def calls_text(calls: Sequence[tuple[str, str]]) -> str:
    """What the model has said when it called: names and arguments, which are JSON or nearly so."""
    return json.dumps([{"name": name, "arguments": _parsed(text)} for name, text in calls], ensure_ascii=False)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text


def _rebased(node: Any, number: int, depth: int = 0) -> Any:
    """A schema that lies in `$defs` now: what it refers to within itself lies there too."""
    if depth > DEPTH_LIMIT:
        raise LocalchatError("the parameters of a tool are nested too deeply", "use $defs and $ref")
    if isinstance(node, list):
        return [_rebased(part, number, depth + 1) for part in node]
    if not isinstance(node, Mapping):
        return node
    found = {key: _rebased(value, number, depth + 1) for key, value in node.items()}
    pointer = node.get("$ref")
    if isinstance(pointer, str) and pointer.startswith("#"):
        found["$ref"] = f"#/$defs/{number}{pointer[1:]}"
    return found
