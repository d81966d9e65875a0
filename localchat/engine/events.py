"""What an engine says while it works. Every face of the program is a reader of this one stream."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from localchat.conversation import Message
from localchat.sampling import Sampling

Reason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being read into memory."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another reply is being written; this one's turn comes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The prompt is being read: so many of its tokens are done."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class TokenProbability:
    """How likely a token was, and which others would have been likely."""

    text: str
    logprob: float
    """Natural logarithm of the probability that the model itself gave it."""
    likeliest: tuple[tuple[str, float], ...] = ()
    """Texts and log probabilities, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the reply's text."""

    text: str
    tokens: int = 0
    """Tokens of the reply so far."""
    logprobs: tuple[TokenProbability, ...] = ()
    """Of the tokens that are new with this piece, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply took. Seconds are those of the engine."""

    prompt_tokens: int
    cached_tokens: int
    """Tokens of the prompt that were taken from the KV cache."""
    completion_tokens: int
    first_token_seconds: float
    reading_seconds: float
    writing_seconds: float
    other_cores: float = 0.0
    """How many cores other programs kept busy meanwhile, on average."""
    threads: int = 0
    """That computed in the end: fewer than planned where other programs need the cores. 0 where it is not known."""

    @property
    def tokens_per_second(self) -> float:
        """Rate of writing; 0 where too little was written to tell."""
        return max(0, self.completion_tokens - 1) / self.writing_seconds if self.writing_seconds > 0 else 0.0

    @property
    def prompt_tokens_per_second(self) -> float:
        """Rate of reading what was not cached."""
        return (self.prompt_tokens - self.cached_tokens) / self.reading_seconds if self.reading_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The reply is complete: it ended by itself (`stop`) or reached a limit (`length`). Always the last event."""

    reason: Reason
    usage: Usage
    stop: str = ""
    """The stop string that ended it; empty where none did, or where that is not known."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vector that a text has become. Always the last event."""

    vector: bytes
    """Of length 1, as `engine.vector` packs it."""
    prompt_tokens: int
    cached_tokens: int = 0


Event = Loading | Waiting | Reading | Piece | Done | Embedded


@dataclass(frozen=True, slots=True)
class Taken:
    """What a loaded model took of one memory."""

    name: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    """These three are llama.cpp's own buffers."""
    resident_bytes: int
    """By how much the device's free memory shrank; of the main memory, what the whole process has."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Facts of the loaded model that prompts are built from."""

    context: int
    """Tokens that fit into the KV cache."""
    layers: int
    template: str | None
    bos: str
    eos: str
    adds_bos: int | None
    """The token that every prompt must begin with, or None."""
    special_tokens: Mapping[str, int]
    sampling: Mapping[str, float]
    """What the model's authors recommend, by the names of Sampling's fields."""
    adds_eos: int | None = None
    """The token that every text must end with which becomes a vector, or None."""
    taken: tuple[Taken, ...] = ()
    """What was taken of each device with a share, and last of the main memory."""


class Engine(Protocol):
    """Anything that answers prompts. Stop reading, and close the iterator, to cancel."""

    @property
    def loaded(self) -> Loaded:
        """Facts of the model."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, read as plain text."""

    def reply(self, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Answer a prompt. Raises LocalchatError; EngineDied where the process ended."""


@runtime_checkable
class Remote(Protocol):
    """Anything that answers conversations, because template and tokens are its own business."""

    @property
    def loaded(self) -> Loaded:
        """Facts of the model, as far as they are known."""

    def answer(self, messages: Sequence[Message], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Answer the last message. Raises LocalchatError."""
