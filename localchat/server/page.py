"""The page of `/docs`: made of our own description of the API, with nothing from anywhere else."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>localchat</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code{font-family:ui-monospace,monospace}td{padding:.1rem 1rem .1rem 0;vertical-align:top}h2{margin-top:2rem}</style>
<h1>localchat</h1><p>A server on this machine that speaks OpenAI's and Anthropic's protocols. Give a client this address
as its base URL and the token that <code>localchat serve</code> tells as its API key. The same in full, for programs:
<a href="/openapi.json">openapi.json</a>.</p>"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(description: Mapping[str, Any]) -> str:
    """The routes of an OpenAPI description and the fields of what they take."""
    return HEAD + "".join(_routes(description))


def _routes(description: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in description["paths"].items():
        for method, facts in methods.items():
            yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
            yield f"<p>{html.escape(facts.get('description') or facts.get('summary', ''))}</p>"
            yield from _fields(facts, description)


def _fields(facts: Mapping[str, Any], description: Mapping[str, Any]) -> Iterator[str]:
    content = facts.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    schema = description.get("components", {}).get("schemas", {}).get(name, {})
    required = schema.get("required", ())
    rows = [
        f"<tr><td><code>{html.escape(field)}</code></td><td>{html.escape(_kind(kind))}</td>"
        f"<td>{'required' if field in required else ''}</td></tr>"
        for field, kind in schema.get("properties", {}).items()
    ]
    yield f"<table>{''.join(rows)}</table>" if rows else ""


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    return str(schema.get("const") or schema.get("type", ""))
