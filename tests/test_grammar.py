"""Grammars from schemas and users: what they allow, what is refused in a sentence, and that nothing hangs."""

from __future__ import annotations

import json
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sampled import accepted
from tiny import refused

from localchat.llama import grammar
from localchat.llama.gbnf import check_shape, suspects
from localchat.llama.grammar import LIMITS, check_grammar, grammar_of_schema, read_schema, unenforced
from localchat.llama.pattern import pattern_gbnf

Schema = dict[str, Any]
ONE = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

# The text of a schema


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[1]", "not a JSON object"), ('{"a":' * 9000, "not JSON"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"), (" " * (65 << 10), "longer"),
        ('{"const": ' + "[" * 100 + "]" * 100 + "}", "nested too deeply"),
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_no_schema_is_refused(text: str, words: str) -> None:
    with refused(words):
        read_schema(text)


def test_a_schema_is_read() -> None:
    assert read_schema(json.dumps(ONE)) == ONE


def test_what_a_grammar_cannot_say_is_named() -> None:
    schema = {"properties": {"a": {"minimum": 1, "anyOf": [{"not": {}}]}}, "uniqueItems": True}
    assert unenforced(schema) == ["minimum", "not", "uniqueItems"]
    assert unenforced(ONE) == []
    bounds = {"minimum": 1, "maximum": 2}
    assert unenforced({"type": ["null", "number"], "multipleOf": 3, **bounds}) == ["multipleOf"]
    assert unenforced({"type": "integer", "enum": [5], **bounds}) == unenforced(bounds) == ["maximum", "minimum"]


# The shape of a grammar


@pytest.mark.parametrize(
    ("gbnf", "words"),
    [
        ("", "empty"), (" \n", "empty"), ('root ::= "a\0"', "zero character"), ("x" * (257 << 10), "longer"),
        ("root ::= " + "(" * 101 + '"a"' + ")" * 101, "parentheses"), ("root ::= <[5]>", "names tokens"),
        ('root ::= "a" !<think>', "names tokens"), ('root ::= "a"{2001}', "2,000 times"),
        ('root ::= "a"{0, 99999999999999999999}', "2,000 times"), ("root ::= " + '"a"{2000} ' * 11, "too much"),
    ],
    ids=lambda text: text[:16],
)  # fmt: skip
def test_a_grammar_that_llama_cpp_must_not_see_is_refused(gbnf: str, words: str) -> None:
    with refused(words):
        check_shape(gbnf)


def test_what_stands_in_texts_and_comments_is_not_looked_at() -> None:
    check_shape('root ::= "<(((!" [<!\\]{3000}] # <[5]> {9999}\n' + "# (" * 200)


def test_only_rules_that_repeat_or_unfold_are_suspect() -> None:
    rules = ['root ::= "a" list tree x0', 'list ::= "," item', "item ::= [0-9]", 'tree ::= "(" leaf ")"']
    doubling = [f"x{i} ::= x{i + 1} x{i + 1}" for i in range(20)]
    gbnf = "\n".join([*rules, 'leaf ::= "." | tree', *doubling, 'x20 ::= "x"?'])
    found = suspects(gbnf)
    assert {"tree", "leaf", "root", "x0"} <= set(found)
    assert not {"list", "item", "x20"} & set(found)


# Patterns


@pytest.mark.parametrize(
    "pattern",
    ["^", "a", "^a", "a$", r"^a\$", "^(?=a)b$", r"^(a)\1$", "^a^b$", "^a*?$", "^a)|(b$", "^(a$", "^[z-a]$", r"^[\d-z]$",
     "^[a$", "^a{2}{3}$", r"^\p{L}$", "^(?P<n>a)$", "^{$"],
)  # fmt: skip
def test_a_pattern_that_is_no_plain_grammar_is_refused(pattern: str) -> None:
    with refused("pattern"):
        pattern_gbnf(pattern)


PATTERNS = [
    (r"^\d{3}-[a-z]+$", ["123-ab", "000-z"], ["12-a", "123-", "123-A"]),
    (r"^[\w.]+@(?:a|bc)\.de$", ["x.y@a.de", "_@bc.de"], ["x@ade", "x y@a.de"]),
    ("^[^a-y]?$", ["", "z", "ä", "😀"], ["b", "zz", '"', "\n", "\\"]),
    ("^.{2,3}$", ["ab", "a c", "😀😀"], ["a", "abcd", 'a"', "a\\"]),
    ("^[ -~]*$", ["", "a~ !"], ['a"b', "a\\b", "ä"]),
    (r'^"\\n$', ['\\"\\\\n'], ['"\\n', "n"]),
    (r"^[\^\]-]+\s$", ["^]- "], ["a "]),
]


@pytest.mark.model
@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS)
def test_a_pattern_allows_what_matches_and_is_valid_json(
    smollm2_file: Path, pattern: str, good: list[str], bad: list[str]
) -> None:
    gbnf = f"root ::= {pattern_gbnf(pattern)}"
    assert accepted(smollm2_file, gbnf, *good, *bad) == [True] * len(good) + [False] * len(bad)
    assert all(re.fullmatch(pattern, json.loads(f'"{text}"')) for text in good)


# Schemas

TREE = {
    "type": "object",
    "properties": {"v_1": {"$ref": "#/$defs/a_b"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["v_1", "kids"],
    "$defs": {"a_b": {"enum": [1, "x\n\"\\", "😀"]}},
}  # fmt: skip
SCHEMAS: list[tuple[Schema, list[Any], list[Any]]] = [
    (ONE, [{"a": 5}, {"a": -7}], [{}, {"a": "5"}, {"b": 1}, []]),
    ({}, [1, "a", [], {"x": None}, True], []),
    ({"title": "Anything"}, [1, "a"], []),
    ({"type": ["string", "null"], "maxLength": 2}, ["", "ab", None], ["abc", 1]),
    ({"type": "string", "minLength": 1, "format": "email"}, ["a", "ä😀"], [""]),
    ({"type": "string", "format": "date"}, ["2024-02-29"], ["2024", "x"]),
    ({"type": "array", "minItems": 2, "maxItems": 3}, [[1, "a"], [1, 2, 3]], [[], [1], [1, 2, 3, 4]]),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, [[]], [[None]]),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 1}, [[], [None]], [[None, None]]),
    ({"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}]}, [[1, "a"]], [[1], ["a", 1]]),
    ({"const": {"ä": 'a\\b"\n'}}, [{"ä": 'a\\b"\n'}], [{"ä": ""}]),
    ({"properties": {"größe": {}}, "required": ["größe"]}, [{"größe": 1}], [{}]),
    ({"properties": {"value": {"type": "null"}, "space": {}}}, [{"value": None, "space": 1}], [{"value": 1}]),
    (TREE, [{"v_1": 1, "kids": []}, {"v_1": 'x\n"\\', "kids": [{"v_1": "😀", "kids": []}]}], [{"v_1": 2, "kids": []}]),
    ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "boolean"}}}, [True], [1]),
    ({"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": ONE}}, [{"a": 1}], [{}]),
    ({"type": ["integer", "null"], "minimum": -5, "exclusiveMaximum": 120}, [-5, 0, 119, None], [-6, 120, 1.5, "1"]),
    ({"items": {"type": "number", "minimum": 0, "maximum": 1}, "type": "array"}, [[0.25], [1, 0]], [[-1], [1.1], [2]]),
]  # fmt: skip


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.model
@pytest.mark.parametrize(("schema", "good", "bad"), SCHEMAS)
def test_the_grammar_of_a_schema_allows_what_obeys_it(
    smollm2_file: Path, schema: Schema, good: list[Any], bad: list[Any]
) -> None:
    before = json.dumps(schema)
    gbnf = grammar_of_schema(schema, smollm2_file)
    texts = [written(value) for value in (*good, *bad)]
    assert accepted(smollm2_file, gbnf, *texts) == [True] * len(good) + [False] * len(bad)
    assert json.dumps(schema) == before


@pytest.mark.model
def test_a_text_that_is_no_json_is_never_allowed(smollm2_file: Path) -> None:
    gbnf = grammar_of_schema({"type": "string"}, smollm2_file)
    texts = ['"a\nb"', '"a\tb"', '"a"b"', '"a', '"\\x"', '"\x7f"', '"a" x']
    assert accepted(smollm2_file, gbnf, *texts) == [False] * len(texts)


@pytest.mark.model
@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "https://example.com/schema"}, "refers to"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "refers to"),
        ({"$ref": "#/$defs/missing"}, "has no"),
        ({"$ref": "#"}, "left recursion"),
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "string", "maxLength": 100_000}, "maxLength is 100000"),
        ({"type": "array", "items": {}, "minItems": -1}, "minItems is -1"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "larger than"),
        ({"type": "string", "minLength": 10**30}, "minLength"),
        ({"type": "string", "pattern": "^((a{2000}){2000}){2000}$"}, "grammar"),
        ({"type": "string", "pattern": "^" + "(" * 9000 + ")" * 9000 + "$"}, "parentheses"),
        ({"enum": ["\ud800"]}, "half a character"),
        ({"properties": {f"p{i}": {} for i in range(3000)}}, "cannot be used"),
        ({"properties": {"$ref": {}, "a": 5}}, "cannot be used"),
        ({"enum": ["x" * 70_000]}, "longer"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_schema_that_makes_no_grammar_is_refused_in_a_sentence(chatml_file: Path, schema: Schema, words: str) -> None:
    with refused(words):
        grammar_of_schema(schema, chatml_file)


# Grammars that are traps

TRAPPED_SECONDS = 2  # what is good is known in a fraction of it
TRAPS = {
    "left recursion that llama.cpp does not see": 'root ::= "{" a\na ::= b a "x" | "y"\nb ::= c\nc ::= "" | "z"',
    "twice as many ways with each character": 'root ::= [0-9] | "x" root a | "x" root b | "x"\na ::= "x"\nb ::= "x"',
    "too many ways behind the first word": 'root ::= "abc" a0\n'
    + "\n".join(f"a{i} ::= a{i + 1} a{i + 1}" for i in range(40))
    + '\na40 ::= "x"?',
}


@pytest.mark.model
@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_found_in_a_child_process_within_its_limits(
    chatml_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(grammar, "LIMITS", replace(LIMITS, cpu_seconds=TRAPPED_SECONDS))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with refused("cannot be used"):
        check_grammar(TRAPS[name], chatml_file)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 2 * TRAPPED_SECONDS  # of a processor: nobody looks at the clock


@pytest.mark.model
@pytest.mark.parametrize(
    ("gbnf", "words"),
    [
        ("root ::= [a-", "unexpected end of input"), ('start ::= "a"', "'root'"), ("root ::= other", "other"),
        ('root ::= root "a" | "b"', "left recursion"), ("just words", "::="), ('root ::= "\\q"', "escape"),
    ],
)  # fmt: skip
def test_a_grammar_with_a_mistake_is_refused_with_llama_cpps_reason(chatml_file: Path, gbnf: str, words: str) -> None:
    with refused(words):
        check_grammar(gbnf, chatml_file)
    with refused(words):
        check_grammar(gbnf)


@pytest.mark.model
def test_a_usual_grammar_is_taken(chatml_file: Path) -> None:
    check_grammar('root ::= "yes" | "no" | list\nlist ::= "- " [^\\n]+ ("\\n" list)?', chatml_file)
