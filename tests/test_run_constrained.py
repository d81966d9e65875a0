"""`localchat run` with a schema, a grammar or probabilities: what reaches the engine, and what comes of it as JSON."""

from __future__ import annotations

import io
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from fakes import ScriptedEngine
from made_up import GIB, plan

from localchat import answer
from localchat.cli import main
from localchat.engine.events import Done, Piece, TokenProbability, Usage
from localchat.engine.process import EngineProcess
from localchat.engine.wire import event_frame, frame_event, pack, unpack
from localchat.launch import Launched
from localchat.plan.wish import Wish
from localchat.pull.install import pull
from localchat.pull.source import parse

Captured = pytest.CaptureFixture[str]
USAGE = Usage(20, 8, 11, 0.1, 0.2, 0.5)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "multipleOf": 3}}, "required": ["a"]}
PROBABILITY = TokenProbability("{", -0.25, (("{", -0.25), ("\ufffd", -2.5)))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, chatml_file: Path) -> ScriptedEngine:
    """What answers instead of a model; the model `chatml` is installed."""
    for _ in pull(parse(str(chatml_file)), Wish()):
        pass
    engine = ScriptedEngine([Piece("{", 1, (PROBABILITY,)), Piece("}", 2), Done("stop", USAGE)])
    launched = Launched(cast("EngineProcess", nullcontext(engine)), plan(GIB), ())
    monkeypatch.setattr(answer, "launch", lambda *_: launched)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    return engine


def run(*arguments: str) -> int:
    return main(["run", "chatml", "Why?", *arguments])


def saved(folder: Path, content: Any) -> str:
    path = folder / "constraint"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path)


@pytest.mark.model
def test_a_schema_becomes_the_grammar_of_the_reply_and_what_it_leaves_out_is_said(
    engine: ScriptedEngine, tmp_path: Path, capsys: Captured
) -> None:
    assert run("--schema", saved(tmp_path, SCHEMA)) == 0
    assert "root ::=" in engine.sampling[0].grammar
    said = capsys.readouterr()
    assert said.out == "{}\n"
    assert "cannot enforce multipleOf," in said.err


@pytest.mark.model
def test_a_grammar_reaches_the_engine_as_it_is(engine: ScriptedEngine, tmp_path: Path) -> None:
    assert run("--grammar", saved(tmp_path, 'root ::= "grün"\n'.encode())) == 0
    assert engine.sampling[0].grammar == 'root ::= "grün"\n'


@pytest.mark.model
@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("--schema", b"{", "not JSON"), ("--schema", [1], "not a JSON object"),
        ("--schema", b"\xff", "not a text"),
        ("--schema", {"$ref": "http://a"}, "refers to"), ("--grammar", b"root ::= (", "cannot read"),
        ("--grammar", b"", "empty"), ("--grammar", b"\x00", "zero"), ("--grammar", b"x" * (3 << 20), "longer"),
    ],
    ids=str,
)  # fmt: skip
def test_a_file_that_is_none_is_a_failure_before_the_model_is_loaded(
    engine: ScriptedEngine, tmp_path: Path, capsys: Captured, option: str, content: Any, words: str
) -> None:
    assert run(option, saved(tmp_path, content)) == 1
    assert words in capsys.readouterr().err
    assert not engine.started.is_set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--schema", "nowhere.json"], ["--grammar", "."], ["--schema", __file__, "--grammar", __file__],
        ["--logprobs", "3"], ["--logprobs", "21", "--json"], ["--logprobs", "-1", "--json"], ["--typical-p", "2"],
        ["--presence-penalty", "3"], ["--frequency-penalty", "nan"],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)  # fmt: skip
def test_options_that_make_no_sense_are_wrong_usage(engine: ScriptedEngine, arguments: list[str]) -> None:
    assert run(*arguments) == 2
    assert not engine.started.is_set()


def test_the_numbers_reach_the_engine(engine: ScriptedEngine) -> None:
    numbers = ["--typical-p", "0.5", "--presence-penalty", "-1", "--frequency-penalty", "2"]
    assert run(*numbers, "--logprobs", "0", "--json") == 0
    found = engine.sampling[0]
    assert (found.typical_p, found.presence_penalty, found.frequency_penalty) == (0.5, -1, 2)
    assert found.logprobs == 0


def test_probabilities_are_in_the_json_where_the_engine_told_them(engine: ScriptedEngine, capsys: Captured) -> None:
    assert run("--logprobs", "2", "--json") == 0
    likeliest = [{"text": "{", "logprob": -0.25}, {"text": "\ufffd", "logprob": -2.5}]
    expected = {"text": "{", "logprob": -0.25, "likeliest": likeliest}
    assert json.loads(capsys.readouterr().out)["logprobs"] == [expected]
    assert engine.sampling[0].logprobs == 2


def test_probabilities_cross_the_wire_as_they_were() -> None:
    for piece in (Piece("{", 1, (PROBABILITY, TokenProbability("x", -1.0))), Piece("a", 2)):
        assert frame_event(unpack(pack(event_frame(piece)))) == piece
