"""What is guessed to follow changes the number of steps of a reply, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scripted_context import ScriptedContext, ScriptedModel, scripted, scripts
from stage import Stage, end_of, text_of

from localchat.engine import lookup

__all__ = ["scripted"]

QUOTE = list(range(100, 160))
QUOTING = (5, *QUOTE, 6)


def quoting(changed: Sequence[int] = ()) -> Stage:
    """A model that is asked to repeat a text, and repeats it but for some tokens."""
    answer = [90 if token in changed else token for token in QUOTE]
    return Stage(ScriptedModel(scripts({QUOTING: [*QUOTE[:4], *answer[4:]]})))


@pytest.mark.parametrize("changed", [(), (120,), (104, 110, 111, 130, 158), range(104, 160, 8)], ids=str)
def test_guesses_change_no_text_and_save_steps(changed: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    one = quoting(changed)
    guessed = one.reply(QUOTING)
    monkeypatch.setattr(lookup, "MOST", 0)
    other = quoting(changed)
    plain = other.reply(QUOTING)
    assert text_of(guessed) == text_of(plain)
    assert end_of(guessed).usage.completion_tokens == end_of(plain).usage.completion_tokens == len(QUOTE) + 1
    assert all(len(part.tokens) == 1 for part in other.parts(0)[1:])
    assert len(one.context.calls) < len(other.context.calls)


def test_a_quotation_is_written_in_a_fraction_of_the_steps() -> None:
    one = quoting()
    one.reply(QUOTING)
    assert len(one.context.calls) < len(QUOTE) / 3


@pytest.mark.parametrize("can_cut", [True, False])
def test_wrong_guesses_are_not_left_in_the_cache(can_cut: bool) -> None:
    answer = [*QUOTE[:10], 90, 91, 92]
    one = Stage(ScriptedModel(scripts({QUOTING: answer})), ScriptedContext(can_cut=can_cut))
    text = text_of(one.reply(QUOTING))
    assert any(len(part.tokens) > part.outputs - 1 > 0 for part in one.parts(0)), "something was guessed"
    assert text == "".join(f"{token} " for token in answer)
    assert one.context.text(0) == (*QUOTING, *answer)


def test_a_cache_that_cannot_be_cut_is_spared_more_wrong_guesses() -> None:
    one = Stage(ScriptedModel(scripts({QUOTING: [*QUOTE[:10], 90, *QUOTE]})), ScriptedContext(can_cut=False))
    one.reply(QUOTING)
    widths = [part.outputs for part in one.parts(0)]
    wrong = next(index for index, width in enumerate(widths) if width > 1 and widths[index + 1] == 0)
    assert max(widths[wrong + 1 :]) == 1


@pytest.mark.parametrize("limit", range(1, 30))
def test_guesses_never_go_beyond_a_limit(limit: int) -> None:
    done = end_of(quoting().reply(QUOTING, limit=limit))
    assert (done.reason, done.usage.completion_tokens) == ("length", limit)


@pytest.mark.parametrize("room", range(1, 30))
def test_guesses_never_go_beyond_the_context(room: int) -> None:
    one = Stage(ScriptedModel(scripts({QUOTING: QUOTE})), ScriptedContext(len(QUOTING) + room))
    assert end_of(one.reply(QUOTING)).usage.completion_tokens == room
    assert one.context.used < one.context.tokens


def test_guesses_fit_into_a_small_batch() -> None:
    one = Stage(ScriptedModel(scripts({QUOTING: QUOTE})), ScriptedContext(batch=4))
    assert text_of(one.reply(QUOTING)) == "".join(f"{token} " for token in QUOTE)


def test_a_stop_string_among_right_guesses_ends_the_reply_there() -> None:
    one = quoting()
    told = one.reply(QUOTING, "121 122")
    assert text_of(told) == "".join(f"{token} " for token in range(100, 121))
    assert end_of(told).usage.completion_tokens == len(range(100, 123))
    follows = [*QUOTING, *range(100, 122)]
    assert one.context.text(0)[: len(follows)] == tuple(follows)


def test_guesses_that_do_not_pay_are_not_made() -> None:
    """On this machine ten tokens take as long as ten steps."""
    one = quoting()
    one.context.step_seconds, one.context.token_seconds = 0.0, 0.05
    one.reply(QUOTING)
    assert sum(part.outputs > 1 for part in one.parts(0)) <= 8  # once for each width, to find that out
