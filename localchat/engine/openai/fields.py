"""The names that OpenAI's API and those who extend it have for things, and ours: each is translated here, once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localchat.conversation import Message
from localchat.engine.events import Reason, TokenProbability
from localchat.errors import LocalchatError
from localchat.sampling import Sampling
from localchat.text import one_line

NAME_CHARACTERS = 200
MODELS_LIMIT = 10_000
COUNT_LIMIT = 1 << 40
WORDS_CHARACTERS = 240
LIKELIEST_LIMIT = 64
IMPOSSIBLE = -9999.0  # as OpenAI's API writes it

ALWAYS = ("temperature", "top_p")
OPTIONAL: Mapping[str, Any] = {"max_tokens": None, "seed": None, "presence_penalty": 0, "frequency_penalty": 0}
"""Sent where they differ from this, which is what servers take them for when they are not sent."""
EXTENSIONS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "top_k": (("top_k",), 0),
    "min_p": (("min_p",), 0),
    "typical_p": (("typical_p",), 1),
    "repeat_penalty": (("repeat_penalty", "repetition_penalty"), 1),  # llama-server's name and vLLM's
}
"""Fields of Sampling that OpenAI's own API does not have: what others call them, and when they do nothing."""
EXTENSION_NAMES = tuple(name for names, _ in EXTENSIONS.values() for name in names)
NOT_KNOWN = ("unknown", "unrecogni", "unsupported", "not supported", "not permitted", "unexpected", "extra")

WINDOWS = (
    "max_model_len", "context_length", "context_window", "loaded_context_length", "max_context_length", "n_ctx",
    "n_ctx_train",
)  # fmt: skip
"""What servers call the length of a model's context."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server offers."""

    name: str
    context: int
    """Tokens; 0 where the server does not say."""
    is_llama_server: bool


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event of a stream adds to the reply."""

    text: str
    reason: Reason | None
    usage: Mapping[str, int] | None
    logprobs: tuple[TokenProbability, ...] = ()


def request_body(
    model: str, messages: Sequence[Message], sampling: Sampling, stops: Sequence[str], *, is_plain: bool
) -> dict[str, Any]:
    """The question as servers want it; a plain one has nothing in it that OpenAI's own API does not know."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": _text(message.text)} for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: getattr(sampling, name) for name in ALWAYS},
    }
    body |= {name: getattr(sampling, name) for name, idle in OPTIONAL.items() if getattr(sampling, name) != idle}
    if stops:
        body["stop"] = [_text(stop) for stop in stops]
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.logprobs is not None:
        body |= {"logprobs": True, **({"top_logprobs": sampling.logprobs} if sampling.logprobs else {})}
    if not is_plain:
        body |= _extensions(sampling)
    return body


def _extensions(sampling: Sampling) -> dict[str, Any]:
    known = [(names, idle, getattr(sampling, field)) for field, (names, idle) in EXTENSIONS.items()]
    found: dict[str, Any] = {name: value for names, idle, value in known if value != idle for name in names}
    return found | ({"grammar": sampling.grammar} if sampling.grammar else {})


def blames_extensions(words: str) -> bool:
    """Does a server's refusal sound as if a field was sent that it does not know?"""
    said = words.lower()
    return any(sign in said for sign in (*NOT_KNOWN, *EXTENSION_NAMES))


def delta_of(raw: Mapping[str, Any]) -> Delta:
    """One event of a stream; what has not the expected shape adds nothing."""
    choices = raw.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    delta, usage = choice.get("delta"), raw.get("usage")
    text = delta.get("content") if isinstance(delta, dict) else None
    finish = choice.get("finish_reason")
    reason: Reason | None = ("length" if finish == "length" else "stop") if finish else None
    counts = _usage(usage) if isinstance(usage, dict) else None
    logprobs = choice.get("logprobs")
    found = _entries(logprobs.get("content")) if isinstance(logprobs, dict) else []
    return Delta(text if isinstance(text, str) else "", reason, counts, tuple(_probability(entry) for entry in found))


def _probability(entry: Mapping[str, Any]) -> TokenProbability:
    likeliest = _entries(entry.get("top_logprobs"))[:LIKELIEST_LIMIT]
    return TokenProbability(*_rated(entry), tuple(_rated(other) for other in likeliest))


def _entries(raw: Any) -> list[Mapping[str, Any]]:
    """Those of a list that tell of a token."""
    entries = raw if isinstance(raw, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("token"), str)]


def _rated(entry: Mapping[str, Any]) -> tuple[str, float]:
    """A token and its log probability; one that is no number is that of the impossible, which JSON can write."""
    value = entry.get("logprob")
    if isinstance(value, int | float) and IMPOSSIBLE < value <= 0:  # which nan is not
        return entry["token"], float(value)
    return entry["token"], IMPOSSIBLE


def _usage(raw: Mapping[str, Any]) -> dict[str, int]:
    details = raw.get("prompt_tokens_details")
    prompt = _count(raw.get("prompt_tokens"))
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    completion = _count(raw.get("completion_tokens"))
    return {"prompt_tokens": prompt, "cached_tokens": min(cached, prompt), "completion_tokens": completion}


def served_models(raw: Any) -> list[Served]:
    """The models in a server's list; names that could not be shown as they are do not count."""
    entries = raw.get("data") if isinstance(raw, dict) else None
    if not isinstance(entries, list):
        return []
    return [model for entry in entries[:MODELS_LIMIT] if isinstance(entry, dict) for model in _served(entry)]


def _served(entry: Mapping[str, Any]) -> Iterator[Served]:
    name, meta = entry.get("id"), entry.get("meta")
    if isinstance(name, str) and name and name == one_line(name, NAME_CHARACTERS):
        is_llama_server = entry.get("owned_by") == "llamacpp"
        facts = {**entry, **(meta if isinstance(meta, dict) else {})}
        windows = [tokens for key in WINDOWS if (tokens := _count(facts.get(key)))]
        yield Served(name, windows[0] if windows else 0, is_llama_server)


def slot_window(props: Any) -> int:
    """The context of one slot of a llama-server, from its `/props`; 0 where it does not say."""
    found = props.get("default_generation_settings") if isinstance(props, dict) else None
    return _count(found.get("n_ctx")) if isinstance(found, dict) else 0


def parsed(text: str | bytes) -> Any:
    """The JSON in a text. Raises LocalchatError where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LocalchatError("the server answered something that is no JSON", "check what runs there") from error


def complaint(raw: Any) -> str:
    """What a server says went wrong, in its own words, cleaned and cut; empty where it says nothing."""
    if not isinstance(raw, dict):
        return ""
    found = raw.get("error") or raw.get("detail") or raw.get("message")
    while isinstance(found, dict | list):
        if isinstance(found, list):
            found = found[0] if found else ""
        else:
            place = found.get("loc")
            where = f"{place[-1]}: " if isinstance(place, list) and place else ""
            words = found.get("message") or found.get("msg") or found.get("code")
            found = f"{where}{words}" if isinstance(words, str | int) else ""
    return one_line(str(found or ""), WORDS_CHARACTERS)


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < COUNT_LIMIT else 0


def _text(text: str) -> str:
    """Lone surrogates, which servers refuse, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
