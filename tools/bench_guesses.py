"""Guessing tokens from the conversation itself: where text repeats, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bench_engine import CONTEXT_TOKENS, WRITTEN, Where, engine_alone, engine_with
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
TOGETHER = 2


Written = tuple[float, str]
"""Tokens a second, and the text."""


def guess_rows(model: Path, where: Where, runs: int) -> Iterator[Row]:
    """Tokens a second with guesses and without, of one reply, whose text must be the same, and of some at once.

    What is read beside others is read in other parts each time, which llama.cpp rounds differently: texts differ there.
    """
    with engine_alone(model, where) as engine:
        for task, text in TASKS.items():
            row, is_same = _compared(task, engine, [text], runs)
            yield replace(row, test=f"{task}: {'the same text' if is_same else 'ANOTHER TEXT'}")
    with engine_with(model, CONTEXT_TOKENS, where, TOGETHER) as engine:
        for task, text in TASKS.items():
            yield _compared(f"{task}, {TOGETHER} at once", engine, [text, f"Hello. {text}"], runs)[0]


def _compared(task: str, engine: EngineProcess, texts: Sequence[str], runs: int) -> tuple[Row, bool]:
    """With and without guesses in turn, and whether the texts were the same."""
    prompts = engine.tokenize(texts)
    _written(engine, prompts, speculate=True)
    pairs = [[_written(engine, prompts, speculate=each) for each in (True, False)] for _ in range(runs)]
    row = paired(task, "tokens/s", [one[0] for one, _ in pairs], [one[0] for _, one in pairs])
    return replace(row, columns=GUESSING), all(guessing[1] == without[1] for guessing, without in pairs)


def _written(engine: EngineProcess, prompts: Sequence[list[int]], *, speculate: bool) -> Written:
    """All that is written at the same time: the rates added up, and the texts."""
    with ThreadPoolExecutor(len(prompts)) as pool:
        found = list(pool.map(lambda prompt: _reply(engine, prompt, speculate=speculate), prompts))
    return sum(rate for rate, _ in found), "\n".join(text for _, text in found)


def _reply(engine: EngineProcess, prompt: list[int], *, speculate: bool) -> Written:
    text = ""
    with closing(engine.reply(prompt, replace(WRITTEN, speculate=speculate), ())) as events:
        for event in events:
            text += event.text if isinstance(event, Piece) else ""
            if isinstance(event, Done):
                return event.usage.tokens_per_second, text
    raise AssertionError("a reply ends with Done")
