"""Titles that a model gives to conversations."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence

import pytest
from desk import FakeServices, install_fake, wait_until
from fakes import ScriptedEngine
from test_tui_chat import HELLO, USAGE, bubbles, ready, say, screen

from localchat.engine.events import Done, Event, Piece
from localchat.errors import LocalchatError
from localchat.sampling import Sampling
from localchat.settings import Settings
from localchat.tui.title import Title
from localchat.tui.title_maker import title_of


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Roman Bread Recipes", "Roman Bread Recipes"),
        ('"Roman Bread Recipes."', "Roman Bread Recipes"),
        ("Title: **Roman Bread**\n\nIt is about", "Roman Bread"),
        ("\n\n  # Brot backen\n", "Brot backen"),
        ("<think>what now</think>\nBread", "Bread"),
        ("<think>what now", ""),
        ("«Le pain»", "Le pain"),
        ("\x1b[31mRed\x1b[0m \u202ex", "␛[31mRed␛[0m x"),
        ("one two three four five six seven eight nine ten", "one two three four five six"),
        ("Sure, here is a title that describes what we have been talking about just now", ""),
        ("", ""),
        ("***", ""),
    ],
)
def test_an_answer_becomes_a_title_or_none(answer: str, title: str) -> None:
    assert title_of(answer) == title


class Titler(ScriptedEngine):
    """Answers Hello, and titles with what it was given."""

    def __init__(self, title: Sequence[Event | Exception]) -> None:
        super().__init__(HELLO)
        self.title, self.asked = list(title), threading.Event()
        self.gate, self.title_closed = threading.Event(), threading.Event()
        self.gate.set()

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        if "Write a title" not in "".join(chr(max(0, token - 1000)) for token in tokens):
            yield from super().reply(tokens, sampling, stops)
            return
        self.prompts.append(list(tokens))
        self.sampling.append(sampling)
        self.asked.set()
        try:
            while not self.gate.wait(0.01):
                yield Piece("x ")
            for event in self.title:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.title_closed.set()


NAMED: list[Event | Exception] = [Piece('"A Kind '), Piece('Greeting"'), Done("stop", USAGE)]


def titled(engine: Titler, *, titles: bool = True) -> FakeServices:
    return FakeServices([engine], settings=Settings(titles=titles))


async def test_after_the_first_reply_the_conversation_gets_a_title() -> None:
    fake = titled(engine := Titler(NAMED))
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: screen(pilot).query_one(Title).text == "A Kind Greeting")
        assert fake.services.history.conversations()[0].title == "A Kind Greeting"
        assert engine.prompt_text().startswith(engine.prompt_text(0))
        assert (engine.sampling[-1].temperature, engine.sampling[-1].max_tokens) == (0, 24)
        assert len(bubbles(pilot)) == 2
        await say(pilot, "again")
        await wait_until(lambda: len(engine.prompts) == 3 and not screen(pilot).is_writing)
        await pilot.pause()
        assert len(engine.prompts) == 3


async def test_the_setting_turns_titles_off() -> None:
    fake = titled(engine := Titler(NAMED), titles=False)
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(lambda: len(bubbles(pilot)) == 2 and not screen(pilot).is_writing)
        await pilot.pause()
        assert not engine.asked.is_set()


async def test_a_title_that_the_user_gave_meanwhile_stays() -> None:
    fake = titled(engine := Titler(NAMED))
    engine.gate.clear()
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(engine.asked.is_set)
        fake.services.history.rename(1, "Mine")
        engine.gate.set()
        await wait_until(engine.title_closed.is_set)
        await wait_until(lambda: screen(pilot).query_one(Title).text == "Mine")


async def test_a_question_stops_the_title_at_once() -> None:
    fake = titled(engine := Titler(NAMED))
    engine.gate.clear()
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(engine.asked.is_set)
        await say(pilot, "go on")
        await wait_until(engine.title_closed.is_set)
        await wait_until(lambda: len(bubbles(pilot)) == 4 and not screen(pilot).is_writing)
        assert screen(pilot).query_one(Title).text == "Hi"


async def test_a_title_that_fails_is_not_complained_about() -> None:
    fake = titled(engine := Titler([LocalchatError("no", "never mind")]))
    async with fake.app(install_fake()).run_test() as pilot:
        await ready(pilot)
        await say(pilot, "Hi")
        await wait_until(engine.title_closed.is_set)
        await pilot.pause()
        assert not screen(pilot).query("Note")
        assert screen(pilot).query_one(Title).text == "Hi"
