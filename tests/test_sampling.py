"""Sampler settings: what is in range is taken, what is not is named together with its range."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from tiny import refused

from localchat.errors import LocalchatError
from localchat.sampling import RANGES, UNBOUNDED, Sampling, checked, overridden, sampling_of


def test_the_defaults_are_in_range_and_every_field_has_one() -> None:
    assert checked(Sampling()) == Sampling(0.7, 40, 0.95, 0.05, 1.0, None, None, 1.0, 0.0, 0.0, (), "", None)
    assert {field.name for field in fields(Sampling)} == {*RANGES, "logit_bias", "grammar", "speculate"}


def with_(name: str, value: Any) -> Sampling:
    """The usual sampling with one number changed, not yet checked."""
    return replace(Sampling(), **{name: value})


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("temperature", 0, 10), ("top_k", 0, 1_000_000), ("top_p", 0, 1), ("min_p", 0, 1), ("repeat_penalty", 0.01, 10),
        ("seed", 0, 2**32 - 1), ("max_tokens", 1, 1 << 40),
        ("typical_p", 0, 1), ("presence_penalty", -2, 2), ("frequency_penalty", -2, 2), ("logprobs", 0, 20),
    ],
)  # fmt: skip
def test_both_ends_of_a_range_belong_to_it(name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert checked(with_(name, value)) == with_(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1), ("temperature", 10.5), ("temperature", float("nan")), ("temperature", float("inf")),
        ("top_k", -1), ("top_k", 1_000_001), ("top_p", -0.01), ("top_p", 1.01), ("min_p", 2.0), ("min_p", -1.0),
        ("repeat_penalty", 0.0), ("repeat_penalty", 11.0), ("seed", -1), ("seed", 2**32), ("max_tokens", 0),
        ("top_k", 10**400), ("top_k", -(10**400)), ("seed", 10**400),
        ("typical_p", 1.1), ("presence_penalty", -2.1), ("frequency_penalty", float("nan")), ("logprobs", 21),
        ("logprobs", -1),
    ],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_by_its_flag(name: str, value: float) -> None:
    with refused(name.replace("_", "-")):
        checked(with_(name, value))


@pytest.mark.parametrize("name", RANGES)
def test_the_hint_names_bounds_that_are_taken(name: str) -> None:
    with pytest.raises(LocalchatError) as caught:
        checked(with_(name, -3))
    bounds = [
        float(number.replace(",", ""))
        for number in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", caught.value.hint)
    ]
    low, high = RANGES[name]
    assert bounds == ([low] if high == UNBOUNDED else [low, high])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, Sampling()),
        ({"top_k": None, "seed": None}, Sampling()),
        ({"temperature": 0}, Sampling(temperature=0)),
        ({"temperature": 1.5, "seed": 3, "top_p": None}, Sampling(temperature=1.5, seed=3)),
    ],
)
def test_only_what_was_said_changes(changes: dict[str, Any], wanted: Sampling) -> None:
    assert overridden(Sampling(), changes) == wanted


def test_a_change_is_checked_too() -> None:
    with refused("top-p"):
        overridden(Sampling(), {"top_p": 1.5})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logit_bias": ((1, float("nan")),)}, "logit-bias"),
        ({"logit_bias": ((1, float("-inf")),)}, "logit-bias"),
        ({"logit_bias": ((1, 100.5),)}, "logit-bias"),
        ({"logit_bias": ((-1, 1.0),)}, "no token"),
        ({"logit_bias": ((1 << 31, 1.0),)}, "no token"),
        ({"logit_bias": (("1", 1.0),)}, "no token"),
        ({"logit_bias": tuple((token, 1.0) for token in range(1025))}, "1,025 tokens"),
        ({"grammar": "x" * ((256 << 10) + 1)}, "longer"),
        ({"grammar": 'root ::= "a\0"'}, "zero"),
        ({"grammar": 'root ::= "\ud800"'}, "half a character"),
    ],
)
def test_biases_and_grammars_are_bounded(changes: dict[str, Any], words: str) -> None:
    with refused(words):
        overridden(Sampling(), changes)


def test_biases_and_grammars_within_their_bounds_are_taken() -> None:
    changes = {"logit_bias": ((0, -100), (5, 100.0)), "grammar": "root ::= [^ä😀]*"}
    assert overridden(Sampling(), changes) == Sampling(**changes)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(logit_bias=((7, 0.1), (9, -100))), Sampling(grammar='root ::= "😀"', logprobs=3, seed=4)],
)
def test_a_sampling_comes_back_from_json_as_it_was(sampling: Sampling) -> None:
    found = sampling_of(json.loads(json.dumps(asdict(sampling))))
    assert found == sampling
    assert hash(found) == hash(sampling)
