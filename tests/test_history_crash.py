"""What was acknowledged survives a kill at any moment, and writers at the same time lose nothing of each other's."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localchat.history.store import History

WORDS = 20
WRITER = """
import sys
from pathlib import Path
from localchat.history.store import History
history = History(Path(sys.argv[1]))
conversation = history.begin("round", "tiny")
print("begun", conversation, flush=True)
for number in range(1000):
    history.ask(conversation, f"question {number}")
    print("asked", number, flush=True)
    draft, text = history.draft(conversation, "tiny"), ""
    print("opened 0", flush=True)
    for word in range(int(sys.argv[2])):
        text += f"word{word} "
        draft.save(text)
        print("saved", len(text), flush=True)
    draft.finish(text, "stop")
    print("finished", number, flush=True)
"""
REPLY = "".join(f"word{word} " for word in range(WORDS))


def killed_after(path: Path, lines: int) -> list[tuple[str, int]]:
    """What a writer acknowledged before it was killed, at about so many acknowledgements."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(WORDS)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        told += writer.stdout.readlines()
    return [(words[0], int(words[1])) for line in told if line.endswith("\n") and (words := line.split())]


def test_nothing_that_was_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    path, moments = tmp_path / "history.db", random.Random(5)
    for _ in range(10):
        acknowledged = killed_after(path, moments.randrange(1, 80))
        check_integrity(path)
        history = History(path)
        check_kept(history, acknowledged)
        history.close()
    assert not list(tmp_path.glob("*.damaged-*"))


def check_kept(history: History, acknowledged: list[tuple[str, int]]) -> None:
    """Every acknowledged step is there; the one that was under way may be there or not."""
    asked = [number for what, number in acknowledged if what == "asked"]
    if not asked:
        return
    messages = history.messages(acknowledged[0][1])
    questions = [message.text for message in messages if message.role == "user"]
    assert questions[: len(asked)] == [f"question {number}" for number in asked]
    assert len(questions) <= len(asked) + 1
    assert [message.role for message in messages] == (["user", "assistant"] * len(questions))[: len(messages)]
    replies = [message for message in messages if message.role == "assistant"]
    finished = sum(what == "finished" for what, _ in acknowledged)
    assert [(reply.text, reply.state) for reply in replies[:finished]] == [(REPLY, "stop")] * finished
    last, size = acknowledged[-1]
    for reply in replies[finished:]:
        assert reply.state == "writing" or (reply.state, reply.text) == ("stop", REPLY)
        assert REPLY.startswith(reply.text)
        assert len(reply.text) >= (size if last == "saved" else 0)


def check_integrity(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    for table in ("message_words", "title_words"):  # raises where the index is not that of the texts
        connection.execute(f"INSERT INTO {table}({table}, rank) VALUES ('integrity-check', 1)")
    connection.close()


EACH = 150
OTHER_PROGRAM = """
import sys
from pathlib import Path
from localchat.history.store import History
history = History(Path(sys.argv[1]))
for number in range(int(sys.argv[4])):
    history.ask(int(sys.argv[2]), f"{sys.argv[3]} {number}")
"""


def test_two_threads_and_two_programs_lose_nothing_of_each_others(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    histories = [History(path), History(path)]
    number = histories[0].begin("shared", "tiny")

    def write(history: History, name: str) -> None:
        for index in range(EACH):
            history.ask(number, f"{name} {index}")

    names = ["a thread", "another thread", "a thread on the same file"]
    threads = [
        threading.Thread(target=write, args=(history, name))
        for history, name in zip([histories[0], histories[0], histories[1]], names, strict=True)
    ]
    command = [sys.executable, "-c", OTHER_PROGRAM, str(path), str(number)]
    programs = [subprocess.Popen([*command, name, str(EACH)]) for name in ("a program", "another program")]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet in the middle of what they do
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(switching)
    assert [program.wait() for program in programs] == [0, 0]
    found = [message.text for message in histories[0].messages(number)]
    assert len(found) == 5 * EACH
    for name in (*names, "a program", "another program"):
        assert [text for text in found if text.rpartition(" ")[0] == name] == [f"{name} {i}" for i in range(EACH)]
    for history in histories:
        history.close()
    check_integrity(path)


RESTLESS = """
import random, sys
from pathlib import Path
from localchat.errors import LocalchatError
from localchat.history.store import History
history, chance = History(Path(sys.argv[1])), random.Random(int(sys.argv[2]))
for step in range(150):
    number = chance.randrange(1, 5)
    try:
        messages = history.messages(number)
        some = chance.choice(messages).id if messages else None
        match chance.randrange(8):
            case 0: history.ask(number, f"question {step}", instead_of=some)
            case 1: history.draft(number, "tiny").finish(f"reply {step}", chance.choice(["stop", "stopped"]))
            case 2: history.remove_message(some) if some else None
            case 3: history.delete(number) or history.restore(number)
            case 4: history.switch(some, chance.choice([-1, 1])) if some else None
            case 5: history.rename(number, f"title {step}")
            case 6: history.search(f"question {step}")
            case 7: history.purge()
    except LocalchatError as error:
        if "cannot be used" in str(error):
            raise
"""


def test_programs_that_do_everything_at_once_leave_a_sound_history(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    history = History(path)
    for index in range(4):
        history.ask(history.begin(f"talk {index}", "tiny", "Be kind."), "Hello")
    programs = [
        subprocess.Popen([sys.executable, "-c", RESTLESS, str(path), str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    assert [(program.communicate()[1], program.returncode) for program in programs] == [("", 0)] * 3
    for heading in history.conversations():
        messages = history.messages(heading.id)
        assert messages[0].role == "system"
        assert all(1 <= message.place <= message.places for message in messages)
    history.close()
    check_integrity(path)


@pytest.mark.parametrize("programs", [6])
def test_programs_that_begin_at_once_agree_on_one_file(tmp_path: Path, programs: int) -> None:
    path = tmp_path / "history.db"
    begin = "import sys\nfrom pathlib import Path\nfrom localchat.history.store import History\n"
    command = [
        sys.executable,
        "-c",
        f"{begin}h = History(Path(sys.argv[1]))\nh.ask(h.begin('Hi', 'tiny'), 'Hi')",
        str(path),
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(programs)]
    answers = [(program.communicate()[1], program.returncode) for program in running]
    assert answers == [("", 0)] * programs
    history = History(path)
    assert len(history.conversations()) == programs
    history.close()
