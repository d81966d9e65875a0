"""A server's model on the command line and in the app."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from desk import install_fake, saved_texts, wait_until
from remote_server import END, Hold, RemoteServer, Said, as_json, delta, serving
from test_tui_chat import bubbles, ready, say, screen, state
from textual.pilot import Pilot

from localchat.cli import main
from localchat.engine.remote_model import RemoteModel
from localchat.history.store import History
from localchat.launching import Launch
from localchat.paths import history_file
from localchat.settings import Settings
from localchat.tui.app import LocalchatApp, make_app
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.note import Note
from localchat.tui.prompt import Prompt
from localchat.tui.services import Services, real_services
from localchat.tui.status import Status
from localchat.tui.title import Title

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def server() -> Iterator[RemoteServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def piped(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Standard input; empty unless a test fills it."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
    return raw


def pipe(piped: io.BytesIO, text: str) -> None:
    piped.write(text.encode())
    piped.seek(0)


# localchat run --remote


def run(server: RemoteServer, *arguments: str) -> int:
    return main(["run", "--remote", server.url, *arguments])


def asked(server: RemoteServer) -> tuple[str, list[tuple[str, str]]]:
    """The model and the messages of the last question."""
    body = server.bodies[-1]
    return body["model"], [(message["role"], message["content"]) for message in body["messages"]]


def test_the_answer_of_a_server_is_all_that_is_on_standard_output(server: RemoteServer, capsys: Captured) -> None:
    assert run(server, "Hi") == 0
    assert capsys.readouterr() == ("Hello **you**\n", "")
    assert asked(server) == ("parrot", [("user", "Hi")])


def test_two_words_are_the_model_and_the_prompt(server: RemoteServer) -> None:
    server.pages["/v1/models"] = as_json({"data": [{"id": "parrot"}, {"id": "acme/raven"}]})
    assert run(server, "acme/raven", "Hi") == 0
    assert asked(server) == ("acme/raven", [("user", "Hi")])


def test_with_piped_text_the_first_word_is_the_model(server: RemoteServer, piped: io.BytesIO) -> None:
    pipe(piped, "Why?\n")
    assert run(server, "parrot") == 0
    assert asked(server) == ("parrot", [("user", "Why?")])


def test_piped_text_alone_and_beside_a_prompt_is_read(server: RemoteServer, piped: io.BytesIO) -> None:
    pipe(piped, "line\n")
    assert run(server) == 0
    assert asked(server)[1] == [("user", "line")]
    pipe(piped, "line\n")
    piped.seek(0)
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"line\n"), encoding="utf-8")
    assert run(server, "parrot", "Sum this up:") == 0
    assert asked(server)[1] == [("user", "Sum this up:\n\nline")]


def test_a_prompt_taken_for_a_model_is_answered_with_the_models(
    server: RemoteServer, piped: io.BytesIO, capsys: Captured
) -> None:
    pipe(piped, "line\n")
    assert run(server, "Sum this up:") == 1
    assert "has no model 'Sum this up:'" in (said := capsys.readouterr().err)
    assert "name one of them: parrot" in said


def test_the_answer_as_json_has_the_fields_of_a_local_one(server: RemoteServer, capsys: Captured) -> None:
    assert run(server, "Hi", "--json") == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert facts["timings"].keys() == {
        "first_token",
        "prompt_tokens_per_second",
        "tokens_per_second",
        "other_cores",
        "threads",
    }
    assert facts["ledger"].items() >= {"window_tokens": 4096, "used_tokens": 0, "dropped_turns": 0}.items()
    assert {name: facts[name] for name in ("text", "finish_reason", "model", "usage", "notes")} == {
        "text": "Hello **you**",
        "finish_reason": "stop",
        "model": "parrot",
        "usage": {"prompt_tokens": 40, "cached_tokens": 30, "completion_tokens": 3},
        "notes": [],
    }


def test_the_options_of_an_answer_reach_the_server(server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_SYSTEM", "Be brief.")
    flags = ["--temperature", "0", "--seed", "3", "--max-tokens", "9", "--stop", "END"]
    assert run(server, "Hi", *flags) == 0
    body = server.bodies[0]
    assert (body["temperature"], body["seed"], body["max_tokens"], body["stop"]) == (0, 3, 9, ["END"])
    assert asked(server)[1] == [("system", "Be brief."), ("user", "Hi")]
    assert run(server, "Hi", "--system", "Be kind.") == 0
    assert asked(server)[1][0] == ("system", "Be kind.")
    assert run(server, "Hi", "--system", "") == 0
    assert asked(server)[1] == [("user", "Hi")]


@pytest.mark.parametrize(("flag", "variable", "sent"), [
    (["--token", "sesame"], "", "Bearer sesame"),
    ([], "open", "Bearer open"),
    (["--token", "sesame"], "open", "Bearer sesame"),
    ([], "", None),
])  # fmt: skip
def test_the_token_is_an_option_or_a_variable(
    server: RemoteServer, monkeypatch: pytest.MonkeyPatch, flag: list[str], variable: str, sent: str | None
) -> None:
    monkeypatch.setenv("LOCALCHAT_REMOTE_TOKEN", variable)
    assert run(server, "Hi", *flag) == 0
    assert {request.headers.get("Authorization") for request in server.asked} == {sent}


def test_a_refusal_is_one_sentence_without_the_token(server: RemoteServer, capsys: Captured) -> None:
    server.pages["/v1/models"] = as_json({"error": {"message": "bad key sesame"}}, 401)
    assert run(server, "Hi", "--token", "sesame") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"localchat: {server.host} refuses access (401): bad key …\n"
        "  give the token with --token or LOCALCHAT_REMOTE_TOKEN\n"
    )


def test_a_reply_that_breaks_off_leaves_what_was_written(server: RemoteServer, capsys: Captured) -> None:
    server.say(delta("Half a"), is_cut=True)
    assert run(server, "Hi") == 1
    said = capsys.readouterr()
    assert said.out == "Half a"
    assert "broke off" in said.err
    assert run(server, "Hi", "--json") == 1
    assert capsys.readouterr().out == ""


def test_hostile_text_of_a_server_is_printed_harmlessly(server: RemoteServer, capsys: Captured) -> None:
    server.say(delta("\x1b]0;owned\x07 \x9b31m\u202e", "stop"), END)
    assert run(server, "Hi") == 0
    assert not set(capsys.readouterr().out) & {"\x1b", "\x07", "\x9b", "\u202e"}


WRONG = [
    ["run", "--remote", "http://127.0.0.1:9"],
    ["run", "--remote", "http://127.0.0.1:9", "a", "b", "c"],
    ["run", "--remote", "http://127.0.0.1:9", "Hi", "--context", "1024"],
    ["run", "--remote", "http://127.0.0.1:9", "Hi", "--rpc", "host:1"],
    ["run", "--remote", "http://127.0.0.1:9", "Hi", "--top-p", "2"],
    ["run", "--remote"],
    ["run"],
    ["--remote"],
    ["--remote", "http://127.0.0.1:9", "parrot", "Hi"],
    ["--remote", "http://127.0.0.1:9", "--context", "1024"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=str)
def test_wrong_usage_is_2(arguments: list[str], capsys: Captured) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("url", ["", "localhost:8000", "http://user:secret@host/v1"])
@pytest.mark.parametrize("command", [["run", "Hi"], []])
def test_what_is_no_address_is_said_before_anything_opens(url: str, command: list[str], capsys: Captured) -> None:
    assert main([*command, "--remote", url]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 2
    assert "secret" not in said


# localchat --remote


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that the app was opened with, on what seems to be a terminal."""
    opened: list[Any] = []
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    app = SimpleNamespace(run_app=lambda _settings, model, _how: opened.append(model))
    monkeypatch.setitem(sys.modules, "localchat.tui.app", app)
    return opened


URL = "http://host:8000/v1"
COMMANDS = [
    (["--remote", URL], RemoteModel(URL)),
    ([f"--remote={URL}/"], RemoteModel(URL)),
    (["--remote", URL, "raven"], RemoteModel(URL, "raven")),
    (["raven", "--remote", URL], RemoteModel(URL, "raven")),
    (["--debug", "--remote", URL], RemoteModel(URL)),
    (["--token", "sesame", "--remote", URL, "raven"], RemoteModel(URL, "raven", "sesame")),
]


@pytest.mark.parametrize(("arguments", "model"), COMMANDS, ids=str)
def test_the_app_opens_with_a_model_of_a_server(opened: list[Any], arguments: list[str], model: RemoteModel) -> None:
    assert main(arguments) == 0
    assert opened == [model]


def test_a_token_in_the_environment_is_no_reason_to_ask_a_server(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALCHAT_REMOTE_TOKEN", "sesame")
    assert main([]) == 0
    assert main(["--remote", URL]) == 0
    assert opened == [None, RemoteModel(URL, "", "sesame")]


def test_help_says_how_to_use_a_server(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert "--remote URL" in capsys.readouterr().out
    assert main(["run", "--help"]) == 0
    assert "LOCALCHAT_REMOTE_TOKEN" in capsys.readouterr().out


# The app


def app_of(server: RemoteServer, model: str = "") -> LocalchatApp:
    services = real_services(Settings(), Launch())
    return make_app(services, RemoteModel(server.url, model))


async def wait_for(pilot: Pilot[None], wanted: str) -> None:
    await wait_until(lambda: state(pilot) == wanted)


async def test_the_app_talks_with_a_model_of_a_server(server: RemoteServer) -> None:
    async with app_of(server).run_test(size=(120, 30)) as pilot:
        await ready(pilot)
        assert screen(pilot).query_one(Title).model == f"parrot · {server.host}"
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot) == [("user", "Hi"), ("assistant", "Hello **you**")])
        await ready(pilot)
        assert asked(server) == ("parrot", [("user", "Hi")])
        assert saved_texts() == [("user", "Hi", "said"), ("assistant", "Hello **you**", "stop")]
        situation = screen(pilot).query_one(Status).situation
        assert (situation.window_tokens, situation.used_tokens, situation.reply_tokens) == (4096, 40, 3)
        await say(pilot, "Again")
        await wait_until(lambda: len(server.bodies) == 2 and not screen(pilot).is_writing)
        assert [text for _, text in asked(server)[1]] == ["Hi", "Hello **you**", "Again"]


async def test_escape_stops_a_server_that_says_nothing(server: RemoteServer) -> None:
    server.say(Hold())
    async with app_of(server).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_for(pilot, "waiting")
        await pilot.press("escape")
        await wait_until(server.client_left.is_set)
        await wait_until(lambda: screen(pilot).query_one(Prompt).text == "tale")
        assert saved_texts() == []


async def test_escape_in_the_middle_keeps_what_the_server_wrote(server: RemoteServer) -> None:
    server.say(delta("Once "), Hold())
    async with app_of(server).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "tale")
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "Once "))
        await wait_for(pilot, "writing")
        await pilot.press("escape")
        await wait_until(server.client_left.is_set)
        await wait_until(lambda: saved_texts()[-1] == ("assistant", "Once ", "stopped"))


async def test_a_server_that_breaks_off_is_told_and_can_be_asked_again(server: RemoteServer) -> None:
    server.answers.insert(0, Said([delta("Half a")], is_cut=True))
    async with app_of(server).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: len(screen(pilot).query(Note)) == 1)
        assert "broke off" in str(screen(pilot).query_one(Note).query_one(".what").render())
        assert saved_texts()[-1] == ("assistant", "Half a", "failed")
        await say(pilot, "Hi")
        await wait_until(lambda: bubbles(pilot)[-1] == ("assistant", "Hello **you**"))


async def test_a_server_that_is_not_there_can_be_tried_again(server: RemoteServer) -> None:
    pages, server.pages = server.pages, {}
    async with app_of(server, "parrot").run_test() as pilot:
        await wait_for(pilot, "not loaded")
        await wait_until(lambda: len(screen(pilot).query(Note)) == 1)
        server.pages = pages
        await pilot.press("ctrl+r")
        await ready(pilot)
        assert screen(pilot).query_one(Title).model == f"parrot · {server.host}"


async def test_from_a_server_one_can_change_to_a_model_of_this_machine(server: RemoteServer) -> None:
    install_fake("parrot")  # of the same name
    loads: list[str] = []
    real = real_services(Settings(), Launch())

    def launch(model: Any, progress: Any) -> Any:
        loads.append(type(model).__name__)
        return real.launch(RemoteModel(server.url), progress)

    services = Services(History(history_file()), Settings(), launch, list, real.pull)
    async with make_app(services, RemoteModel(server.url)).run_test() as pilot:
        await ready(pilot)
        await pilot.press("ctrl+l")
        await wait_until(lambda: isinstance(pilot.app.screen, LibraryScreen))
        await pilot.press("enter")
        await wait_until(lambda: loads == ["RemoteModel", "Installed"])
        await ready(pilot)
