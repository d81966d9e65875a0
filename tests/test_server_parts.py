"""The server's parts by themselves: whose turn it is, which models are in memory, who may ask."""

from __future__ import annotations

import asyncio
import os
import plistlib
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import Scripted, question, serving, until

from localchat.engine.events import Loading
from localchat.errors import LocalchatError, NoMemory
from localchat.lifetime import GivenUp
from localchat.server import running
from localchat.server.access import access, is_loopback, refusal
from localchat.server.models import Models, Served
from localchat.server.refusal import Refusal
from localchat.server.serve import Wanted, check
from localchat.server.service import launchd, systemd
from localchat.server.turns import Turns

A, B, C = Served("a"), Served("b"), Served("c")

# Turns


async def test_turns_go_round_the_clients() -> None:
    turns, order = Turns(1, 10), list[str]()
    await turns.take("first")

    async def ask(client: str, name: str) -> None:
        await turns.take(client)
        order.append(name)
        turns.give_back(1)

    waiting = [asyncio.create_task(ask(name[0], name)) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
    await asyncio.sleep(0)
    assert turns.waiting == 6
    turns.give_back(1)
    await asyncio.gather(*waiting)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert (turns.writing, turns.waiting) == (0, 0)


async def test_too_many_are_sent_away_with_a_time() -> None:
    turns = Turns(1, 1)
    await turns.take("a")
    second = asyncio.create_task(turns.take("a"))
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await turns.take("b")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "10")
    turns.give_back(2)
    await second


async def test_who_leaves_the_line_gives_the_turn_on() -> None:
    turns = Turns(1, 10)
    await turns.take("a")
    leaves, stays = (asyncio.create_task(turns.take(name)) for name in "bc")
    await asyncio.sleep(0)
    leaves.cancel()
    turns.give_back(1)  # while the cancelled one has not heard of it
    await asyncio.wait_for(stays, 60)
    assert (turns.writing, turns.waiting) == (1, 0)
    turns.give_back(1)
    turned, cancelled = asyncio.create_task(turns.take("a")), asyncio.create_task(turns.take("b"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await turned
    await asyncio.sleep(0)
    assert (turns.writing, turns.waiting) == (1, 0)


# Models


class Shelves:
    """Three models of which two fit, or one."""

    def __init__(self, *, fits: bool) -> None:
        self.made: list[Scripted] = []
        self.names: list[str] = []
        self.models = Models(lambda: [A, B, C], self.load, lambda _served: fits)

    def load(self, served: Served) -> Scripted:
        self.names.append(served.name)
        self.made.append(Scripted())
        return self.made[-1]

    def use(self, served: Served, is_wanted: Callable[[], bool] = lambda: True) -> None:
        with self.models.using(served, is_wanted):
            pass


def test_a_model_is_loaded_once_and_leaves_for_another() -> None:
    shelves = Shelves(fits=False)
    for served in (A, A, B, A):
        shelves.use(served)
    assert shelves.names == ["a", "b", "a"]
    assert [engine.is_closed for engine in shelves.made] == [True, True, False]
    assert list(shelves.models.loaded()) == ["a"]


def test_two_stay_where_both_fit() -> None:
    shelves = Shelves(fits=True)
    for served in (A, B, A, B):
        shelves.use(served)
    assert shelves.names == ["a", "b"]
    assert sorted(shelves.models.loaded()) == ["a", "b"]


def test_a_model_that_is_used_is_waited_for() -> None:
    shelves = Shelves(fits=False)
    with ThreadPoolExecutor(2) as pool:
        with shelves.models.using(A):
            other = pool.submit(shelves.use, B)
            until(lambda: shelves.models._is_making_room)
            late = pool.submit(shelves.use, A)  # comes after who waits for room, or else that one would wait for ever
            assert not other.done()
        other.result(60)
        late.result(60)
    assert shelves.names == ["a", "b", "a"]


def test_many_who_want_the_same_model_load_it_once() -> None:
    shelves = Shelves(fits=False)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shelves.use, [A] * 40))
    assert shelves.names == ["a"]


def test_a_model_that_does_not_load_is_a_503_and_is_tried_again() -> None:
    failures: list[LocalchatError] = [NoMemory("no", "hint", "CPU"), LocalchatError("/secret/path is damaged", "hint")]

    def load(_served: Served) -> Scripted:
        if failures:
            raise failures.pop(0)
        return Scripted()

    with serving(models=Models(lambda: [Served("parrot")], load)) as live:
        first, second, third = (live.ask(body=question()) for _ in range(3))
    assert [first.status_code, second.status_code, third.status_code] == [503, 503, 200]
    assert first.json()["error"]["code"] == "not_enough_memory"
    assert int(second.headers["retry-after"]) > 0
    assert "secret" not in second.text


def test_who_waits_when_everything_ends_is_told() -> None:
    shelves = Shelves(fits=False)
    with ThreadPoolExecutor(1) as pool, shelves.models.using(A):
        other = pool.submit(shelves.use, B)
        until(lambda: shelves.models._is_making_room)
        shelves.models.close()
        with pytest.raises(Refusal):
            other.result(60)


def test_who_leaves_while_waiting_for_a_model_has_nothing_loaded() -> None:
    shelves, left = Shelves(fits=False), threading.Event()
    with ThreadPoolExecutor(2) as pool, shelves.models.using(A):
        first = pool.submit(shelves.use, B, lambda: not left.is_set())
        until(lambda: shelves.models._is_making_room)
        second = pool.submit(shelves.use, C, lambda: not left.is_set())
        left.set()
        for gone in (first, second):
            with pytest.raises(Refusal, match="left"):
                gone.result(60)
        pool.submit(shelves.use, A).result(60)  # nobody is in the way any more
    assert shelves.names == ["a"]


class Sleepy(Scripted):
    """One that was put away, and comes back when it may, or cannot."""

    def __init__(self, failure: LocalchatError | None = None) -> None:
        super().__init__()
        self.failure, self.may_wake = failure, threading.Event()
        self.wakes = 0

    def wake(self) -> Iterator[Loading]:
        if not self.is_loaded:
            self.wakes += 1
            yield Loading(0.5)
            assert self.may_wake.wait(60)
            if self.failure:
                raise self.failure
            self.is_loaded = True


def test_one_that_comes_back_counts_as_there() -> None:
    sleepy, names = Sleepy(), list[str]()

    def load(served: Served) -> Scripted:
        names.append(served.name)
        return sleepy if served is A else Scripted()

    models = Models(lambda: [A, B], load)
    with models.using(A):
        pass
    sleepy.is_loaded = False
    with ThreadPoolExecutor(2) as pool:

        def use(served: Served) -> bool:
            with models.using(served) as engine:
                return engine.is_loaded

        first = pool.submit(use, A)
        until(lambda: sleepy.wakes)
        second = pool.submit(use, B)
        assert not second.done()
        sleepy.may_wake.set()
        assert first.result(60)
        assert second.result(60)
    assert names == ["a", "b"]
    assert sleepy.is_closed  # the other one has come into its place, and not beside it


def test_a_model_that_does_not_come_back_is_a_503_and_one_that_gave_up_is_loaded_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sleepies = [Sleepy(LocalchatError("/secret/path is damaged", "hint")), Sleepy(GivenUp("died", "hint")), Sleepy()]
    for sleepy in sleepies:
        sleepy.may_wake.set()
    left = list(sleepies)
    with serving(models=Models(lambda: [Served("parrot")], lambda _served: left.pop(0))) as live:
        assert live.ask(body=question()).status_code == 200
        sleepies[0].is_loaded = False
        answer = live.ask(body=question())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_loaded")
        assert "secret" not in answer.text
        assert "/secret/path is damaged" in caplog.text  # for whoever runs the server
        sleepies[0].failure = GivenUp("died", "hint")
        sleepies[1].is_loaded = True
        assert live.ask(body=question()).status_code == 200
    assert sleepies[0].is_closed


# Access


@pytest.mark.parametrize(
    ("host", "asked", "is_in"),
    [
        ("127.0.0.1", "localhost:80", False),
        ("127.0.0.1", "127.0.0.1:4000", True),
        ("127.0.0.1", "192.168.1.5:4000", False),
        ("192.168.1.5", "192.168.1.5:4000", True),
        ("192.168.1.5", "192.168.1.6:4000", False),
        ("0.0.0.0", "192.168.1.6:4000", True),
        ("0.0.0.0", "[fe80::1]:4000", True),
        ("0.0.0.0", "192.168.1.6:4001", False),
        ("0.0.0.0", "evil.example:4000", False),
        ("::", "evil.example:4000", False),
        ("::1", "[::1]:4000", True),
        ("127.0.0.1", "", False),
    ],
)
def test_by_which_names_it_may_be_asked(host: str, asked: str, is_in: bool) -> None:
    headers = [(b"host", asked.encode())]
    assert (refusal(access(host, 4000, ""), "GET", "/v1/models", headers) is None) is is_in


def test_names_that_the_user_listed_are_its_own_with_any_port_for_programs_and_its_own_for_pages() -> None:
    rules = access("0.0.0.0", 4000, "", ("MyBox.local",))

    def is_in(host: str, *others: tuple[bytes, bytes]) -> bool:
        return refusal(rules, "GET", "/v1/models", [(b"host", host.encode()), *others]) is None

    asked = ["mybox.local:4000", "mybox.LOCAL", "mybox.local:443", "x.mybox.local:4000", "mybox.local:4000:4000"]
    assert [is_in(host) for host in asked] == [True, True, True, False, False]
    pages = ["http://mybox.local:4000", "http://mybox.local:8080", "http://evil.example"]
    assert [is_in("mybox.local:4000", (b"origin", page.encode())) for page in pages] == [True, False, False]


@pytest.mark.parametrize(("host", "way"), [("0.0.0.0", "by an IP address"), ("192.168.1.5", "that it printed")])
def test_a_foreign_name_is_told_how_to_become_an_own_one(host: str, way: str) -> None:
    refused = refusal(access(host, 4000, ""), "GET", "/v1/models", [(b"host", b"mybox.local:4000")])
    assert refused is not None
    assert way in refused.hint
    assert "--allow-host" in refused.hint


@pytest.mark.parametrize(
    ("host", "is_it"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
                        ("192.168.1.5", False), ("127.0.0.1.evil.example", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it


def test_a_public_server_without_a_token_is_refused() -> None:
    check(Wanted("0.0.0.0", 4000, "token", True))
    check(Wanted("127.0.0.1", 4000, "", False))
    with pytest.raises(LocalchatError, match="everybody"):
        check(Wanted("0.0.0.0", 4000, "", False))


def test_the_token_is_made_once_and_is_private(home: Path) -> None:
    token = running.own_token()
    assert len(token) > 40
    assert running.own_token() == token
    if os.name != "nt":
        assert stat.S_IMODE((home / "server.token").stat().st_mode) == 0o600
    (home / "server.token").write_text("short")
    with pytest.raises(LocalchatError):
        running.own_token()


def test_all_that_begin_at_the_same_moment_have_the_same_token() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: running.own_token(), range(8)))) == 1


def test_another_process_of_the_same_number_is_not_the_server() -> None:
    assert running.find() is None
    one = running.record("127.0.0.1", 4000, has_own_token=True)
    assert running.find() == one
    assert running.token_for("http://localhost:4000/v1") == running.own_token()
    assert running.token_for("http://127.0.0.1:4001") == ""
    assert running.token_for("http://evil.example:4000") == ""
    state = running._state_file()
    state.write_text(state.read_text().replace(str(one.started), str(one.started - 100)))
    assert running.find() is None
    running.record("127.0.0.1", 4000, has_own_token=False)
    assert running.token_for("http://127.0.0.1:4000") == ""
    state.write_text("{")
    assert running.find() is None


def test_services_quote_what_they_run() -> None:
    unit = systemd(["/opt/my python", "-m", 'a"b', "100%", "$HOME"], Path("/home/me/x y"))
    assert 'ExecStart="/opt/my python" "-m" "a\\"b" "100%%" "$$HOME"' in unit
    assert 'Environment="LOCALCHAT_HOME=/home/me/x y"' in unit
    assert 'Environment="LOCALCHAT_HOME=/home/$me"' in systemd(["python"], Path("/home/$me"))  # no variable there
    facts = plistlib.loads(launchd(["python", "<x>"], Path("/x")).encode())
    assert facts["ProgramArguments"] == ["python", "<x>"]
