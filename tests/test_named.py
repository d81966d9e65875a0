"""Conversations by name: `run --session NAME`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
from desk import install_fake
from tiny import refused

from localchat.answer import Question, answer
from localchat.cli import main
from localchat.conversation import Message
from localchat.errors import LocalchatError
from localchat.history.named import Named
from localchat.history.store import History
from localchat.launch import Launched
from localchat.launching import Launch
from localchat.library import Installed
from localchat.settings import Settings


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history.db")


def test_a_name_begins_a_conversation_and_goes_on_with_it(history: History) -> None:
    conversation, draft = Named(history, "trip").ask("Where to?", "parrot", "Be brief.")
    assert conversation.messages == (Message("system", "Be brief."), Message("user", "Where to?"))
    draft.finish("To Rome.", "stop")
    again, _ = Named(history, "trip").ask("And then?", "parrot", "Be long.")
    assert [message.text for message in again.messages] == ["Be brief.", "Where to?", "To Rome.", "And then?"]
    assert [heading.title for heading in history.conversations()] == ["trip"]


def test_other_names_are_other_conversations(history: History) -> None:
    Named(history, "trip").ask("Where to?", "parrot", "")[1].finish("To Rome.", "stop")
    conversation, _ = Named(history, "work").ask("What now?", "parrot", "")
    assert [message.text for message in conversation.messages] == ["What now?"]


def test_a_question_that_was_never_answered_is_forgotten(history: History) -> None:
    Named(history, "trip").ask("Where to?", "parrot", "")[1].finish("", "failed")
    conversation, _ = Named(history, "trip").ask("Where to, again?", "parrot", "")
    assert [message.text for message in conversation.messages] == ["Where to, again?"]


def test_a_reply_that_was_broken_off_stays(history: History) -> None:
    Named(history, "trip").ask("Where to?", "parrot", "")[1].finish("To", "stopped")
    conversation, _ = Named(history, "trip").ask("Go on.", "parrot", "")
    assert [message.text for message in conversation.messages] == ["Where to?", "To", "Go on."]


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_a_name_has_something_to_show(history: History, name: str) -> None:
    with refused("a session needs a name"):
        Named(history, name)


def test_a_name_is_kept_as_one_harmless_line(history: History) -> None:
    for _ in range(2):
        Named(history, "a\nb\x1b[31m" + "x" * 300).ask("?", "parrot", "")[1].finish("!", "stop")
    (heading,) = history.conversations()
    assert "\n" not in heading.title
    assert "\x1b" not in heading.title


@pytest.mark.model
def test_run_goes_on_with_a_conversation(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    for question in ("Say yes.", "Say no."):
        capsys.readouterr()
        assert main(["run", "smollm2", question, "--session", "test", "--max-tokens", "4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    with closing(History(home / "history.db")) as history:
        (heading,) = history.conversations()
        said = [message.text for message in history.messages(heading.id) if message.role != "system"]
    assert said[::2] == ["Say yes.", "Say no."]
    assert said[3] == facts["text"]
    assert main(["run", "smollm2", "Say no.", "--max-tokens", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usage"]["prompt_tokens"] < facts["usage"]["prompt_tokens"]


@pytest.mark.parametrize("session", ["", "trip"])
def test_only_what_somebody_comes_back_to_is_kept_on_disk(session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Launch] = []

    def launched(_model: Installed, _settings: Settings, _progress: object, how: Launch) -> Launched:
        seen.append(how)
        raise LocalchatError("no model is loaded here", "there is none")

    monkeypatch.setattr("localchat.answer.launch", launched)
    with refused("no model is loaded here"):
        answer(install_fake(), Settings(), Question("Hello", session=session), Launch(), as_json=True)
    assert [how.is_kept for how in seen] == [bool(session)]
