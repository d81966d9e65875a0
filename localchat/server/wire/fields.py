"""What requests of all protocols have in common: strict types, bounded sizes, and the sampling."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from localchat.sampling import BIASES_LIMIT, RANGES
from localchat.server.refusal import Refusal

STOPS_LIMIT, STOP_CHARACTERS = 16, 1024
MESSAGES_LIMIT = 10_000
TOOLS_LIMIT = 128
TOKENS_LIMIT = 1 << 30
SEEDS = 1 << 32
IDENTITY_CHARACTERS = 200

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=STOP_CHARACTERS)]
Identity = Annotated[str, StringConstraints(max_length=4096)]
Token = Annotated[int, Field(ge=0, lt=1 << 31)]
Tokens = Annotated[int, Field(ge=1, le=TOKENS_LIMIT)]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Choices = Annotated[int, Field(ge=1, le=8)]


def _ranged(name: str) -> Any:
    low, high = RANGES[name]
    return Field(default=None, ge=low, le=high)


class Wire(BaseModel):
    """Fields that are not known are passed over: clients send what other servers want."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())


class SampledWire(Wire):
    """How the next token is chosen, by OpenAI's names; the last ones are those of llama-server and vLLM."""

    temperature: float | None = _ranged("temperature")
    top_p: float | None = _ranged("top_p")
    presence_penalty: float | None = _ranged("presence_penalty")
    frequency_penalty: float | None = _ranged("frequency_penalty")
    seed: Seed | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=BIASES_LIMIT)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=STOPS_LIMIT)] | None = None
    top_k: int | None = _ranged("top_k")
    min_p: float | None = _ranged("min_p")
    typical_p: float | None = _ranged("typical_p")
    repeat_penalty: float | None = _ranged("repeat_penalty")
    repetition_penalty: float | None = _ranged("repeat_penalty")
    truncation: Literal["auto", "disabled"] | None = None
    """`auto`: where the context is full, the oldest turns leave; else the request is refused."""
    user: Identity | None = None
    """Requests of different users wait in lines of their own."""

    def changes(self, max_tokens: int | None) -> dict[str, Any]:
        """What differs from the model's own sampling, by the names of Sampling's fields. Raises Refusal."""
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p", "typical_p")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        penalty = self.repetition_penalty if self.repeat_penalty is None else self.repeat_penalty
        found |= {"repeat_penalty": penalty, "max_tokens": max_tokens}
        found["seed"] = None if self.seed is None else self.seed % SEEDS
        found["logit_bias"] = biases(self.logit_bias or {}) or None
        return {name: value for name, value in found.items() if value is not None}

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the reply."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def biases(given: dict[str, float]) -> tuple[tuple[int, float], ...]:
    """Pairs of a token and its bias. Raises Refusal where a key is no number."""
    if not all(key.isascii() and key.isdecimal() and len(key) < 10 for key in given):
        raise Refusal(400, "invalid_request", "logit_bias names something that is no token", param="logit_bias")
    return tuple((int(key), bias) for key, bias in given.items())
