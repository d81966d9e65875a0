"""An engine without a model: says what it was told to say."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence

import numpy as np

from localchat.engine.events import Embedded, Event, Loaded, Reading
from localchat.engine.vector import scaled
from localchat.errors import EngineDied, LocalchatError
from localchat.sampling import Sampling

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = {"<|im_end|>": 1, "<|im_start|>": 2}


def facts(context: int = 512, template: str | None = TEMPLATE) -> Loaded:
    """A model that speaks ChatML."""
    return Loaded(
        context=context, layers=2, template=template, bos="", eos="<|im_end|>", adds_bos=None,
        special_tokens=SPECIAL, sampling={},
    )  # fmt: skip


def one_token_a_character(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer that can be read: the code of each character, beyond the special tokens."""
    return [[1000 + ord(character) for character in text] for text in texts]


class ScriptedEngine:
    """Replies with a script of events; an exception in the script is raised. One token is one character.

    From an EngineDied on it is dead.
    """

    def __init__(self, script: Sequence[Event | Exception], *, seconds_each: float = 0.0, context: int = 512) -> None:
        self.script, self.seconds_each = list(script), seconds_each
        self.loaded = facts(context)
        self.prompts: list[list[int]] = []
        self.sampling: list[Sampling] = []
        self.started, self.closed = threading.Event(), threading.Event()
        self._released = threading.Event()
        self.death: EngineDied | None = None
        self.is_closed = False

    @property
    def is_alive(self) -> bool:
        return self.death is None

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if self.death is not None:
            raise self.death
        return one_token_a_character(texts)

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        self.prompts.append(list(tokens))
        self.sampling.append(sampling)
        self.started.set()
        try:
            for event in self.script:
                self._released.wait(self.seconds_each)
                if isinstance(event, EngineDied):
                    self.death = event
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed.set()

    def embed(self, tokens: Sequence[int]) -> Generator[Event]:
        """A vector of two numbers: how long the text is, and 1."""
        self.prompts.append(list(tokens))
        yield Reading(0, len(tokens))
        if self.death is not None:
            raise self.death
        yield Embedded(scaled(np.array([len(tokens), 1], np.float32)), len(tokens))

    def prompt_text(self, index: int = -1) -> str:
        """The prompt of a reply as text; special tokens show as in the template."""
        names = {number: text for text, number in SPECIAL.items()}
        return "".join(names.get(token) or chr(token - 1000) for token in self.prompts[index])

    def close(self) -> None:
        self.is_closed = True
        self._released.set()


def engine_error() -> LocalchatError:
    return LocalchatError("the engine stopped: it was told to", "start it again")
