"""What `localchat bench` measures, with an engine of known speed and with a real one."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import facts, one_token_a_character

from localchat.bench import CLIENTS, DEPTHS, READ_TOKENS, Measured, measured, usual_rate
from localchat.cli import main
from localchat.engine.events import Done, Event, Piece, Usage
from localchat.library import find
from localchat.sampling import Sampling


class Clock:
    """An engine that reads 100 tokens a second and writes 10, and keeps what it read last."""

    def __init__(self, context: int) -> None:
        self.loaded = facts(context)
        self.prompts: list[list[int]] = []
        self._known: list[int] = []

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return one_token_a_character(texts)

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        prompt = list(tokens)
        self.prompts.append(prompt)
        cached = next((count for count in range(len(prompt) - 1, 0, -1) if self._known[:count] == prompt[:count]), 0)
        self._known = prompt
        count = sampling.max_tokens or 0
        reading = (len(prompt) - cached) / 100
        yield Piece("x" * count, count)
        yield Done("length", Usage(len(prompt), cached, count, reading, reading, (count - 1) / 10))


def test_rates_are_those_of_the_engine() -> None:
    rows = list(measured(Clock(8192), slots=1))
    for test, rate in (("read", 100.0), ("write", 10.0)):
        found = [row for row in rows if row.test == test]
        assert [row.depth for row in found] == list(DEPTHS)
        assert [row.tokens_per_second for row in found] == pytest.approx([rate] * len(DEPTHS))
    (first,) = [row for row in rows if row.test == "first token"]
    assert first.first_token == pytest.approx(first.tokens / 100)


def test_reading_behind_a_text_does_not_count_that_text() -> None:
    engine = Clock(8192)
    rows = list(measured(engine, slots=1))
    assert all(row.tokens == READ_TOKENS for row in rows if row.test == "read")
    assert max(map(len, engine.prompts)) == max(DEPTHS) + READ_TOKENS


def test_depths_that_the_context_does_not_hold_are_left_out() -> None:
    depths = {row.depth for row in measured(Clock(2048), slots=1)}
    assert depths == {depth for depth in DEPTHS if depth < 2048}


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_as_many_at_once_as_the_engine_keeps(slots: int) -> None:
    rows = [row for row in measured(Clock(4096), slots) if row.test == "together"]
    assert [row.clients for row in rows] == [clients for clients in CLIENTS if clients <= slots]
    assert all(row.tokens_per_second and row.tokens_per_second > 0 for row in rows)


def test_no_two_prompts_begin_alike() -> None:
    engine = Clock(4096)
    list(measured(engine, slots=4))
    clients = [tuple(prompt[:8]) for prompt in engine.prompts[-4:]]
    assert len(set(clients)) == 4


@pytest.mark.parametrize(("depths", "rate"), [((), 0.0), ((0,), 5.0), ((0, 512), 6.0), ((0, 512, 4096), 6.0)])
def test_the_rate_that_is_kept_is_that_of_a_usual_conversation(depths: tuple[int, ...], rate: float) -> None:
    row = Measured("write", 64, 0, 1, 5.0)
    rows = [replace(row, depth=depth, tokens_per_second=5.0 + index) for index, depth in enumerate(depths)]
    assert usual_rate([*rows, Measured("read", 512, 0, 1, 99.0)]) == rate


@pytest.mark.model
def test_the_command_measures_and_keeps_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, chatml_file: Path
) -> None:
    assert main(["pull", str(chatml_file)]) == 0
    assert main(["bench", "chatml", "--context", "640", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    fields = {"test", "tokens", "depth", "clients", "tokens_per_second", "first_token"}
    assert all(set(row) == fields for row in rows)
    assert {row["test"] for row in rows} == {"first token", "read", "write", "together"}
    assert find("chatml").tokens_per_second == next(row["tokens_per_second"] for row in rows if row["test"] == "write")
    monkeypatch.setattr("localchat.bench.measured", lambda *_: [Measured(**row) for row in rows])  # not once more
    assert main(["bench", "chatml", "--context", "640"]) == 0
    assert "Tokens/s" in capsys.readouterr().out
