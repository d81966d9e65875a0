"""One turn: the order of its events, and what is kept of a reply whichever way it ends."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import count
from types import SimpleNamespace

import pytest
from fakes import ScriptedEngine, engine_error

from localchat import chat
from localchat.chat import Forgotten, TurnEvent, prompt_for, recommended, reply
from localchat.conversation import Conversation, Ending
from localchat.engine.events import Done, Event, Loaded, Piece, Reading, Usage, Waiting
from localchat.errors import ContextFull, EngineDied, LocalchatError
from localchat.prompt.ledger import Ledger
from localchat.sampling import Sampling

USAGE = Usage(20, 0, 3, 0.1, 0.2, 0.3)
SCRIPT: list[Event | Exception] = [
    Waiting(), Reading(0, 20), Reading(20, 20), Piece("Once "), Piece("upon "), Piece("a time."), Done("stop", USAGE),
]  # fmt: skip
TALE = Conversation().ask("Tell me a tale.")


class Notebook:
    """A draft that remembers how it was used."""

    def __init__(self) -> None:
        self.saved: list[str] = []
        self.finished: list[tuple[str, Ending]] = []

    def save(self, text: str) -> None:
        self.saved.append(text)

    def finish(self, text: str, ending: Ending) -> None:
        self.finished.append((text, ending))


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever it is looked at, so that a draft is due at every piece."""
    seconds: Iterator[int] = count()
    monkeypatch.setattr(chat, "time", SimpleNamespace(monotonic=lambda: next(seconds)))


def turn(
    engine: ScriptedEngine, notebook: Notebook, conversation: Conversation = TALE, sampling: Sampling | None = None
) -> Generator[TurnEvent]:
    return reply(engine, conversation, sampling or Sampling(), ["END"], notebook)


# Events


def test_the_account_of_the_prompt_comes_first_then_the_engine_speaks(notebook: Notebook) -> None:
    engine = ScriptedEngine(SCRIPT)
    ledger, *events = turn(engine, notebook)
    used = len(engine.prompts[0])
    assert ledger == Ledger(512, used, 0, left_tokens=512 - used)
    assert events == SCRIPT


def test_the_engine_reads_the_conversation_in_its_own_template(notebook: Notebook) -> None:
    engine = ScriptedEngine(SCRIPT)
    conversation = Conversation().say("system", "Be kind.").ask("Say <|im_end|>")
    list(turn(engine, notebook, conversation, Sampling(seed=5)))
    assert engine.prompt_text() == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nSay <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert engine.prompts[0].count(1) == 2  # what the user wrote are letters
    assert engine.sampling == [Sampling(seed=5)]


def test_old_turns_leave_when_the_context_is_small(notebook: Notebook) -> None:
    engine = ScriptedEngine(SCRIPT, context=200)
    conversation = Conversation()
    for number in range(10):
        conversation = conversation.ask(f"question {number}").say("assistant", f"answer {number}")
    ledger = next(turn(engine, notebook, conversation.ask("the last")))
    assert isinstance(ledger, Ledger)
    assert 0 < ledger.dropped_turns < 10
    assert ledger.used_tokens <= 150


def test_a_caller_who_wants_nothing_left_out_is_told_that_the_context_is_full(notebook: Notebook) -> None:
    conversation = Conversation()
    for number in range(10):
        conversation = conversation.ask(f"question {number}").say("assistant", f"answer {number}")
    small, large = ScriptedEngine(SCRIPT, context=200), ScriptedEngine(SCRIPT, context=2000)
    with pytest.raises(ContextFull, match="conversation") as full:
        list(reply(small, conversation.ask("the last"), Sampling(), (), notebook, when_full="error"))
    assert not small.started.is_set()
    assert notebook.finished == [("", "failed")]
    ledger = next(reply(large, conversation.ask("the last"), Sampling(), (), Forgotten(), when_full="error"))
    assert ledger == Ledger(2000, full.value.need, 0, left_tokens=2000 - full.value.need)


def test_a_forgotten_draft_keeps_nothing() -> None:
    assert list(reply(ScriptedEngine(SCRIPT), TALE, Sampling(), (), Forgotten()))[1:] == SCRIPT


# What is kept


@pytest.mark.usefixtures("quick")
def test_the_draft_is_saved_while_it_is_written(notebook: Notebook) -> None:
    list(turn(ScriptedEngine(SCRIPT), notebook))
    assert notebook.saved == ["Once ", "Once upon ", "Once upon a time."]
    assert notebook.finished == [("Once upon a time.", "stop")]


def test_the_draft_is_saved_no_oftener_than_need_be(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(chat, "time", SimpleNamespace(monotonic=lambda: next(clock) * chat.SAVE_SECONDS / 10))
    list(turn(ScriptedEngine([Piece("word ")] * 100), notebook))
    assert 5 < len(notebook.saved) < 20
    assert notebook.finished == [("word " * 100, "stopped")]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_a_reply_that_ends_is_kept_with_its_reason(notebook: Notebook, reason: Ending) -> None:
    assert reason in ("stop", "length")  # tells the type checker what the engine may say
    list(turn(ScriptedEngine([*SCRIPT[:-1], Done(reason, USAGE)]), notebook))
    assert notebook.finished == [("Once upon a time.", reason)]


@pytest.mark.parametrize(("events_read", "text"), [(1, ""), (4, ""), (5, "Once "), (7, "Once upon a time.")])
def test_a_reply_that_is_closed_is_kept_as_far_as_it_came(notebook: Notebook, events_read: int, text: str) -> None:
    events = turn(ScriptedEngine(SCRIPT), notebook)
    for _ in range(events_read):
        next(events)
    events.close()
    assert notebook.finished == [(text, "stopped")]


class Clinging(ScriptedEngine):
    """Keeps its last reply, so that it ends only if somebody closes it."""

    last: Generator[Event]

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        self.last = super().reply(tokens, sampling, stops)
        return self.last


def test_closing_a_turn_stops_the_engine(notebook: Notebook) -> None:
    engine = Clinging(SCRIPT)
    events = turn(engine, notebook)
    for _ in range(5):
        next(events)
    assert not engine.closed.is_set()
    events.close()
    assert engine.closed.is_set()


def test_closing_after_the_end_changes_nothing(notebook: Notebook) -> None:
    events = turn(ScriptedEngine(SCRIPT), notebook)
    while not isinstance(next(events), Done):
        pass
    events.close()
    assert notebook.finished == [("Once upon a time.", "stop")]


DEATHS = [engine_error(), EngineDied("the engine stopped: it was told to", "start it again")]


@pytest.mark.parametrize("error", DEATHS, ids=lambda error: type(error).__name__)
def test_a_reply_that_fails_is_kept_as_far_as_it_came(notebook: Notebook, error: LocalchatError) -> None:
    with pytest.raises(type(error), match="it was told to"):
        list(turn(ScriptedEngine([*SCRIPT[:5], error]), notebook))
    assert notebook.finished == [("Once upon ", "failed")]


def test_a_question_that_does_not_fit_never_reaches_the_engine(notebook: Notebook) -> None:
    engine = ScriptedEngine(SCRIPT, context=64)
    with pytest.raises(ContextFull):
        list(turn(engine, notebook, Conversation().ask("x" * 100)))
    assert not engine.started.is_set()
    assert notebook.finished == [("", "failed")]


def test_a_bug_of_a_reader_loses_nothing(notebook: Notebook) -> None:
    with pytest.raises(ZeroDivisionError):
        list(turn(ScriptedEngine([*SCRIPT[:4], ZeroDivisionError()]), notebook))
    assert notebook.finished == [("Once ", "stopped")]


# Sampling


def engine_that_recommends(**sampling: float) -> ScriptedEngine:
    engine = ScriptedEngine([])
    fields = {name: getattr(engine.loaded, name) for name in Loaded.__slots__}
    engine.loaded = Loaded(**{**fields, "sampling": sampling})
    return engine


def test_the_users_wish_counts_more_than_the_authors_advice() -> None:
    engine = engine_that_recommends(temperature=0.15, top_k=50)
    assert recommended(engine, {}, {"temperature": None, "seed": 3}) == Sampling(temperature=0.15, top_k=50, seed=3)
    assert recommended(engine, {}, {"temperature": 0.0}) == Sampling(temperature=0.0, top_k=50)


@pytest.mark.parametrize("advice", [{"temperature": 99.0}, {"top_k": -1}, {"top_p": 1.5}, {"min_p": float("nan")}])
def test_advice_that_makes_no_sense_does_not_make_a_model_unusable(advice: dict[str, float]) -> None:
    assert recommended(engine_that_recommends(**advice), {}, {}) == Sampling()


def test_the_file_counts_more_than_the_catalog() -> None:
    engine = engine_that_recommends(temperature=0.15)
    assert recommended(engine, {"temperature": 0.9, "top_k": 7}, {}) == Sampling(temperature=0.15, top_k=7)


def test_a_field_that_the_catalog_made_up_is_not_taken() -> None:
    assert recommended(engine_that_recommends(), {"warmth": 1.0}, {}) == Sampling()


def test_a_wish_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(LocalchatError, match="temperature") as refusal:
        recommended(engine_that_recommends(), {}, {"temperature": 99})
    assert "--temperature" in refusal.value.hint


def test_the_room_for_the_reply_follows_what_was_asked_for() -> None:
    engine = ScriptedEngine([], context=200)
    question = Conversation().ask("x" * 150)
    prompt_for(engine, question, Sampling(max_tokens=1))
    with pytest.raises(ContextFull) as full:
        prompt_for(engine, question, Sampling(max_tokens=100))
    assert full.value.have == 150
