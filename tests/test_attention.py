"""On a processor whole tiles of tokens are read faster than fewer: some of the cache is read once more for that."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_context import ScriptedContext, ScriptedModel, counting, scripted
from stage import Stage, end_of, expected, text_of

from localchat.engine.events import Done, Embedded
from localchat.engine.process import EngineProcess
from localchat.llama.attention import ONE_BY_ONE, TILE_TOKENS, TILED, Attention
from localchat.llama.placement import Placement
from localchat.sampling import Sampling

__all__ = ["scripted"]

MISTRAL_7B = Attention(2 * 4096 * 32 / 7.24e9)
LONG = [30] * 400


@pytest.mark.parametrize(
    ("new", "cached", "read"),
    [(63, 3000, 64), (50, 3000, 64), (40, 3000, 40), (40, 8000, 64), (60, 100, 60), (64, 3000, 64), (65, 3000, 65)],
)
def test_a_prompt_of_nearly_a_tile_behind_a_long_conversation_is_read_as_a_tile(
    new: int, cached: int, read: int
) -> None:
    assert MISTRAL_7B.tokens_to_read(new, cached) == read


@given(st.floats(0, 1), st.integers(1, 5000), st.integers(0, 100_000))
def test_what_is_read_is_never_dearer_and_never_more_than_there_is(share: float, new: int, cached: int) -> None:
    read = Attention(share).tokens_to_read(new, cached)
    assert new <= read <= new + cached
    if read != new:
        assert read == TILE_TOKENS
        assert read * (1 + TILED * share * cached) < new * (1 + ONE_BY_ONE * share * cached)


def stage(**context: int | bool) -> Stage:
    scripted = ScriptedContext(**{"tokens": 1024, "batch": 512, **context})  # type: ignore[arg-type]
    scripted.attention = Attention(0.01)
    return Stage(ScriptedModel(counting), scripted)


def test_the_cached_tokens_before_it_are_read_once_more_and_the_text_is_the_same() -> None:
    one = stage()
    one.reply(LONG, limit=2)
    prompt = [*LONG, *([40] * 50)]
    told = one.reply(prompt, limit=5)
    assert end_of(told).usage.cached_tokens == len(prompt) - TILE_TOKENS
    assert text_of(told) == expected(prompt, 5)


def test_beside_others_nothing_is_read_twice() -> None:
    one = stage()
    one.reply(LONG, limit=2)
    one.ask(1, [60] * 10, limit=50)
    one.step()
    prompt = [*LONG, *([40] * 50)]
    one.ask(2, prompt, limit=5)
    one.finish()
    assert end_of(one.told[2]).usage.cached_tokens == len(LONG)
    assert one.text(2) == expected(prompt, 5)


def test_a_cache_that_cannot_be_cut_is_left_as_it_is() -> None:
    one = stage(can_cut=False)
    one.reply([50] * 10, limit=2)
    one.reply([50] * 9, limit=2)  # here it is found out
    known = one.context.text(one_slot(one, LONG))
    told = one.reply([*known, *([40] * 50)], limit=5)
    assert end_of(told).usage.cached_tokens == len(known)


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [(128, [128]), (150, [86, 64]), (191, [127, 64]), (192, [128, 64]), (200, [128, 72]), (300, [128, 108, 64])],
)
def test_of_a_long_prompt_no_part_is_left_that_is_shorter_than_a_tile(tokens: int, parts: list[int]) -> None:
    one = stage(batch=128)
    told = one.reply([30] * tokens, limit=1)
    assert [len(part.tokens) for part in one.parts(0)] == parts
    assert text_of(told) == expected([30] * tokens, 1)


def test_in_a_small_batch_nothing_is_put_off_that_would_make_two_short_parts() -> None:
    one = stage(batch=100)
    one.reply([30] * 120, limit=1)
    assert [len(part.tokens) for part in one.parts(0)] == [100, 20]


def test_a_text_for_a_vector_is_not_read_in_one_go_and_nothing_of_it_twice() -> None:
    one = stage()
    one.reply(LONG, limit=2)
    one.schedule.embed(1, [*LONG, *([40] * 50)])
    one.finish()
    [*_, done] = one.told[1]
    assert isinstance(done, Embedded)
    assert done.cached_tokens == len(LONG)


def one_slot(one: Stage, prompt: list[int]) -> int:
    """The slot in which this is after a reply to it."""
    one.reply(prompt, limit=2)
    return next(slot for slot in range(one.context.slots) if one.context.text(slot)[: len(prompt)] == tuple(prompt))


@pytest.mark.model
@pytest.mark.parametrize(("kv_type", "is_read_again"), [("f16", True), ("q8_0", False)])
def test_a_model_on_the_processor_reads_a_tile(
    kv_type: str, is_read_again: bool, smollm2_file: Path, tmp_path: Path
) -> None:
    with EngineProcess(smollm2_file, Placement(1024, 1, 512, kv_type), tmp_path / "log") as engine:
        [talk, more] = engine.tokenize(["The whale swam on. " * 80, "And the ship followed it. " * 10])
        prompt = [*talk[:400], *more[:60]]
        cached = []
        for tokens in (talk[:400], prompt):
            for event in engine.reply(tokens, Sampling(temperature=0, max_tokens=1), ()):
                if isinstance(event, Done):
                    cached.append(event.usage.cached_tokens)
    assert cached == [0, len(prompt) - TILE_TOKENS if is_read_again else 400]
