"""The rotary embedding of a config: its base, the kinds of stretching, and numbers that make no sense."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.convert.rope import Rope, frequency_factors, read_rope

CONTEXT = 4096
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 2048}


def read(scaling: Any = None, **config: Any) -> Rope:
    """The rope of a config.json of the old layout."""
    return read_rope({"rope_scaling": scaling, **config}, 10_000.0, CONTEXT)


def test_a_config_that_is_silent_gets_the_base_of_its_class() -> None:
    assert read_rope({}, 1_000_000.0, CONTEXT) == Rope(1_000_000.0)
    assert read(rope_theta=None) == Rope(10_000.0)


@pytest.mark.parametrize(
    "config",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 500_000, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4},
        {"rope_theta": 5e5, "rope_scaling": {"type": "default"}},
        {"rope_theta": 5e5, "rope_scaling": {}},
        {"rope_parameters": {}, "rope_theta": 5e5},
    ],
    ids=str,
)
def test_the_base_is_found_in_the_old_and_the_new_layout(config: dict[str, Any]) -> None:
    assert read_rope(config, 10_000.0, CONTEXT) == Rope(500_000.0)


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_linear_stretching_has_a_factor(key: str) -> None:
    rope = read({key: "linear", "factor": 4})
    assert (rope.scaling, rope.numbers, rope.original_context) == ("linear", (("factor", 4.0),), 0)


def test_yarn_carries_what_the_config_gives_under_llama_cpps_names() -> None:
    given = {"beta_fast": 32, "beta_slow": 1, "attention_factor": 0.9, "extrapolation_factor": 1.0, "mscale": 1.0}
    rope = read(YARN | given)
    assert (rope.scaling, rope.original_context) == ("yarn", 2048)
    assert dict(rope.numbers) == {
        "factor": 16.0, "yarn_ext_factor": 1.0, "yarn_attn_factor": 0.9, "yarn_beta_fast": 32.0, "yarn_beta_slow": 1.0,
    }  # fmt: skip


def test_only_ministral_has_a_multiplier_of_the_logarithm() -> None:
    given = {"rope_parameters": YARN | {"mscale_all_dim": 1.0}}
    assert "yarn_log_multiplier" not in dict(read_rope(given, 1e4, CONTEXT).numbers)
    assert dict(read_rope(given, 1e4, CONTEXT, is_ministral=True).numbers)["yarn_log_multiplier"] == 1.0


@pytest.mark.parametrize(
    ("config", "context"),
    [({}, CONTEXT), ({"original_max_position_embeddings": 1024}, 1024)],
    ids=["the context of the model", "a key beside"],
)
def test_yarn_without_its_context_takes_what_is_nearest(config: dict[str, Any], context: int) -> None:
    assert read({"rope_type": "yarn", "factor": 2.0}, **config).original_context == context


def test_dynamic_stretching_is_left_out_and_noted() -> None:
    rope = read({"type": "dynamic", "factor": 2.0})
    assert (rope.scaling, len(rope.notes)) == ("none", 1)
    assert "dynamic" in rope.notes[0]


def divisor(frequency: float, factor: float, low: float, high: float, context: int) -> float:
    """By what Llama 3.1 divides one frequency, worked out in 64 bits: all, nothing, or something between."""
    wave = 2 * math.pi / frequency
    if wave > context / low:
        return factor
    if wave < context / high:
        return 1.0
    share = (context / wave - low) / (high - low)
    return 1 / ((1 - share) / factor + share)


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize(("factor", "base"), [(8.0, 5e5), (32.0, 5e5), (8.0, 1e4)])
def test_llama_3_divides_slow_frequencies(factor: float, base: float, head_dim: int) -> None:
    rope = read(LLAMA3 | {"factor": factor}, rope_theta=base)
    found = frequency_factors(rope, head_dim)
    expected = [divisor(base ** (-n / head_dim), factor, 1.0, 4.0, 8192) for n in range(0, head_dim, 2)]
    assert (found.dtype, found.shape) == (np.float32, (head_dim // 2,))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[0] == 1.0
    if base == 5e5:
        assert found[-1] == factor
        assert ((found > 1) & (found < factor)).any()


def test_llama_3_has_defaults_for_all_but_its_name() -> None:
    rope = read({"rope_type": "llama3"})
    assert (rope.stretch, rope.original_context) == ((8.0, 1.0, 4.0), CONTEXT)


REFUSED: dict[str, Any] = {
    "an unknown kind": {"type": "su", "factor": 2.0},
    "longrope": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]},
    "a kind that is no text": {"type": ["linear"], "factor": 2.0},
    "text for an object": "linear",
    "a list for an object": [{"type": "linear"}],
    "linear without a factor": {"type": "linear"},
    "a factor of nothing": {"type": "linear", "factor": 0},
    "a factor below nothing": {"type": "linear", "factor": -2},
    "a factor of text": {"type": "linear", "factor": "2"},
    "a truth value for a factor": {"type": "linear", "factor": True},
    "a factor of four hundred digits": {"type": "linear", "factor": 10**400},
    "an infinite factor": {"type": "yarn", "factor": math.inf},
    "no number for a factor": {"type": "yarn", "factor": math.nan},
    "yarn in a context below nothing": YARN | {"original_max_position_embeddings": -1},
    "yarn in a context of text": YARN | {"original_max_position_embeddings": "2048"},
    "yarn in a context beyond any": YARN | {"original_max_position_embeddings": 1 << 40},
    "a beta of nothing": YARN | {"beta_fast": 0},
    "a beta in a list": YARN | {"beta_slow": [1]},
    "llama3 turned around": LLAMA3 | {"low_freq_factor": 4.0, "high_freq_factor": 1.0},
    "llama3 without a way between": LLAMA3 | {"low_freq_factor": 4.0},
    "llama3 of nothing": LLAMA3 | {"factor": 0},
    "a base of nothing": {"rope_theta": 0},
    "a base in a list": {"rope_theta": [1e4]},
}


@pytest.mark.parametrize("scaling", REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_is_refused(scaling: Any) -> None:
    with refused():
        read(scaling)


NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 9000), st.floats(), st.floats(1e-30, 1e30),
    st.sampled_from([1 << 27, 1 << 28, 10**400, 1e-30, 1e30, "", []]),
)  # fmt: skip
KINDS = st.sampled_from(["linear", "yarn", "llama3", "dynamic", "default", "su", "", None, 3, [], {}])
KEYS = st.sampled_from([
    "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "rope_theta", "beta_fast",
    "beta_slow", "attention_factor", "extrapolation_factor", "mscale_all_dim",
])  # fmt: skip


@given(KINDS, st.dictionaries(KEYS, NUMBERS, max_size=5), st.booleans())
def test_any_numbers_give_a_rope_that_a_model_file_can_hold_or_a_sentence(
    kind: Any, scaling: dict[str, Any], own: bool
) -> None:
    with sound_or_refused():
        rope = read_rope({"rope_scaling": {"rope_type": kind, **scaling}}, 1e4, CONTEXT, is_ministral=own)
        assert all(0 < np.float32(value) < math.inf for value in (rope.base, *dict(rope.numbers).values()))
        assert 0 <= rope.original_context <= 1 << 27
        assert frequency_factors(rope, 64).shape == (32,)


@given(*[st.floats(2e-30, 5e29)] * 4, st.integers(1, 1 << 27))
def test_any_stretch_of_llama_3_divides_by_numbers(
    base: float, factor: float, low: float, high: float, context: int
) -> None:
    numbers = {"factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    with sound_or_refused():
        rope = read(LLAMA3 | numbers | {"original_max_position_embeddings": context}, rope_theta=base)
        assert np.isfinite(frequency_factors(rope, 128)).all()
