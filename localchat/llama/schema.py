"""JSON schema to GBNF: llama-cpp-python's converter, with what it gets wrong put right.

Its faults: a text with a line end, a backslash or an emoji in `const`, `enum` or a name makes a grammar of what is no
JSON or cannot be written; strings may hold raw line ends; `{}` means an object only; a list of types forgets all else;
`$ref` goes by the last part of a path alone, and cannot name the whole schema; long repetitions are nested so deeply
that llama.cpp's parser ends the process; numbers have no bounds.
Used in the child process of `llama.grammar` only: a schema may crash it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from llama_cpp.llama_grammar import PRIMITIVE_RULES, RESERVED_NAMES, STRING_FORMAT_RULES, BuiltinRule, SchemaConverter

from localchat.errors import LocalchatError
from localchat.llama.bounds import INSTEAD, WORDS, is_bounded, number_gbnf
from localchat.llama.gbnf import REPEATS_LIMIT
from localchat.llama.pattern import pattern_gbnf

CHARACTER = r'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})'
MEANINGS = frozenset(
    ("$ref", "oneOf", "anyOf", "allOf", "type", "const", "enum", "properties", "additionalProperties", "items",
     "prefixItems", "pattern", "format", "minLength", "maxLength", "minItems", "maxItems", "required")
)  # fmt: skip
STRINGS = frozenset((*STRING_FORMAT_RULES, "uuid-string", *(f"uuid{version}-string" for version in range(1, 6))))
DEFINITIONS = ("$defs", "definitions")


def schema_gbnf(schema: dict[str, Any]) -> str:
    """The grammar of all JSON texts that obey the schema. Raises LocalchatError or nearly anything else."""
    converter = Converter(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    references = References(schema)
    converter._refs.update(references.targets)
    converter.visit(references.root, "")
    return str(converter.format_grammar())


class References:
    """A schema whose `$ref`s go by names that nobody else uses, and what they name."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._names: dict[str, str] = {}
        self.targets: dict[str, Any] = {}
        self.root = self._moved({key: value for key, value in schema.items() if key not in DEFINITIONS})

    def _moved(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._moved(part) for part in node]
        if not isinstance(node, dict):
            return node
        if isinstance(pointer := node.get("$ref"), str):
            return {"$ref": self._name(pointer)}
        return {key: self._moved(value) for key, value in node.items()}

    def _name(self, pointer: str) -> str:
        if pointer not in self._names:
            self._names[pointer] = name = f"-ref-{len(self._names)}"
            self.targets[name] = self._moved(self._target(pointer))
        return self._names[pointer]

    def _target(self, pointer: str) -> Any:
        if pointer != "#" and not pointer.startswith("#/"):
            raise LocalchatError(f"the schema refers to {pointer[:80]!r}", "copy what it refers to into $defs")
        node: Any = self._schema
        for part in unquote(pointer).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key) if isinstance(node, list) else key]
            except (LookupError, TypeError, ValueError) as error:
                raise LocalchatError(f"the schema has no {pointer[:80]!r}", "correct the $ref") from error
        return {key: value for key, value in node.items() if key not in DEFINITIONS} if node is self._schema else node


class Converter(SchemaConverter):  # type: ignore[misc]
    """The converter, but for what it gets wrong. It calls these methods itself."""

    def visit(self, schema: Any, name: str) -> str:
        """The name of the rule of a part of the schema."""
        if schema is True or (isinstance(schema, dict) and not schema.keys() & MEANINGS):
            return str(self._add_rule(_rule_name(name), self._add_primitive("value", PRIMITIVE_RULES["value"])))
        kind = schema.get("type")
        if isinstance(kind, list) and not schema.keys() & INSTEAD:
            return self.visit({"anyOf": [{**schema, "type": each} for each in kind]}, name)
        if schema.keys() & WORDS and is_bounded(schema):
            numbers = number_gbnf(schema, is_whole=kind == "integer")
            return str(self._add_rule(_rule_name(name), f"({numbers}) space"))
        makers: dict[str | None, Callable[[dict[str, Any], str], str]] = {"array": self._array, "string": self._string}
        is_special = schema.keys() & {*INSTEAD, "pattern"} or f"{schema.get('format')}-string" in STRINGS
        if kind in makers and not is_special:
            return makers[kind](schema, name)
        return str(super().visit(schema, name))

    def _array(self, schema: dict[str, Any], name: str) -> str:
        if isinstance(schema.get("items"), list) or schema.get("prefixItems"):
            return str(super().visit(schema, name))
        item = self.visit(schema.get("items", True), f"{name}{'-' if name else ''}item")
        more = self._add_rule(f"{name}-more", f'"," space {item}')
        least, most = _bounds(schema, "minItems", "maxItems")
        rest = f"{item} {more}{_repeats(max(least - 1, 0), most and most - 1)}"
        content = "" if most == 0 else f"({rest})?" if least == 0 else rest
        return str(self._add_rule(_rule_name(name), f'"[" space {content} "]" space'))

    def _string(self, schema: dict[str, Any], name: str) -> str:
        character = self._add_primitive("char", PRIMITIVE_RULES["char"])
        repeats = _repeats(*_bounds(schema, "minLength", "maxLength"))
        return str(self._add_rule(_rule_name(name), rf'"\"" {character}{repeats} "\"" space'))

    def _visit_pattern(self, pattern: str, name: str) -> str:
        return str(self._add_rule(name, rf'"\"" {pattern_gbnf(pattern)} "\"" space'))

    def _format_literal(self, literal: str) -> str:
        """A JSON text as a text of GBNF."""
        text = json.dumps(json.loads(literal), ensure_ascii=False)
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def _add_primitive(self, name: str, rule: BuiltinRule) -> str:
        is_character = rule is PRIMITIVE_RULES["char"]
        return str(super()._add_primitive(name, BuiltinRule(CHARACTER) if is_character else rule))


def _rule_name(name: str) -> str:
    """What the converter calls the rule of this part: its own names of rules are not taken from it."""
    return f"{name}-" if name in RESERVED_NAMES else name or "root"


def _bounds(schema: dict[str, Any], low: str, high: str) -> tuple[int, int | None]:
    least, most = int(schema.get(low, 0)), schema.get(high)
    for name, count in ((low, least), (high, most or 0)):
        if not 0 <= count <= REPEATS_LIMIT:
            raise LocalchatError(f"{name} is {count} in the schema", f"a grammar can count from 0 to {REPEATS_LIMIT:,}")
    if most is not None and most < least:
        raise LocalchatError(f"{low} is larger than {high} in the schema", "correct one of them")
    return least, None if most is None else int(most)


def _repeats(least: int, most: int | None) -> str:
    return "*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}"
