"""Many questions to one process: it stays for the next one, is replaced when it fails, and ends with its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from localchat import child
from localchat.child import ChildDied, Service
from localchat.errors import LocalchatError

CHILD = """
import os, sys, time
print("noise before the first question", flush=True)
from localchat.child import Limits, serve
from localchat.errors import LocalchatError

def reply(question):
    print("noise on standard output", flush=True)
    match question["do"]:
        case "refuse":
            raise LocalchatError("no", "another time")
        case "fail":
            raise ValueError("broken in\\nthe middle")
        case "sleep":
            time.sleep(60)
        case "work":
            while True:
                pass
        case "grow":
            return {"size": len(bytearray(1 << 30))}
        case "fill":
            found = []
            while True:
                found.append(bytes(500))
        case "spend":
            end = time.process_time() + 0.4
            while time.process_time() < end:
                pass
        case "leave":
            sys.exit(3)
        case "crash":
            os.abort()
        case "talk":
            return {"said": "x" * 10_000}
    return {"said": question["do"], "pid": os.getpid(), "at": os.getcwd()}

serve(reply, Limits(memory_bytes=512 << 20, cpu_seconds=1))
"""
PARENT = """
import os, sys
from localchat.child import Service
service = Service("a_child", 1 << 20)
service.ask({"do": "x"}, 30)
print(service.pid, flush=True)
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits that only Linux keeps")
FAILURES = [
    ("sleep", "longer than 0.5 seconds"),
    ("fail", "the middle"),
    ("leave", "ended with code 3"),
    ("talk", "its answer is too long"),
    pytest.param("crash", "crashed", marks=LINUX),
    pytest.param("grow", "too much memory", marks=LINUX),
    pytest.param("fill", "too much memory", marks=LINUX),
    pytest.param("work", "took too long", marks=LINUX),
]
SECONDS = {"sleep": 0.5}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment in which the module `a_child` is found."""
    (tmp_path / "a_child.py").write_text(CHILD)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path), str(Path.cwd())])}


@pytest.fixture
def service(environment: dict[str, str]) -> Iterator[Service]:
    service = Service("a_child", 4096, environment)
    yield service
    service.close()


def said(service: Service, text: str) -> str:
    return str(service.ask({"do": text}, 30)["said"])


def test_no_process_is_started_before_a_question(service: Service) -> None:
    assert service.pid is None


def test_one_process_answers_all_questions(service: Service) -> None:
    pids = {service.ask({"do": f"question {number}"}, 30)["pid"] for number in range(20)}
    assert pids == {service.pid}


TEXTS = ["", "h\u00e9llo \u4e16\u754c \U0001f600", "\n\r\x00\x1b\u2028\x85", '"\\', "\ud800", "\ud83d\ude00"]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_goes_there_and_comes_back(service: Service, text: str) -> None:
    assert said(service, text) == text


def test_what_the_child_refuses_the_parent_refuses_and_the_child_stays(service: Service) -> None:
    assert said(service, "before") == "before"
    pid = service.pid
    with pytest.raises(LocalchatError, match="no") as refusal:
        service.ask({"do": "refuse"}, 30)
    assert not isinstance(refusal.value, ChildDied)
    assert refusal.value.hint == "another time"
    assert said(service, "after") == "after"
    assert service.pid == pid


@pytest.mark.parametrize(("what", "words"), FAILURES)
def test_after_a_failure_the_next_question_is_answered(service: Service, what: str, words: str) -> None:
    assert said(service, "before") == "before"
    pid = service.pid
    assert pid is not None
    with pytest.raises(ChildDied, match=words) as caught:
        service.ask({"do": what}, SECONDS.get(what, 30))
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert not psutil.pid_exists(pid)
    assert said(service, "after") == "after"
    assert service.pid != pid


def test_a_process_that_was_killed_between_questions_is_replaced(service: Service) -> None:
    said(service, "before")
    assert service.pid is not None
    process = psutil.Process(service.pid)
    process.kill()
    psutil.wait_procs([process], timeout=60)
    assert said(service, "after") == "after"


def test_a_question_larger_than_any_pipe_is_asked(service: Service) -> None:
    assert service.ask({"do": "x", "more": "y" * (4 << 20)}, 30)["said"] == "x"


def test_a_question_that_nobody_reads_is_given_up(service: Service) -> None:
    assert service.pid is None
    said(service, "before")
    assert service.pid is not None
    psutil.Process(service.pid).suspend()
    with pytest.raises(ChildDied, match="longer than"):
        service.ask({"do": "x", "more": "y" * (4 << 20)}, 0.5)
    assert said(service, "after") == "after"


def test_time_is_limited_for_a_question_and_not_for_the_life_of_the_process(service: Service) -> None:
    said(service, "before")
    pid = service.pid
    assert [said(service, "spend") for _ in range(4)] == ["spend"] * 4
    assert service.pid == pid


def test_threads_get_their_own_answers(service: Service) -> None:
    def talk(name: int) -> list[str]:
        return [said(service, f"{name}:{number}") for number in range(30)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(talk, range(8)))
    assert found == [[f"{name}:{number}" for number in range(30)] for name in range(8)]


def test_a_late_answer_is_not_taken_for_that_to_the_next_question(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come while an answer is on its way."""
    said(service, "before")
    first = service.pid
    with monkeypatch.context() as patch:
        patch.setattr(child._Child, "hear", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            service.ask({"do": "interrupted"}, 30)
    assert said(service, "after") == "after"
    assert service.pid != first


def _interrupted(one: child._Child, line: bytes, *_limits: float) -> bytes:
    assert one.process.stdin is not None
    one.process.stdin.write(line)
    one.process.stdin.flush()
    raise KeyboardInterrupt


def test_closing_ends_a_question_that_is_being_answered(service: Service) -> None:
    said(service, "before")
    failures: list[str] = []

    def wait() -> None:
        with pytest.raises(ChildDied) as caught:
            service.ask({"do": "sleep"}, 60)
        failures.append(str(caught.value))

    asking = threading.Thread(target=wait)
    asking.start()
    while asking.is_alive():
        service.close()
        asking.join(0.1)
    assert len(failures) == 1
    assert service.pid is None
    assert said(service, "after") == "after"


def test_a_module_that_does_not_start_is_a_sentence() -> None:
    with pytest.raises(ChildDied, match="no_such_module"):
        Service("no_such_module", 4096).ask({}, 30)


def test_a_process_that_cannot_be_started_is_a_sentence(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "no-python"))
        with pytest.raises(ChildDied, match="could not be started"):
            said(service, "before")
    assert said(service, "after") == "after"


def test_the_folder_one_stands_in_is_no_place_to_import_from(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path / "here")
    service = Service("a_child", 4096, environment)
    assert service.ask({"do": "x"}, 30)["at"] == str(tmp_path / "here")
    service.close()


@pytest.mark.parametrize(
    "ending",
    ["", "sys.exit(1)", "os._exit(1)", "raise ValueError", pytest.param("os.kill(os.getpid(), 9)", marks=LINUX)],
)
def test_no_process_is_left_behind_however_the_parent_ends(environment: dict[str, str], ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT + ending], env={**os.environ, **environment}, capture_output=True, timeout=60
    )
    assert _is_gone(int(done.stdout))


@LINUX
def test_no_process_is_left_behind_in_the_middle_of_an_endless_answer(environment: dict[str, str]) -> None:
    """It does not look at its input then, so only its limit ends it."""
    killer = (
        "import threading; threading.Timer(0.3, os.kill, (os.getpid(), 9)).start(); service.ask({'do': 'work'}, 60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", PARENT + killer], env={**os.environ, **environment}, capture_output=True, timeout=60
    )
    assert done.returncode == -9
    assert _is_gone(int(done.stdout))


def _is_gone(pid: int) -> bool:
    """Does the process end, or has it ended?"""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    gone, alive = psutil.wait_procs([process], timeout=60)
    return bool(gone) or all(one.status() == psutil.STATUS_ZOMBIE for one in alive)
