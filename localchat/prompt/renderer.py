"""Renders chat templates in Jinja's immutable sandbox: `python -m localchat.prompt.renderer`, the child of `template`.

The sandbox keeps a template from running code. That it does not run for ever or fill memory is up to the limits of
this process, which is why it is one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localchat.child import Limits, serve
from localchat.conversation import Message
from localchat.errors import LocalchatError
from localchat.prompt.folding import folded
from localchat.text import one_line

LIMITS = Limits(memory_bytes=512 << 20, cpu_seconds=2)
WRITTEN_LIMIT_BYTES = 8 << 20  # beyond the messages themselves
REASON_CHARACTERS = 200


class _Refused(Exception):
    """The template called raise_exception."""


class _Endless(Exception):
    """The template wrote more than any prompt needs."""


# A template is a program of somebody else's: it may fail in any of these ways. A MemoryError ends this process.
FAILURES = (
    _Refused, _Endless, TemplateError, SyntaxError, TypeError, ValueError, LookupError, ArithmeticError,
    AttributeError, NameError, AssertionError, RuntimeError,
)  # fmt: skip


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    messages = [Message(role, text) for role, text in question["messages"]]
    words: dict[str, Any] = {"bos_token": question["bos"], "eos_token": question["eos"]}
    words |= {"tools": question["tools"]} if question["tools"] else {}
    return {"text": _rendered(_compiled(question["template"]), messages, words)}


def _rendered(template: Template, messages: Sequence[Message], words: Mapping[str, Any]) -> str:
    first = _attempt(template, messages, words)
    if isinstance(first, str) and _shows_system(template, messages, words):
        return first
    second = _attempt(template, folded(messages), words)
    if isinstance(second, str):
        return second
    raise LocalchatError(
        f"the model's chat template fails on this conversation ({_reason(second)})",
        "the model is at fault: choose another",
    )


def _attempt(template: Template, messages: Sequence[Message], words: Mapping[str, Any]) -> str | Exception:
    """The text, or why the template gives none."""
    room = WRITTEN_LIMIT_BYTES + sum(_size(message.text) for message in messages)
    said = [{"role": message.role, "content": message.text} for message in messages]
    pieces: list[str] = []
    try:
        for piece in template.generate(messages=said, add_generation_prompt=True, **words):
            pieces.append(piece)
            room -= _size(piece)
            if room < 0:
                raise _Endless(f"it writes more than {WRITTEN_LIMIT_BYTES >> 20} MiB")
    except FAILURES as error:
        return error
    return "".join(pieces)


def _shows_system(template: Template, messages: Sequence[Message], words: Mapping[str, Any]) -> bool:
    """Does a system message appear in what this template makes? Found out with one that nobody else would write."""
    if not any(message.role == "system" for message in messages):
        return True
    mark = os.urandom(16).hex()
    marked = [Message(message.role, mark) if message.role == "system" else message for message in messages]
    text = _attempt(template, marked, words)
    return isinstance(text, str) and mark in text


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    try:
        return _environment().from_string(source)
    except FAILURES as error:
        raise LocalchatError(
            f"the model's chat template is broken: {_reason(error)}", "choose another model"
        ) from error


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up for chat templates, without the helpers that only waste memory."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    for name in ("lipsum", "cycler", "joiner"):
        del environment.globals[name]
    helpers: Mapping[str, Any] = {"raise_exception": _refuse, "strftime_now": _now}
    environment.globals.update(helpers)
    environment.filters["tojson"] = _to_json
    return environment


def _reason(error: Exception) -> str:
    """What went wrong, on one line. The template chose the words, or what is in them."""
    try:
        return one_line(str(error), REASON_CHARACTERS) or type(error).__name__
    except FAILURES:
        return type(error).__name__


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _to_json(value: Any, indent: int | None = None) -> str:
    """As transformers has it: Jinja's own escapes what HTML would trip over."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise _Refused(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


if __name__ == "__main__":
    serve(_reply, LIMITS)
