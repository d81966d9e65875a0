"""Presets of sampling: a name for some numbers, bounds checked, and the same from the shell."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from tiny import refused

from localchat import answer as answers
from localchat.commands.talk import run
from localchat.presets import (
    BUILT_IN,
    FIELDS,
    PRESETS_LIMIT,
    USUAL,
    name_fault,
    number_fault,
    number_of,
    preset,
    presets,
    summary,
    with_preset,
    without_preset,
)
from localchat.sampling import RANGES, Sampling, overridden
from localchat.settings import Settings, load, save

OWN = Settings(presets={"calm": {"temperature": 0.3, "top_k": 20}, "a wild one": {"temperature": 2.0}})


def test_the_built_in_ones_come_first_and_then_the_users_by_name() -> None:
    names = [preset.name for preset in presets(OWN)]
    assert names == ["balanced", "precise", "creative", "greedy", "a wild one", "calm"]
    assert [preset.is_built_in for preset in presets(OWN)] == [True] * 4 + [False] * 2


def test_the_usual_one_changes_nothing_and_greedy_always_takes_the_likeliest() -> None:
    assert preset("", OWN) == preset(USUAL, OWN) == {}
    assert preset("greedy", OWN)["temperature"] == 0
    assert preset("precise", OWN)["temperature"] == 0.2
    assert preset("calm", OWN) == {"temperature": 0.3, "top_k": 20}


@pytest.mark.parametrize("built_in", BUILT_IN, ids=lambda preset: preset.name)
def test_every_built_in_preset_can_be_sampled_with(built_in: object) -> None:
    numbers = getattr(built_in, "numbers", {})
    assert not [fault for field in numbers if (fault := number_fault(field, numbers[field]))]
    overridden(Sampling(), numbers)


def test_every_field_is_one_of_sampling_with_a_range() -> None:
    assert set(FIELDS) == set(RANGES) - {"logprobs"}


def test_an_unknown_preset_is_refused_with_those_that_are_known() -> None:
    with refused("colm"):
        preset("colm", OWN)


def test_a_preset_is_made_changed_renamed_and_deleted() -> None:
    assert with_preset(OWN, "new", {"top_k": 3})["new"] == {"top_k": 3}
    assert with_preset(OWN, "calm", {"top_k": 3}, "calm")["calm"] == {"top_k": 3}
    assert set(with_preset(OWN, "calmer", {"top_k": 3}, "calm")) == {"calmer", "a wild one"}
    assert set(without_preset(OWN, "calm")) == {"a wild one"}


def test_a_preset_is_kept_in_the_file_and_comes_back() -> None:
    save({"presets": with_preset(Settings(), "calm", {"temperature": 0.3, "seed": 7})})
    assert preset("calm", load()) == {"temperature": 0.3, "seed": 7}
    save({"presets": without_preset(load(), "calm")})
    assert load() == Settings()


@pytest.mark.parametrize("name", ["", " ", "precise", "calm", "a\nb", "x" * 41, "\x1b[31m", "[red]", "-x", "a "])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with refused():
        with_preset(OWN, name, {"top_k": 3})


@pytest.mark.parametrize("name", ["a", "Grüße 2", "x" * 40, "top_p 0.5", "a-b+c.d"])
def test_a_name_that_can_be_is_taken(name: str) -> None:
    assert name_fault(name, {}) == ""


def test_a_preset_that_changes_nothing_and_one_too_many_are_refused() -> None:
    with refused("changes nothing"):
        with_preset(OWN, "empty", {})
    many = Settings(presets={f"p{number}": {"top_k": 1} for number in range(PRESETS_LIMIT)})
    with refused("already"):
        with_preset(many, "another", {"top_k": 1})


@pytest.mark.parametrize(
    ("field", "text", "number"),
    [
        ("temperature", "0.5", 0.5), ("temperature", " 1 ", 1), ("temperature", "", None), ("top_k", "40", 40),
        ("presence_penalty", "-0.5", -0.5), ("seed", "0", 0), ("max_tokens", "1000", 1000), ("top_p", "1e-1", 0.1),
    ],
)  # fmt: skip
def test_a_typed_number_is_understood(field: str, text: str, number: float | None) -> None:
    found = number_of(field, text)
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("temperature", "hot"), ("temperature", "-1"), ("temperature", "nan"), ("temperature", "inf"),
        ("top_k", "1.5"), ("top_p", "1.01"), ("max_tokens", "0"), ("max_tokens", "inf"), ("seed", "99999999999"),
        ("heat", "1"), ("top_k", "9" * 5000),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_is_refused_by_its_field(field: str, text: str) -> None:
    with refused(field):
        number_of(field, text)


def test_a_summary_has_the_numbers_in_a_fixed_order() -> None:
    assert summary({"seed": 7, "temperature": 0.30, "max_tokens": 1000000}) == (
        "temperature 0.3 · max_tokens 1000000 · seed 7"
    )


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, dict[str, object], str]:
    """Exit code, changes of the sampling and words of `localchat run`, with nothing answered."""
    seen: dict[str, object] = {}

    def remember(_model: object, _settings: object, question: answers.Question, *_: object) -> dict[str, object]:
        seen.update(question.changes)
        return {}

    monkeypatch.setattr(answers, "answer_remote", remember)
    result = CliRunner().invoke(run, ["--remote", "http://127.0.0.1:9", "Hi", *arguments])
    return result.exit_code, {name: value for name, value in seen.items() if value is not None}, result.output


def test_the_shell_takes_a_preset_and_what_is_given_beside_it_is_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    save({"presets": {"calm": {"temperature": 0.3, "top_k": 20}}})
    assert asked(monkeypatch, "--preset", "calm")[:2] == (0, {"temperature": 0.3, "top_k": 20})
    assert asked(monkeypatch, "--preset", "calm", "--top-k", "5")[:2] == (0, {"temperature": 0.3, "top_k": 5})
    assert asked(monkeypatch)[:2] == (0, {})


def test_the_shell_refuses_an_unknown_preset_as_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    code, seen, words = asked(monkeypatch, "--preset", "colm")
    assert (code, seen) == (2, {})
    assert "balanced" in words
