"""The app over a scripted engine, for benchmarks: `scripted_app.py install|talk|open|many`.

install  puts a model into the library, whose file is of no use but there
talk     the whole app in this terminal, with a long conversation; every question is answered at TOKENS_PER_SECOND
open     prints the seconds that it takes to read a conversation and to show it
many     prints the memory of the process while messages come, as a list of [messages, bytes]
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import cycle
from pathlib import Path

import psutil
from textual.app import App, ComposeResult

import localchat.tui
from localchat.engine.events import Done, Event, Loaded, Piece, Usage
from localchat.history.store import History, Saved
from localchat.library import Installed, Receipt, folder_for, record
from localchat.paths import history_file
from localchat.pull.events import Pull
from localchat.sampling import Sampling
from localchat.settings import Settings
from localchat.tui.app import make_app
from localchat.tui.chosen import Chosen
from localchat.tui.garbage import settle
from localchat.tui.services import Running, Services
from localchat.tui.theme import DARK
from localchat.tui.transcript import Transcript

TOKENS_PER_SECOND = 100
EARLIER, OPENED, MANY, STEP = 200, 1000, 10_000, 1000
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
REPLY = """## An answer

There are *several* ways, and **one** of them is `the best` for most people who ask such a question:

1. look at what is there
   - the first thing
   - the second thing, with a longer text that is wrapped where the line ends, as lines of text are
2. decide

```python
def decide(things: list[str]) -> str:
    return max(things, key=len)  # the longest
```

| thing | good | why |
|---|---|---|
| first | yes | it is there |
| second | no | it is not there, and nobody knows where it has gone |

"""


class Scripted:
    """An engine without a model: says the same at a steady pace, without an end."""

    loaded = Loaded(8192, 2, TEMPLATE, "", "", None, {}, {})
    is_alive = True

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Four characters are a token."""
        return [[0] * (len(text) // 4) for text in texts]

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Pieces of four characters."""
        began = time.monotonic()
        starts = cycle(range(0, len(REPLY), 4))
        yield Piece("The beginning of the answer.\n\n", 1)
        for number in range(2, 100_000):
            time.sleep(max(0.0, began + number / TOKENS_PER_SECOND - time.monotonic()))
            start = next(starts)
            yield Piece(REPLY[start : start + 4], number)
        yield Done("stop", Usage(1, 0, 1, 0.1, 0.1, 0.1))

    def close(self) -> None:
        """There is nothing to give back."""


class Alone(App[None]):
    """Nothing but a transcript."""

    CSS_PATH = sorted(Path(localchat.tui.__file__).parent.rglob("*.tcss"))

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name

    def compose(self) -> ComposeResult:
        yield Transcript()


def make_model() -> Installed:
    """A model in the library whose file is of no use but there."""
    (folder_for("scripted") / "scripted.gguf").write_bytes(b"GGUF")
    return record(
        Receipt(
            name="scripted", file="scripted.gguf", file_bytes=4, file_sha256="", quant="Q4_K_M", source="a benchmark",
            commit=None, inputs={}, recipe={}, versions={}, checks=(),
        )
    )  # fmt: skip


def fill(history: History, messages: int) -> int:
    """A conversation of so many messages; returns its number."""
    number = history.begin("A long conversation", "scripted")
    for index in range(messages // 2):
        history.ask(number, f"Question {index}: what is there to be said of it?")
        history.draft(number, "scripted").finish(REPLY, "stop")
    return number


def nothing_pulled(_: str) -> Pull:
    """Nothing is installed."""
    yield from ()


def talk() -> None:
    """The whole app in this terminal."""
    history = History(history_file())
    fill(history, EARLIER)

    def launch(model: Chosen, _: Callable[[float], None]) -> Running:
        return Running(model, Scripted(), None, place="a script")

    services = Services(history, Settings(), launch, list, nothing_pulled)
    gc.freeze()
    make_app(services, make_model()).run()


async def opened(transcript: Transcript, pause: Callable[[], Awaitable[None]]) -> float:
    """Seconds to read and show a conversation."""
    history = History(history_file())
    number = fill(history, OPENED)
    began = time.monotonic()
    await transcript.show(history.messages(number))
    await pause()
    return time.monotonic() - began


async def many(transcript: Transcript, pause: Callable[[], Awaitable[None]]) -> list[tuple[int, int]]:
    """Messages and bytes of the process, as they grow."""
    process, found = psutil.Process(), []
    for number in range(1, MANY + 1):
        text = f"{number} {REPLY}" if number % 2 else f"Question {number}"
        await transcript.add_saved(Saved(number, "assistant" if number % 2 else "user", text, "stop", "scripted"))
        if number % STEP == 0:
            await pause()
            found.append((number, process.memory_info().rss))
    return found


async def measure(what: str) -> None:
    """Print what was measured."""
    size = (120, 40) if what == "open" else (40, 12)  # what is painted is not what is measured
    async with Alone().run_test(size=size) as pilot:
        transcript = pilot.app.query_one(Transcript)
        settle()  # as in the real app
        print(json.dumps(await (opened if what == "open" else many)(transcript, pilot.pause)))


if __name__ == "__main__":
    if sys.argv[1] in ("install", "talk"):
        {"install": make_model, "talk": talk}[sys.argv[1]]()
    else:
        asyncio.run(measure(sys.argv[1]))
