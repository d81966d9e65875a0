"""`localchat run`: one answer on standard output, for people and for scripts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from localchat.chat import Draft, Forgotten, TurnEvent, recommended, reply
from localchat.conversation import Conversation
from localchat.engine.events import Done, Engine, Piece, Reading, Remote, TokenProbability
from localchat.engine.remote import RemoteEngine
from localchat.engine.remote_model import RemoteModel
from localchat.history.named import Named
from localchat.history.store import History
from localchat.launch import launch
from localchat.launching import Launch
from localchat.library import Installed, remember_use
from localchat.paths import history_file
from localchat.prompt.ledger import Ledger
from localchat.sampling import Sampling
from localchat.settings import Settings
from localchat.text import clean, is_interactive


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how the answer is to be."""

    prompt: str
    system: str | None = None
    """None leaves it to the settings and the model."""
    stops: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the sampling, by the names of its fields."""
    session: str = ""
    """The name of a conversation to go on with; empty asks without one."""


def answer(model: Installed, settings: Settings, question: Question, how: Launch, as_json: bool) -> dict[str, Any]:
    """Load the model and answer: print the answer as it comes, or for a program return it with its facts."""
    printer = _Collector(model.name) if as_json else _Printer()
    launched = launch(model, settings, printer.loading, replace(how, is_kept=bool(question.session)))
    with launched.engine as engine:
        printer.note(launched.notes)
        sampling = recommended(engine, model.receipt.sampling, question.changes)
        question = replace(question, stops=(*model.receipt.stops, *question.stops))
        _show(printer, engine, question, sampling, model.name, settings.system or model.receipt.system)
    if printer.done:
        remember_use(model, printer.done.usage.tokens_per_second)
    return printer.finish()


def answer_remote(model: RemoteModel, settings: Settings, question: Question, as_json: bool) -> dict[str, Any]:
    """The same from a model of a server."""
    engine = RemoteEngine(model.url, model.name, model.token)
    printer = _Collector(engine.model) if as_json else _Printer()
    _show(printer, engine, question, recommended(engine, {}, question.changes), engine.model, settings.system)
    return printer.finish()


def _show(
    printer: _Printer | _Collector, engine: Engine | Remote, question: Question, sampling: Sampling, model: str,
    usual_system: str,
) -> None:  # fmt: skip
    system = usual_system if question.system is None else question.system
    conversation, draft = _asked(question, model, system)
    with closing(reply(engine, conversation, sampling, question.stops, draft)) as events:
        for event in events:
            printer.show(event)


def _asked(question: Question, model: str, system: str) -> tuple[Conversation, Draft]:
    """What the model is to answer, and where its answer is kept."""
    if question.session:
        return Named(History(history_file()), question.session).ask(question.prompt, model, system)
    begun = Conversation().say("system", system) if system else Conversation()
    return begun.ask(question.prompt), Forgotten()


class _Printer:
    """Text as it comes on standard output; on a terminal, what is going on below it on standard error."""

    def __init__(self) -> None:
        self.done: Done | None = None
        self._status = ""
        self._last = "\n"

    def loading(self, fraction: float) -> None:
        self._show_status(f"loading {fraction:.0%}")

    def note(self, notes: Sequence[str]) -> None:
        self._show_status("")
        for note in notes:
            print(f"note: {clean(note)}", file=sys.stderr)

    def show(self, event: TurnEvent) -> None:
        match event:
            case Reading(done, total) if done < total:
                self._show_status(f"reading {done:,}/{total:,}")
            case Piece(text):
                self._show_status("")
                print(clean(text), end="", flush=True)
                self._last = text[-1:]
            case Done():
                self.done = event

    def finish(self) -> dict[str, Any]:
        if self._last != "\n":
            print(flush=True)
        if self.done and is_interactive():
            usage = self.done.usage
            cut = " · cut at the length limit" if self.done.reason == "length" else ""
            text = f"{usage.completion_tokens} tokens, {usage.tokens_per_second:.1f}/s"
            print(f"\x1b[2m{text}, first after {usage.first_token_seconds:.1f} s{cut}\x1b[0m", file=sys.stderr)
        return {}

    def _show_status(self, status: str) -> None:
        """One line that is written over; nothing where nobody watches."""
        if status != self._status and is_interactive():
            print(f"\r\x1b[K\x1b[2m{status}\x1b[0m", end="", file=sys.stderr, flush=True)
        self._status = status


class _Collector:
    """The whole answer and its facts as one JSON object."""

    def __init__(self, model: str) -> None:
        self.done: Done | None = None
        self._model, self._text = model, ""
        self._notes: list[str] = []
        self._logprobs: list[TokenProbability] = []
        self._ledger = Ledger(0, 0, 0)

    def loading(self, fraction: float) -> None:
        """Programs do not wait for words."""

    def note(self, notes: Sequence[str]) -> None:
        self._notes = list(notes)

    def show(self, event: TurnEvent) -> None:
        match event:
            case Ledger():
                self._ledger = event
            case Piece(text, logprobs=logprobs):
                self._text += text
                self._logprobs += logprobs
            case Done():
                self.done = event

    def finish(self) -> dict[str, Any]:
        assert self.done is not None, "a reply ends with Done"
        usage = self.done.usage
        return {
            "text": self._text,
            "finish_reason": self.done.reason,
            "model": self._model,
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
            },
            "timings": {
                "first_token": usage.first_token_seconds,
                "prompt_tokens_per_second": usage.prompt_tokens_per_second,
                "tokens_per_second": usage.tokens_per_second,
                "other_cores": usage.other_cores,
                "threads": usage.threads,
            },
            "ledger": asdict(self._ledger),
            "notes": self._notes,
            **({"logprobs": [_as_fields(found) for found in self._logprobs]} if self._logprobs else {}),
        }


def _as_fields(found: TokenProbability) -> dict[str, Any]:
    likeliest = [{"text": text, "logprob": logprob} for text, logprob in found.likeliest]
    return {"text": found.text, "logprob": found.logprob, "likeliest": likeliest}
