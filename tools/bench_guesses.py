"""Guessing tokens from the conversation itself: where text repeats, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bench_engine import WRITTEN, Where, engine_alone
from bench_rows import Row, paired

from localchat.engine.events import Done, Piece
from localchat.engine.process import EngineProcess

NOTICE = (
    "The harbor office opens at eight and closes at four. Ships that arrive later wait outside until the morning. "
    "Each captain signs the book, names the cargo, and pays the fee of twelve coins for every ten tons of weight. "
)
TASKS = {
    "quoting": f"The notice says:\n{NOTICE}\nAgain, word by word, the notice says:\n",
    "editing": f"Old text:\n{NOTICE}\nNew text, with fourteen coins in the place of twelve:\n",
    "free": "Once upon a time, in a village by the sea, there lived a girl who",
}
GUESSING = ("guessing", "without")


def guess_rows(model: Path, where: Where, runs: int) -> Iterator[Row]:
    """Tokens a second with guesses and without; the texts must be the same."""
    with engine_alone(model, where) as engine:
        for task, text in TASKS.items():
            prompt = engine.tokenize([text])[0]
            _written(engine, prompt, speculate=True)
            pairs = [[_written(engine, prompt, speculate=each) for each in (True, False)] for _ in range(runs)]
            same = all(guessing[1] == without[1] for guessing, without in pairs)
            name = f"{task}: {'the same text' if same else 'ANOTHER TEXT'}"
            row = paired(name, "tokens/s", [one[0] for one, _ in pairs], [one[0] for _, one in pairs])
            yield replace(row, columns=GUESSING)


def _written(engine: EngineProcess, prompt: list[int], *, speculate: bool) -> tuple[float, str]:
    text = ""
    with closing(engine.reply(prompt, replace(WRITTEN, speculate=speculate), ())) as events:
        for event in events:
            text += event.text if isinstance(event, Piece) else ""
            if isinstance(event, Done):
                return event.usage.tokens_per_second, text
    raise AssertionError("a reply ends with Done")
