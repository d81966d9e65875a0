"""Chat templates, rendered in Jinja's immutable sandbox: a template comes with a model and is not to be trusted."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localchat.conversation import Message
from localchat.errors import LocalchatError

SOURCE_LIMIT_CHARACTERS = 64 << 10
NO_TEMPLATE_HINT = "choose a model that was tuned for chat; this one only continues text"


class _Refused(Exception):
    """The template called raise_exception."""


# A template is a program of somebody else's: it may fail in any of these ways.
FAILURES = (
    _Refused, TemplateError, SyntaxError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError,
    NameError, AssertionError, RecursionError, MemoryError,
)  # fmt: skip


def render(template: str | None, messages: Sequence[Message], bos: str, eos: str) -> str:
    """The text that asks the model for the next message of the assistant.

    A system message that the template refuses or leaves out is folded into the first question, and neighbors of one
    role are merged where it wants them to alternate. Raises LocalchatError where nothing helps.
    """
    if template is None:
        raise LocalchatError("the model has no chat template, so it cannot be asked questions", NO_TEMPLATE_HINT)
    compiled = _compiled(template)
    first = _attempt(compiled, messages, bos, eos)
    if isinstance(first, str) and _shows_system(compiled, messages, bos, eos):
        return first
    second = _attempt(compiled, folded(messages), bos, eos)
    if isinstance(second, str):
        return second
    raise LocalchatError(
        f"the model's chat template fails on this conversation ({str(second) or type(second).__name__})",
        "the model is at fault: choose another",
    )


def folded(messages: Sequence[Message]) -> list[Message]:
    """The same conversation without a system role and with strictly alternating roles."""
    found: list[Message] = []
    for message in messages:
        role = "user" if message.role == "system" else message.role
        if found and found[-1].role == role:
            found[-1] = Message(role, f"{found[-1].text}\n\n{message.text}")
        else:
            found.append(Message(role, message.text))
    return found


def _attempt(template: Template, messages: Sequence[Message], bos: str, eos: str) -> str | Exception:
    """The text, or why the template gives none."""
    try:
        return template.render(
            messages=[{"role": message.role, "content": message.text} for message in messages],
            bos_token=bos, eos_token=eos, add_generation_prompt=True,
        )  # fmt: skip
    except FAILURES as error:
        return error


def _shows_system(template: Template, messages: Sequence[Message], bos: str, eos: str) -> bool:
    """Does a system message appear in what this template makes? Found out with one that nobody else would write."""
    if not any(message.role == "system" for message in messages):
        return True
    mark = secrets.token_hex(16)
    marked = [Message(message.role, mark) if message.role == "system" else message for message in messages]
    text = _attempt(template, marked, bos, eos)
    return isinstance(text, str) and mark in text


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    if len(source) > SOURCE_LIMIT_CHARACTERS:
        raise LocalchatError(
            "the model's chat template is longer than 64 KiB, which no real one is", "do not trust this model file"
        )
    try:
        return _environment().from_string(source)
    except FAILURES as error:
        raise LocalchatError(f"the model's chat template is broken: {error}", "choose another model") from error


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


def _to_json(value: Any, indent: int | None = None) -> str:
    """As transformers has it: Jinja's own escapes what HTML would trip over."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise _Refused(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
