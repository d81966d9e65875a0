"""`localchat run`: one answer on standard output, in words or as JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from fakes import ScriptedEngine, engine_error
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import GIB, plan

from localchat import answer
from localchat.cli import main
from localchat.engine.events import Done, Event, Piece, Reading, Usage
from localchat.engine.process import EngineProcess
from localchat.launch import Launched
from localchat.library import find
from localchat.plan.wish import Wish
from localchat.pull.install import pull
from localchat.pull.source import parse
from localchat.sampling import Sampling

Captured = pytest.CaptureFixture[str]
USAGE = Usage(20, 8, 11, 0.1, 0.2, 0.5)
PARIS: list[Event | Exception] = [
    Reading(8, 20), Reading(20, 20), Piece("It is "), Piece("Paris."), Done("stop", USAGE),
]  # fmt: skip


class Attentive(ScriptedEngine):
    """Remembers the stop strings too."""

    stops: tuple[str, ...] = ()

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        self.stops = tuple(stops)
        return super().reply(tokens, sampling, stops)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, chatml_file: Path) -> Attentive:
    """What answers instead of a model; the model `tiny` is installed."""
    for _ in pull(parse(str(chatml_file)), Wish()):
        pass
    engine = Attentive(PARIS)
    monkeypatch.setattr(answer, "launch", lambda *_: launched(engine))
    return engine


def launched(engine: ScriptedEngine, *notes: str) -> Launched:
    return Launched(cast("EngineProcess", nullcontext(engine)), plan(GIB), notes)


@pytest.fixture(autouse=True)
def piped(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Standard input; empty unless a test fills it."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
    return raw


def run(*arguments: str) -> int:
    return main(["run", "chatml", *arguments])


# The prompt


def question(engine: ScriptedEngine) -> str:
    """What the user asked, as the model read it."""
    return engine.prompt_text().split("<|im_start|>user\n")[1].removesuffix("<|im_end|>\n<|im_start|>assistant\n")


PROMPTS = [
    (["Why?"], b"", "Why?"),
    ([], b"Why?", "Why?"),
    ([], b"Why?\n\n", "Why?"),
    (["Sum this up:"], b"line 1\nline 2\n", "Sum this up:\n\nline 1\nline 2"),
    ([], b"  indented\n", "  indented"),
    ([], "Größe 😀".encode(), "Größe 😀"),
    (["Why?"], b"\n\n", "Why?"),
    ([], b"not \xff text", "not \ufffd text"),
]


@pytest.mark.parametrize(("arguments", "stdin", "expected"), PROMPTS)
def test_a_prompt_comes_as_an_argument_or_piped_or_both(
    engine: Attentive, piped: io.BytesIO, arguments: list[str], stdin: bytes, expected: str
) -> None:
    piped.write(stdin)
    piped.seek(0)
    assert run(*arguments) == 0
    assert question(engine) == expected


@pytest.mark.parametrize("arguments", [[], [""], ["  \n"]])
def test_a_prompt_of_nothing_is_wrong_usage(engine: Attentive, capsys: Captured, arguments: list[str]) -> None:
    assert run(*arguments) == 2
    assert "prompt" in capsys.readouterr().err
    assert not engine.started.is_set()


def test_without_standard_input_the_argument_is_the_prompt(engine: Attentive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert run("Why?") == 0
    assert question(engine) == "Why?"


# Words


def test_the_answer_is_all_that_is_on_standard_output(engine: Attentive, capsys: Captured) -> None:
    assert run("Why?") == 0
    assert capsys.readouterr() == ("It is Paris.\n", "")
    assert engine.closed.is_set()


ENDS = [("Paris.", "Paris.\n"), ("Paris.\n", "Paris.\n"), ("", ""), ("a\n\n", "a\n\n")]


@pytest.mark.parametrize(("text", "printed"), ENDS)
def test_an_answer_ends_with_a_newline(engine: Attentive, capsys: Captured, text: str, printed: str) -> None:
    engine.script = [*([Piece(text)] if text else []), Done("stop", USAGE)]
    assert run("Why?") == 0
    assert capsys.readouterr().out == printed


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=4))
@settings(max_examples=60, deadline=None)
def test_nothing_a_terminal_would_act_on_is_printed(text: str, cuts: list[int]) -> None:
    text = f"\x1b]0;title\x07{text}\x9b31m\u202e"
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    printer, out = answer._Printer(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        for start, end in zip(places, [*places[1:], len(text)], strict=True):
            if text[start:end]:
                printer.show(Piece(text[start:end]))
        printer.finish()
    forbidden = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e"]
    assert not [sign for sign in forbidden if sign in out.getvalue() and sign not in "\n\t"]


def test_an_engine_that_dies_leaves_what_was_written(engine: Attentive, capsys: Captured) -> None:
    engine.script = [Piece("It is "), engine_error()]
    assert run("Why?") == 1
    said = capsys.readouterr()
    assert said.out == "It is "
    assert "localchat: the engine stopped: it was told to\n  start it again\n" in said.err


def test_ctrl_c_leaves_what_was_written(engine: Attentive, capsys: Captured) -> None:
    def interrupted(*_: Any) -> Iterator[Event]:
        yield Piece("It is ")
        raise KeyboardInterrupt

    engine.reply = interrupted  # type: ignore[method-assign, assignment]
    assert run("Why?") == 130
    said = capsys.readouterr()
    assert said.out == "It is "
    assert "Traceback" not in said.err


@pytest.mark.usefixtures("engine")
def test_a_question_that_does_not_fit_is_one_sentence(capsys: Captured) -> None:
    assert run("x" * 600) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "tokens" in said.err
    assert "--context" in said.err


# JSON


def answer_of(capsys: Captured, *arguments: str) -> dict[str, Any]:
    assert run(*arguments, "--json") == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_an_answer_as_json_has_the_fields_of_the_contract(engine: Attentive, capsys: Captured) -> None:
    facts = answer_of(capsys, "Why?")
    used = len(engine.prompts[0])
    assert facts == {
        "text": "It is Paris.",
        "finish_reason": "stop",
        "model": "chatml",
        "usage": {"prompt_tokens": 20, "cached_tokens": 8, "completion_tokens": 11},
        "timings": {
            "first_token": 0.1,
            "prompt_tokens_per_second": 60.0,
            "tokens_per_second": 20.0,
            "other_cores": 0.0,
            "threads": 0,
        },
        "ledger": {
            "window_tokens": 512,
            "used_tokens": used,
            "dropped_turns": 0,
            "left_tokens": 512 - used,
            "dropped_messages": [],
        },
        "notes": [],
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_to_be_known_of_the_load_is_beside_the_answer(
    engine: Attentive, monkeypatch: pytest.MonkeyPatch, capsys: Captured, as_json: bool
) -> None:
    monkeypatch.setattr(answer, "launch", lambda *_: launched(engine, "less was \x1b[2J tried"))
    assert run("Why?", *(["--json"] if as_json else [])) == 0
    said = capsys.readouterr()
    if as_json:
        assert json.loads(said.out)["notes"] == ["less was \x1b[2J tried"]
        assert said.err == ""
    else:
        assert said == ("It is Paris.\n", "note: less was ␛[2J tried\n")


@pytest.mark.parametrize("text", ["\x1b[31m", "lone \ud800", "😀\x00\n", '"quoted"'])
def test_an_answer_as_json_is_unchanged_and_harmless(engine: Attentive, capsys: Captured, text: str) -> None:
    engine.script = [Piece(text), Done("length", USAGE)]
    assert run("Why?", "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out)["text"] == text
    assert out.isascii()
    assert "\x1b" not in out


def test_an_answer_that_failed_is_no_json(engine: Attentive, capsys: Captured) -> None:
    engine.script = [Piece("It is "), engine_error()]
    assert run("Why?", "--json") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "it was told to" in said.err


# What is asked for


@pytest.mark.parametrize(("arguments", "setting", "expected"), [
    ([], "", ""),
    (["--system", "Be kind."], "", "Be kind."),
    ([], "Be brief.", "Be brief."),
    (["--system", "Be kind."], "Be brief.", "Be kind."),
    (["--system", ""], "Be brief.", ""),
])  # fmt: skip
def test_the_system_message_is_the_flag_or_else_the_setting(
    engine: Attentive, monkeypatch: pytest.MonkeyPatch, arguments: list[str], setting: str, expected: str
) -> None:
    monkeypatch.setenv("LOCALCHAT_SYSTEM", setting)
    assert run("Why?", *arguments) == 0
    system = f"<|im_start|>system\n{expected}<|im_end|>\n" if expected else ""
    assert engine.prompt_text() == f"{system}<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_the_flags_of_sampling_reach_the_engine(engine: Attentive) -> None:
    flags = "--temperature 0.5 --top-k 7 --top-p 0.8 --min-p 0.1 --repeat-penalty 1.1 --seed 3 --max-tokens 9"
    assert run("Why?", *flags.split(), "--stop", "END", "--stop", "\n\n") == 0
    assert engine.sampling == [Sampling(0.5, 7, 0.8, 0.1, 1.1, 3, 9)]
    assert engine.stops == ("END", "\n\n")


@pytest.mark.parametrize("flag", ["--temperature=-1", "--top-p=2", "--min-p=-0.1", "--seed=-1", "--max-tokens=0"])
def test_a_number_out_of_its_range_names_its_flag(engine: Attentive, capsys: Captured, flag: str) -> None:
    assert run("Why?", flag) in (1, 2)
    assert flag.partition("=")[0] in capsys.readouterr().err
    assert not engine.started.is_set()


def test_what_the_receipt_says_of_stops_and_system_is_used(engine: Attentive) -> None:
    path = find("chatml").folder / "receipt.json"
    receipt = json.loads(path.read_text("utf-8")) | {"stops": ["STOP"], "system": "Be kind."}
    path.write_text(json.dumps(receipt), "utf-8")
    assert run("Why?", "--stop", "END") == 0
    assert engine.stops == ("STOP", "END")
    assert "<|im_start|>system\nBe kind.<|im_end|>" in engine.prompt_text()


def test_how_fast_it_was_is_remembered(engine: Attentive) -> None:
    assert find("chatml").last_used_at is None
    assert run("Why?") == 0
    model = find("chatml")
    assert model.tokens_per_second == 20.0
    assert model.last_used_at
    engine.script = [Piece("a"), Done("stop", Usage(20, 8, 1, 0.1, 0.2, 0.5))]
    assert run("Why?") == 0
    assert find("chatml").tokens_per_second == 20.0


# A real model


@pytest.mark.model
@pytest.mark.usefixtures("smollm2_file")
def test_the_model_that_comes_along_knows_the_capital_of_france(capsys: Captured) -> None:
    assert main(["run", "smollm2", "What is the capital of France?", "--temperature", "0", "--context", "1024"]) == 0
    assert "Paris" in capsys.readouterr().out
    assert find("smollm2").tokens_per_second


@pytest.mark.model
def test_a_real_answer_as_json(capsys: Captured, chatml_file: Path) -> None:
    assert main(["pull", str(chatml_file)]) == 0
    capsys.readouterr()
    facts = answer_of(capsys, "Why?", "--temperature", "0", "--max-tokens", "8", "--context", "256")
    assert (facts["finish_reason"], facts["usage"]["completion_tokens"]) == ("length", 8)
    assert facts["usage"]["prompt_tokens"] == facts["ledger"]["used_tokens"]
    assert facts["ledger"]["window_tokens"] == 256
    assert facts["timings"]["first_token"] > 0
