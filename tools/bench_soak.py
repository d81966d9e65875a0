"""Minutes of mixed load on our server, with clients that leave: no error, no wrong answer, nothing kept.

`bench_soak.py MODEL PORT THREADS` is the server as it is asked here: with few turns, so that some are sent away.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO

import psutil
from bench_chaos import CLIENTS, HELD
from bench_clients import free_port, server_ready
from bench_rows import Row
from bench_serve import CONTEXT_TOKENS, StayingEngine
from soak_answers import (
    BEGINNINGS,
    FOLLOWING,
    RIGHT,
    TALKS,
    TEXTS,
    Answers,
    asked_alone,
    disagreements,
    gap,
    turn_name,
    vector,
)
from soak_asking import LOCAL, NAME, PATHS, TOKEN, Answer, Body, Client, Fault, body_of, numbers_of, say
from soak_refused import ANIMALS, LEGS, SCHEMA, WRONG
from soak_taken import idle, kept, taken

from localchat.llama.placement import Placement
from localchat.server.access import access
from localchat.server.app import Server
from localchat.server.limits import Limits
from localchat.server.listen import Listener, listening
from localchat.server.models import Models, Served

SLOTS, WAITING, BATCH_TOKENS = 6, 8, 512
WARM_UP_SECONDS = 30.0
EXAMPLES = 4  # of each thing that went wrong, to be read


@dataclass(slots=True)
class Tally:
    """What all clients saw."""

    answers: Answers
    seen: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, example: str = "") -> None:
        """This was seen."""
        with self.lock:
            self.seen[what] += 1
            if example and self.seen[what] <= EXAMPLES:
                self.examples.append(f"{what}: {example}")

    def judge(self, name: str, protocol: str, found: str) -> bool:
        """Note whether the answer to a question is right; was it the very same?"""
        verdict = self.answers.verdict(name, found)
        where = gap(self.answers.known[name], found)
        self.add(verdict, "" if verdict in RIGHT else f"{name} by {protocol}, at {where}")
        return verdict == "same"


# What a client may do


def _ask(client: Client, tally: Tally) -> None:
    name = client.chance.choice(list(tally.answers.known))
    known = tally.answers.known[name]
    protocol, is_stream = client.chance.choice(known.protocols), client.chance.random() < 0.5
    user = {} if protocol == "messages" else {"user": client.chance.choice(["", "one", "two"])}
    tally.judge(name, protocol, say(client, protocol, known.talk, is_stream=is_stream, **user))


def _talk(client: Client, tally: Tally) -> None:
    """A conversation; of responses, one that the server remembers."""
    name, known = client.chance.choice(TALKS), tally.answers.known
    if client.chance.random() < 0.5:
        for turn in (name, *(turn_name(name, number) for number in range(len(FOLLOWING)))):
            protocol = client.chance.choice(known[turn].protocols)
            tally.judge(turn, protocol, say(client, protocol, known[turn].talk, is_stream=True))
        return
    answer = client.get(PATHS["responses"], body_of("responses", known[name].talk))
    for number, question in enumerate(FOLLOWING):
        body = body_of("responses", (("user", question),), previous_response_id=answer["id"])
        text = "".join(part["text"] for item in answer["output"] for part in item["content"])
        if not tally.judge(name if not number else turn_name(name, number - 1), "responses", text):
            return  # what follows another answer is not known
        answer = client.get(PATHS["responses"], body)


def _vector(client: Client, tally: Tally) -> None:
    text = client.chance.choice(TEXTS)
    found = vector(client, text, client.chance.choice(["float", "base64"]))
    is_same = tally.answers.is_same_vector(text, found)
    tally.add("same" if is_same else "wrong", "" if is_same else f"the vector of {text[:20]!r}")


def _leave(client: Client, tally: Tally) -> None:
    """Ask, and go: before all is said, before anything is heard, or in the middle of the answer."""
    protocol, stream = client.chance.choice(list(PATHS)), client.chance.random() < 0.8
    if protocol == "embeddings":
        body: Body = {"model": NAME, "input": client.chance.choice(TEXTS)}
    else:
        known = client.chance.choice([one for one in tally.answers.known.values() if protocol in one.protocols])
        body = body_of(protocol, known.talk, is_stream=stream)
    after = client.chance.choice([-client.chance.randint(1, 40), 0, 0, client.chance.randint(1, 4000)])
    begun = client.leave(PATHS[protocol], body, after)
    if begun.startswith(b"HTTP/1.1 5"):
        raise Fault(f"{begun[:200]!r}")
    tally.add("cancelled")


def _bound(client: Client, tally: Tally) -> None:
    """A reply that must obey a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "one", "schema": SCHEMA}}
    text = say(client, "chat", (("user", "Name an animal of the sea."),), is_stream=client.chance.random() < 0.5,
               response_format=form, temperature=1, max_tokens=96)  # fmt: skip
    try:
        found = json.loads(text)
        is_right = set(found) == {"animal", "legs"} and found["animal"] in ANIMALS and found["legs"] in LEGS
    except (ValueError, TypeError):
        is_right = False
    tally.add("same" if is_right else "wrong", "" if is_right else f"bound to a schema: {text!r}")


def _wrong(client: Client, tally: Tally) -> None:
    """What must be refused."""
    status, method, path, body, headers = client.chance.choice(WRONG)
    answer = client.ask(path, body, method, **headers)
    if answer.status != status:
        raise Fault(f"{answer.status} in the place of {status} for {method} {path}: {answer.body[:120]!r}")
    tally.add("refused")


def _look(client: Client, tally: Tally) -> None:
    found: Answer = client.ask("/health")
    counts = numbers_of(client)
    if found.value != {"status": "ok"} or counts["replies_writing"] > SLOTS or counts["requests_waiting"] > WAITING:
        raise Fault(f"health {found.body!r}, counts {counts}")
    tally.add("looked")


ACTIONS: dict[Callable[[Client, Tally], None], int] = {
    _ask: 8, _leave: 6, _talk: 2, _vector: 2, _bound: 1, _wrong: 2, _look: 1,
}  # fmt: skip
"""And how often each is chosen."""


def _load(port: int, tally: Tally, seconds: float, seed: str) -> None:
    limit = time.monotonic() + seconds

    def act(number: int) -> None:
        client = Client(port, random.Random(f"{seed} {number}"))
        while time.monotonic() < limit:
            [action] = client.chance.choices(list(ACTIONS), list(ACTIONS.values()))
            try:
                action(client, tally)
            except (Fault, OSError, HTTPException) as error:
                tally.add("error", f"{action.__name__}: {type(error).__name__} {error}")
        client.close()
        with tally.lock:
            tally.seen["turned away"] += client.turned_away

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(act, range(CLIENTS)))


# From the beginning to the end


def soak_rows(model: Path, threads: int, minutes: float) -> Iterator[Row]:
    """Numbers that are held against those that are wanted."""
    with tempfile.TemporaryFile() as log, _server(model, threads, log) as (port, server):
        [engine] = server.children()
        client = Client(port, random.Random(0))
        tally = Tally(asked_alone(client))
        unlike = disagreements(client, tally.answers)
        tally.examples += unlike[:EXAMPLES]
        _load(port, Tally(tally.answers), WARM_UP_SECONDS, "warm")
        idle(client)
        before = taken(server), taken(engine)
        _load(port, tally, minutes * 60, "soak")
        yield from _said(tally, minutes, len(unlike))
        yield _held("running or waiting at the end", "requests", idle(client))
        is_same = engine.is_running() and engine in server.children()
        yield _held("engines that died", "processes", not is_same)
        yield from kept("server", before[0], taken(server))
        yield from kept("engine", before[1], taken(engine))
        log.seek(0)
        said = log.read().decode(errors="replace").splitlines()
        yield _held("lines in the server's log", "lines", len(said))
        print(*tally.examples, *said[-EXAMPLES:], sep="\n", file=sys.stderr)


def _said(tally: Tally, minutes: float, unlike: int) -> Iterator[Row]:
    seen = tally.seen
    done = seen.total() - seen["turned away"]
    yield Row(f"{minutes:g} minutes of {CLIENTS} clients", "requests", done)
    yield Row("cancelled by the client", "requests", seen["cancelled"])
    yield Row("refused, as they must be", "requests", seen["refused"])
    yield Row("sent away for a while (429)", "answers", seen["turned away"])
    yield Row("right, the same as alone", "answers", seen["same"])
    yield Row("right, another token being as likely", "answers", seen["flip"])
    yield Row("the same up to a token less likely", "answers", seen["far flip"])
    yield _held("errors", "requests", seen["error"])
    yield _held("wrong in another way", "answers", seen["wrong"])
    yield _held("the answer to another question", "answers", seen["another's"])
    yield _held("protocols that disagree without load", "answers", unlike)


def _held(name: str, unit: str, found: float) -> Row:
    return Row(name, unit, found, 0, None, HELD)


@contextmanager
def _server(model: Path, threads: int, log: IO[bytes]) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    command = [sys.executable, __file__, str(model), str(port), str(threads)]
    with subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            server_ready(f"http://{LOCAL}:{port}")
            say(Client(port, random.Random(0)), "completions", (("user", BEGINNINGS["tale"]),))  # it loads the model
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def main(model: Path, port: int, threads: int) -> None:
    """Serve until a signal comes."""
    with tempfile.TemporaryDirectory() as folder, listening(LOCAL, port) as endpoint:
        placement = Placement(CONTEXT_TOKENS, threads, BATCH_TOKENS, "f16", slots=SLOTS)
        engine = StayingEngine(model, placement, Path(folder) / "engine.log")
        rules, limits = access(LOCAL, port, TOKEN), Limits(replies=SLOTS, waiting=WAITING, stop_seconds=0)
        server = Server(Models(lambda: [Served(NAME)], lambda _served: engine), lambda: rules, limits)
        Listener(server.app, limits, server.answering.end).run([endpoint])
        server.answering.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
