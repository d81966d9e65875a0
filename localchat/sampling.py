"""How the next token is chosen, in the field's usual terms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from localchat.errors import LocalchatError

UNBOUNDED = float("inf")
GRAMMAR_LIMIT_CHARACTERS = 256 << 10
BIASES_LIMIT = 1024
BIAS_LIMIT = 100.0  # as in OpenAI's API; this much forbids a token, or leaves no other
TOKEN_LIMIT = 1 << 31
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampler settings of one reply; the defaults are llama.cpp's but for the milder temperature."""

    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_k: int = 40
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keep the likeliest tokens that together reach this probability; 1 keeps all."""
    min_p: float = 0.05
    """Keep tokens at least this likely relative to the likeliest; 0 keeps all."""
    repeat_penalty: float = 1.0
    """Divides the logits of the last 64 tokens of the reply; 1 changes nothing."""
    seed: int | None = None
    """None draws a new one for each reply."""
    max_tokens: int | None = None
    """Length limit of the reply; None is as long as the context lasts."""
    typical_p: float = 1.0
    """Keep the tokens whose surprise is nearest to what is expected, that together reach this; 1 keeps all."""
    presence_penalty: float = 0.0
    """Taken from the logits of the last 64 tokens of the reply; 0 changes nothing."""
    frequency_penalty: float = 0.0
    """Taken from the same logits as often as the token occurs in those 64; 0 changes nothing."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of a token and what is added to its logit."""
    grammar: str = ""
    """GBNF that the reply obeys; empty leaves it free. One from outside must have passed llama.grammar's check."""
    logprobs: int | None = None
    """Of each token its log probability is told, and so many of the likeliest others; None tells nothing."""
    speculate: bool = True
    """May tokens be guessed from the conversation itself? The text is the same, and sooner there where it repeats."""


RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 10),
    "top_k": (0, 1_000_000),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (0.01, 10),
    "seed": (0, 2**32 - 1),
    "max_tokens": (1, UNBOUNDED),
    "typical_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "logprobs": (0, 20),
}
"""The fields that are numbers."""


def is_sensible(name: str, value: float) -> bool:
    """Is this a number of the fields, and a value that it may have?"""
    low, high = RANGES.get(name, (UNBOUNDED, 0))
    return isinstance(value, int | float) and low <= value <= high


def checked(sampling: Sampling) -> Sampling:
    """The same sampling if every field is in its range; raises LocalchatError naming the first that is not."""
    for field in fields(sampling):
        value = getattr(sampling, field.name)
        if field.name in RANGES and value is not None and not is_sensible(field.name, value):
            flag = field.name.replace("_", "-")
            low, high = RANGES[field.name]
            bound = f"from {low:,} to {high:,}" if high != UNBOUNDED else f"{low:g} or more"
            raise LocalchatError(f"{flag} is out of range", f"give --{flag} a number {bound}")
    _check_biases(sampling.logit_bias)
    check_grammar_text(sampling.grammar)
    return sampling


def overridden(sampling: Sampling, changes: Mapping[str, Any]) -> Sampling:
    """The sampling with those of the changes that are not None, checked."""
    return checked(replace(sampling, **{name: value for name, value in changes.items() if value is not None}))


def sampling_of(fields: Mapping[str, Any]) -> Sampling:
    """The sampling whose fields have travelled as JSON, which has no tuples."""
    biases = tuple((token, bias) for token, bias in fields.get("logit_bias", ()))
    return Sampling(**{**fields, "logit_bias": biases})


def check_grammar_text(grammar: str) -> None:
    """Raises LocalchatError for a grammar that is too long, is no Unicode, or holds what ends a text in C."""
    if len(grammar) > GRAMMAR_LIMIT_CHARACTERS:
        limit = GRAMMAR_LIMIT_CHARACTERS
        raise LocalchatError(f"the grammar is longer than {limit:,} characters", "describe less of the answer")
    if "\0" in grammar:
        raise LocalchatError("the grammar contains a zero character", r"write it as \x00")
    if not grammar.isascii() and SURROGATE.search(grammar):
        raise LocalchatError("the grammar contains half a character", "save it as UTF-8")


def _check_biases(biases: tuple[tuple[int, float], ...]) -> None:
    if len(biases) > BIASES_LIMIT:
        raise LocalchatError(f"logit-bias names {len(biases):,} tokens", f"give at most {BIASES_LIMIT:,}")
    for token, bias in biases:
        if not isinstance(token, int) or not 0 <= token < TOKEN_LIMIT:
            raise LocalchatError("logit-bias names something that is no token", "give the ids of tokens")
        if not isinstance(bias, int | float) or not math.isfinite(bias) or abs(bias) > BIAS_LIMIT:
            raise LocalchatError("logit-bias is out of range", f"give numbers from {-BIAS_LIMIT:g} to {BIAS_LIMIT:g}")
