"""The sampler against numpy: what each setting does, what a grammar does to it, and what is told of probabilities."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from sampled import ask

from localchat.llama.grammar import grammar_of_schema
from localchat.sampling import Sampling

pytestmark = pytest.mark.model

GREEDY = Sampling(temperature=0)
WILD = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=1)
QUESTION = "<|im_start|>user\nWho is Ada? Answer in JSON.<|im_end|>\n<|im_start|>assistant\n"
LIKES = ["tea", "chess", 'quo"te', "a\nb"]


def question(sampling: Sampling, count: int = 24, prompt: str = QUESTION) -> dict[str, Any]:
    return {"prompt": prompt, "count": count, "sampling": asdict(sampling)}


def replies(model: Path, *samplings: Sampling, count: int = 24) -> list[dict[str, Any]]:
    return ask(model, *(question(sampling, count) for sampling in samplings))


def tokens(model: Path, *samplings: Sampling, count: int = 24) -> list[list[int]]:
    return [reply["tokens"] for reply in replies(model, *samplings, count=count)]


# What each setting does


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"repeat_penalty": 1.3}, {"presence_penalty": 2.0}, {"frequency_penalty": 1.5}, {"frequency_penalty": -1.0},
        {"presence_penalty": 0.5, "frequency_penalty": 0.7, "repeat_penalty": 1.1},
        {"logit_bias": ((30, 12.0), (40, -5.0))},
    ],
    ids=str,
)  # fmt: skip
def test_at_temperature_0_the_best_token_after_bias_and_penalties_is_taken(
    smollm2_file: Path, changes: dict[str, Any]
) -> None:
    [reply] = replies(smollm2_file, replace(GREEDY, **changes), count=24)
    assert reply["tokens"] == reply["best"]


def test_penalties_look_back_64_tokens(chatml_file: Path) -> None:
    [reply] = replies(chatml_file, replace(GREEDY, repeat_penalty=1.3, frequency_penalty=0.1), count=150)
    assert reply["tokens"] == reply["best"]
    assert len(reply["tokens"]) > 80


def test_penalties_make_a_random_model_repeat_less(chatml_file: Path) -> None:
    plain, penalized = tokens(chatml_file, GREEDY, replace(GREEDY, repeat_penalty=1.5, presence_penalty=2.0), count=60)
    assert len(set(penalized)) > len(set(plain))


def test_a_bias_forces_or_forbids_a_token(smollm2_file: Path) -> None:
    [first] = tokens(smollm2_file, GREEDY, count=1)
    biases = (300, 100.0), (first[0], -100.0)
    forced, forbidden = tokens(smollm2_file, *(replace(WILD, logit_bias=(bias,)) for bias in biases), count=6)
    assert forced == [300] * 6
    assert first[0] not in forbidden


def test_the_same_seed_gives_the_same_tokens_and_another_does_not(smollm2_file: Path) -> None:
    first, same, other = tokens(smollm2_file, WILD, WILD, replace(WILD, seed=2))
    assert first == same != other


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"top_k": 40, "top_p": 0.8, "min_p": 0.1}, {"typical_p": 0.6, "top_p": 0.9, "temperature": 2.0},
        {"top_k": 5, "repeat_penalty": 1.4, "presence_penalty": 1.0, "min_p": 0.02},
    ],
    ids=str,
)  # fmt: skip
def test_the_samplers_work_in_the_order_of_llama_cpp(smollm2_file: Path, changes: dict[str, Any]) -> None:
    [reply] = replies(smollm2_file, replace(WILD, **changes))
    assert reply["tokens"] == reply["by_hand"]


def test_without_a_seed_each_reply_has_its_own(smollm2_file: Path) -> None:
    first, other = tokens(smollm2_file, replace(WILD, seed=None), replace(WILD, seed=None))
    assert first != other


@pytest.mark.parametrize("changes", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 1e-4}], ids=str)
def test_a_setting_that_leaves_one_token_leaves_the_best(smollm2_file: Path, changes: dict[str, Any]) -> None:
    [reply] = replies(smollm2_file, replace(WILD, **changes))
    assert reply["tokens"] == reply["best"]


def test_only_typical_tokens_are_left(smollm2_file: Path) -> None:
    typical, free = replies(
        smollm2_file, replace(WILD, temperature=1.0, typical_p=0.2), replace(WILD, temperature=1.0), count=16
    )
    assert all(token in kept for token, kept in zip(typical["tokens"], typical["typical"], strict=True))
    assert typical["tokens"] != free["tokens"]


# Grammars


def constrained(model: Path, gbnf: str, sampling: Sampling = GREEDY, count: int = 64) -> dict[str, Any]:
    return replies(model, replace(sampling, grammar=gbnf), count=count)[0]


@pytest.mark.parametrize("sampling", [GREEDY, WILD], ids=["greedy", "wild"])
def test_a_grammar_that_forbids_nothing_changes_nothing(smollm2_file: Path, sampling: Sampling) -> None:
    free, same = tokens(smollm2_file, sampling, replace(sampling, grammar="root ::= .*"))
    assert free == same


@pytest.mark.parametrize("seed", range(3))
def test_a_reply_obeys_its_grammar_and_then_ends(smollm2_file: Path, seed: int) -> None:
    reply = constrained(smollm2_file, 'root ::= ("red" | "grün" | "😀")', replace(WILD, seed=seed))
    assert reply["text"] in ("red", "grün", "😀")
    assert reply["is_ended"]


def test_what_a_grammar_refused_is_not_penalized(smollm2_file: Path) -> None:
    # With a refused token beside each digit, the window of the penalties would forget the first digits.
    sampling = replace(GREEDY, repeat_penalty=1.2, frequency_penalty=0.2)
    reply = constrained(smollm2_file, "root ::= [0-9]{48}", sampling, count=48)
    assert reply["tokens"] == reply["best_digit"]
    assert len(reply["text"]) == 48


def test_no_token_that_readers_cannot_see_stands_for_its_text(smollm2_file: Path) -> None:
    loud = replace(GREEDY, logit_bias=((1, 100.0),))  # <|im_start|>
    reply = constrained(smollm2_file, "root ::= .{12}", loud, count=16)
    assert reply["best"][0] == 1
    assert 1 not in reply["tokens"]
    assert len(reply["text"]) == 12


@pytest.mark.parametrize("gbnf", ["root ::= [a-", 'start ::= "a"', 'root ::= root "a" | "b"', "root ::= nothing"])
def test_a_grammar_that_is_none_is_an_error(chatml_file: Path, gbnf: str) -> None:
    assert ask(chatml_file, question(replace(GREEDY, grammar=gbnf))) == [
        {"error": "llama.cpp cannot read the grammar"}
    ]  # fmt: skip


def test_a_grammar_that_comes_to_a_dead_end_is_an_error_and_not_the_end_of_the_process(chatml_file: Path) -> None:
    dead, alive = ask(
        chatml_file, question(replace(GREEDY, grammar=r'root ::= "a" [\U00FFFFFF]')), question(GREEDY, count=2)
    )
    assert dead == {"error": "the grammar allows nothing that the model could write"}
    assert len(alive["tokens"]) == 2


@pytest.mark.parametrize("seed", range(3))
def test_a_reply_by_a_schema_is_json_that_obeys_it(smollm2_file: Path, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer"},
            "likes": {"type": "array", "items": {"enum": LIKES}, "minItems": 1, "maxItems": 3},
            "id": {"type": "string", "pattern": r"^[A-Z]{2}-\d{3}$"},
            "boss": {"type": ["string", "null"], "maxLength": 8},
        },
        "required": ["name", "age", "likes", "id", "boss"],
    }  # fmt: skip
    gbnf = grammar_of_schema(schema, smollm2_file)
    reply = constrained(smollm2_file, gbnf, replace(WILD, seed=seed), count=200)
    found = json.loads(reply["text"])
    assert reply["is_ended"]
    assert set(found) == {"name", "age", "likes", "id", "boss"}
    assert isinstance(found["age"], int)
    assert 1 <= len(found["name"]) <= 12
    assert 1 <= len(found["likes"]) <= 3
    assert set(found["likes"]) <= set(LIKES)
    assert found["id"][:2].isupper()
    assert found["id"][2] == "-"
    assert found["id"][3:].isdigit()
    assert found["boss"] is None or len(found["boss"]) <= 8


# Probabilities


@pytest.mark.parametrize("sampling", [GREEDY, replace(WILD, repeat_penalty=1.3, grammar="root ::= [a-z ]{9}")])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_probabilities_are_those_of_the_model_alone(smollm2_file: Path, sampling: Sampling, count: int) -> None:
    [reply] = replies(smollm2_file, replace(sampling, logprobs=count), count=6)
    for token, (told_token, told, likeliest), (logprob, best) in zip(
        reply["tokens"], reply["told"], reply["logprobs"], strict=True
    ):
        assert token == told_token
        assert told == pytest.approx(logprob, abs=1e-6)
        assert len(likeliest) == count
        assert [found for found, _ in likeliest] == [found for found, _ in best]
        assert [value for _, value in likeliest] == pytest.approx([value for _, value in best], abs=1e-6)
