"""A model and its cache without llama.cpp: what follows a text is a function of the text, so that any slip shows.

The context keeps cells as llama.cpp does (slots that were copied share them) and checks every call.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.engine import job, schedule
from localchat.errors import LocalchatError
from localchat.llama.attention import Attention
from localchat.llama.batch import Part
from localchat.llama.sampler import Probability
from localchat.sampling import Sampling

END = 0
VOCABULARY = 100_000
GUESSES = 8

Tokens = tuple[int, ...]


class ScriptedModel:
    """Says what it was told to say: `after` has the token behind a text, `pieces` what tokens are as text."""

    vocabulary = VOCABULARY
    pools_last = True

    def __init__(self, after: Callable[[Tokens], int], pieces: Mapping[int, bytes] | None = None) -> None:
        self.after = after
        self.is_sentencepiece = False
        self._pieces = pieces

    def piece(self, token: int, strip: int = 0, *, special: bool = False) -> bytes:
        text = f"{token} ".encode() if self._pieces is None else self._pieces.get(token, b"")
        return text.removeprefix(b" ") if strip else text

    def is_end(self, token: int) -> bool:
        return token == END


def scripts(answers: Mapping[Sequence[int], Sequence[int]]) -> Callable[[Tokens], int]:
    """To each prompt its answer, and then the end."""
    known = {tuple(prompt): [*answer, END] for prompt, answer in answers.items()}

    def after(text: Tokens) -> int:
        for prompt, answer in known.items():
            written = list(text[len(prompt) :])
            if text[: len(prompt)] == prompt and written == answer[: len(written)] and len(written) < len(answer):
                return answer[len(written)]
        raise AssertionError(f"nobody has asked {text}")

    return after


def counting(text: Tokens) -> int:
    """What follows depends on all that is there, and never ends."""
    return 1 + (7 * sum(text) + len(text)) % 997


def vector_of(text: Sequence[int]) -> NDArray[np.float32]:
    """Another one for each text."""
    return np.array([len(text), sum(text), sum(token * place for place, token in enumerate(text, 1))], np.float32)


class Clock:
    """Time that passes only while something is computed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


CLOCK = Clock()


class ScriptedContext:
    """A cache of so many cells, in slots; every call is checked."""

    def __init__(self, tokens: int = 512, batch: int = 64, slots: int = 4, *, can_cut: bool = True) -> None:
        self.tokens, self.batch, self.slots, self._can_cut = tokens, batch, slots, can_cut
        self.threads = 4
        self.attention: Attention | None = None
        self.outputs = min(batch, slots * (1 + GUESSES))
        self.step_seconds, self.token_seconds = 0.05, 0.001
        self.single_seconds = 0.0  # of each token more that is left over when four at once are computed
        self.calls: list[list[Part]] = []
        """What was computed, call for call."""
        self.breaks: dict[int, Literal["fail", "abort"]] = {}
        """Calls that do not end well, by their number."""
        self.is_aborted = False
        self.copies: list[tuple[int, int, int]] = []
        self._cells: dict[int, list[tuple[int, int]]] = {slot: [] for slot in range(slots)}
        self._numbers = itertools.count()
        self._texts: dict[int, Tokens] = {}

    def use_threads(self, count: int) -> None:
        assert count > 0
        self.threads = count

    @property
    def handle(self) -> Any:
        return self

    @property
    def used(self) -> int:
        """Cells with something in them."""
        return len({cell for cells in self._cells.values() for cell, _ in cells})

    def has_room(self, parts: Sequence[Part]) -> bool:
        """Can all these be added?"""
        return self.used + sum(len(part.tokens) for part in parts) <= self.tokens

    def text(self, slot: int) -> Tokens:
        """What is in a slot."""
        return tuple(token for _, token in self._cells[slot])

    def text_at(self, output: int) -> Tokens:
        """The text whose last token's logits have this number; they are gone with the next call."""
        return self._texts[output]

    def embedding(self, output: int) -> NDArray[np.float32]:
        """The vector of a text: of all its tokens in their order."""
        return vector_of(self.text_at(output))

    def keep(self, slot: int, count: int) -> int:
        cells = self._cells[slot]
        assert 0 <= count <= len(cells), "only what is there can be kept"
        kept = count if self._can_cut or count == len(cells) else 0
        del cells[kept:]
        return kept

    def copy(self, source: int, target: int, count: int) -> None:
        assert source != target
        assert count <= len(self._cells[source]), "only what is there can be copied"
        self._cells[target] = self._cells[source][: count if self._can_cut else None]
        self.copies.append((source, target, count))

    def abort(self) -> None:
        self.is_aborted = True

    def ready(self) -> None:
        self.is_aborted = False

    def decode(self, parts: Sequence[Part], report: Callable[[float], None] | None = None) -> tuple[str, list[range]]:
        self._check(parts)
        if report:
            report(0.5)
        self.calls.append(list(parts))
        self._texts = {}
        count = sum(len(part.tokens) for part in parts)
        CLOCK.seconds += self.step_seconds + self.token_seconds * count + self.single_seconds * (count % 4)
        how = self.breaks.get(len(self.calls) - 1)
        if not self.has_room(parts):
            return "full", []
        if self.is_aborted or how:
            for part in parts[: len(parts) // 2 + 1]:  # llama.cpp leaves the blocks that were done
                self._append(part, len(part.tokens) // 2)
            if how == "fail":
                raise LocalchatError("it was told to fail", "tell it not to")
            return "aborted", []
        for part in parts:
            self._append(part, len(part.tokens))
        assert self.used <= self.tokens
        return "done", list(self._outputs(parts))

    def save(self, slot: int, tokens: Sequence[int], path: Path) -> bool:
        assert self.text(slot) == tuple(tokens), "what is saved is what is there"
        path.write_text(json.dumps(list(tokens)))
        return True

    def restore(self, slot: int, path: Path) -> list[int] | None:
        assert not self._cells[slot], "a session goes to an empty slot"
        tokens: list[int] = json.loads(path.read_text())
        if not self.has_room([Part(slot, 0, tokens)]):
            return None
        self._append(Part(slot, 0, tokens), len(tokens))
        return tokens

    def _check(self, parts: Sequence[Part]) -> None:
        assert parts
        assert sum(len(part.tokens) for part in parts) <= self.batch
        assert len({part.slot for part in parts}) == len(parts), "a slot has one part of a call"
        has_vectors = any(part.is_embedded for part in parts)  # then all tokens are outputs
        assert sum(len(part.tokens) if has_vectors else part.outputs for part in parts) <= self.outputs
        for part in parts:
            assert part.tokens
            assert 0 <= part.outputs <= len(part.tokens)
            assert part.position == len(self._cells[part.slot]), "every token is read in its place"

    def _append(self, part: Part, count: int) -> None:
        self._cells[part.slot] += [(next(self._numbers), token) for token in part.tokens[:count]]

    def _outputs(self, parts: Sequence[Part]) -> Iterator[range]:
        end = 0
        for part in parts:
            end += len(part.tokens)
            for back in range(part.outputs):
                whole = self.text(part.slot)
                self._texts[end - 1 - back] = whole[: len(whole) - back]
            yield range(end - part.outputs, end)


class ScriptedSampler:
    """Takes what the model says."""

    open = 0
    """Samplers that nobody has closed yet."""

    def __init__(self, model: ScriptedModel, sampling: Sampling) -> None:
        if sampling.grammar == "refused":
            raise LocalchatError("the grammar is refused", "write another")
        self._model, self._is_open = model, True
        self._is_grammar = bool(sampling.grammar)
        self._said = 0
        type(self).open += 1

    def sample(self, context: ScriptedContext, output: int) -> int:
        assert self._is_open
        self._said += 1
        if self._is_grammar and self._said > 2:
            raise LocalchatError("the grammar allows nothing", "write another")
        return self._model.after(context.text_at(output))

    def probabilities(self, context: ScriptedContext, output: int, token: int) -> Probability:
        assert self._model.after(context.text_at(output)) == token
        return Probability(token, -0.5, ((token, -0.5), (token + 1, -2.0)))

    def close(self) -> None:
        type(self).open -= self._is_open
        self._is_open = False


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No llama.cpp and no clock of the machine."""
    monkeypatch.setattr(job, "Sampler", ScriptedSampler)
    monkeypatch.setattr(schedule, "time", CLOCK)
    ScriptedSampler.open = 0
