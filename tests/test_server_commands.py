"""`serve`, `status` and `stop`, and the app's side of a server of ours."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving import Live, Scripted, serving, until

from localchat.chat import Forgotten, reply
from localchat.cli import main
from localchat.conversation import Conversation
from localchat.engine.events import Done, Piece
from localchat.engine.remote import RemoteEngine
from localchat.errors import LocalchatError
from localchat.sampling import Sampling
from localchat.server import background, running
from localchat.server import serve as server

Captured = pytest.CaptureFixture[str]
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and rights of POSIX")


@pytest.fixture
def _ended() -> Iterator[None]:
    """No server is left behind, however the test ends."""
    yield
    if found := running.find():
        with suppress(psutil.NoSuchProcess):
            psutil.Process(found.pid).kill()


@pytest.mark.usefixtures("_ended")
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
def test_a_server_in_the_background_is_started_asked_and_stopped(
    capsys: Captured, chatml_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["pull", str(chatml_file)]) == 0
    assert main(["serve", "--background", "--port", "0"]) == 0
    said = capsys.readouterr().err
    assert running.own_token() not in said  # it is shown to a person on a terminal only
    assert str(running.token_file()) in said
    assert main(["status", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["running"], facts["answers"]) == (True, True)
    assert facts["models"] == [{"name": "chatml", "context": None}]
    assert main(["serve"]) == 1
    assert "runs already" in capsys.readouterr().err
    assert main(["run", "--remote", facts["url"], "Hello", "--max-tokens", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usage"]["completion_tokens"] <= 3
    assert main(["status"]) == 0
    assert "in memory" in capsys.readouterr().out
    assert running.own_token() not in running.log_file().read_text()
    assert stat.S_IMODE(running.log_file().stat().st_mode) & 0o077 == 0
    assert main(["stop"]) == 0
    assert not psutil.pid_exists(facts["pid"]) or psutil.Process(facts["pid"]).status() == psutil.STATUS_ZOMBIE
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "no server runs" in capsys.readouterr().err
    assert main(["stop"]) == 1


def test_two_that_begin_at_the_same_moment_are_one(capsys: Captured) -> None:
    with running.alone():  # as one that has not said yet where it is
        assert main(["serve", "--port", "0"]) == 1
        assert "a server runs already" in capsys.readouterr().err
        one = running.record("127.0.0.1", 4000, has_own_token=True)
        with pytest.raises(LocalchatError, match=r"runs already: http://127\.0\.0\.1:4000"), running.alone():
            pass
        assert running.find() == one
    with running.alone():  # nobody holds it any more
        pass


def test_one_that_began_while_another_was_stopped_stays_known() -> None:
    one = running.record("127.0.0.1", 4000, has_own_token=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        started = psutil.Process(process.pid).create_time()
        running.stop(replace(one, pid=process.pid, started=started))
    assert running.find() == one


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("is_background", [True, False])
def test_the_token_is_shown_on_a_terminal_and_else_its_file(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, is_background: bool
) -> None:
    one = running.Running(1, 0.0, "127.0.0.1", 4000, True)
    monkeypatch.setattr(background, "start", lambda *_: one)
    monkeypatch.setattr(server, "serve", lambda _wanted, _settings, ready: ready(one, []))
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    assert main(["serve", *(["--background"] if is_background else [])]) == 0
    said = capsys.readouterr().err
    assert (running.own_token() in said) is is_terminal
    assert f"the token is kept in {running.token_file()}" in said


@posix_only
@pytest.mark.usefixtures("_ended")
def test_a_signal_ends_it_in_good_order(home: Path) -> None:
    command = [sys.executable, "-m", "localchat", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: running.find() is not None)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Traceback" not in said
    assert running.own_token().encode() not in said  # it is shown to a person on a terminal only
    assert running.find() is None
    assert not (home / "server.json").exists()


def test_one_that_is_told_to_end_while_it_begins_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(*where: Any, **how: Any) -> None:
        running.record(*where, **how)
        sys.exit(0)  # as the signal does

    monkeypatch.setattr(server, "record", recorded)
    with pytest.raises(SystemExit):
        main(["serve", "--port", "0"])
    assert running.find() is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--host", "0.0.0.0", "--no-token"], 1, "everybody"),
        (["--token", "short"], 1, "16 or more"),
        (["--token", "x" * 20, "--no-token"], 2, "not both"),
        (["--port", "70000"], 2, "70000"),
        (["--models", "nobody"], 1, "nobody"),
        (["--allow-host", "http://mybox:1"], 1, "without http://"),
        (["--host", "203.0.113.7", "--port", "4000"], 1, "cannot listen"),
        (["--install-service", "--token", "x" * 20], 2, "leave --token out"),
    ],
)
def test_servers_that_cannot_be(capsys: Captured, words: list[str], code: int, said: str) -> None:
    assert main(["serve", *words]) == code
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of systemd")
def test_a_service_is_written(capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert main(["serve", "--install-service", "--port", "4000", "--no-token", "--allow-host", "mybox"]) == 0
    unit = tmp_path / "config" / "systemd" / "user" / "localchat.service"
    assert '"serve" "--host" "127.0.0.1" "--port" "4000" "--allow-host" "mybox" "--no-token"' in unit.read_text()
    said = capsys.readouterr().err
    assert str(unit) in said
    assert "systemctl --user enable --now localchat" in said
    assert "every program" in said


@pytest.fixture
def live() -> Iterator[Live]:
    with serving(Scripted(context=4096)) as live:
        yield live


def test_the_app_attaches_to_it(live: Live) -> None:
    engine = RemoteEngine(live.url, "", live.token)
    assert engine.model == "parrot"
    events = list(reply(engine, Conversation().ask("Hi"), Sampling(seed=1, repeat_penalty=1.1), ["x"], Forgotten()))
    assert "".join(event.text for event in events if isinstance(event, Piece)) == "Hello **you**"
    assert isinstance(events[-1], Done)
    assert RemoteEngine(live.url, "", live.token).loaded.context == 4096  # known once it is loaded
