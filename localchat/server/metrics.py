"""Counts of what the server does, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from localchat.engine.events import Embedded, Usage

Label = tuple[str, ...]


@dataclass(slots=True)
class Metrics:
    """Of one server since it started."""

    requests: Counter[Label] = field(default_factory=Counter)
    """By route and status."""
    seconds: defaultdict[Label, float] = field(default_factory=lambda: defaultdict(float))
    """That requests took together, by route."""
    replies: Counter[Label] = field(default_factory=Counter)
    """By how they ended."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_token_seconds: float = 0.0
    """Of all replies together."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request is over."""
        self.requests[route, str(status)] += 1
        self.seconds[(route,)] += seconds

    def replied(self, reason: str, usage: Usage) -> None:
        """A reply is complete."""
        self.replies[(reason,)] += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.completion_tokens += usage.completion_tokens
        self.first_token_seconds += usage.first_token_seconds

    def embedded(self, found: Embedded) -> None:
        """A text has become a vector."""
        self.replies[("embedded",)] += 1
        self.prompt_tokens += found.prompt_tokens
        self.cached_tokens += found.cached_tokens

    def cut(self) -> None:
        """A reply ended before its end."""
        self.replies[("cut",)] += 1

    def text(self, writing: int, waiting: int, loaded: Mapping[str, bool]) -> str:
        """All of it; besides how many replies are being written and waited for, and which models are in memory."""
        models: dict[Label, float] = {(name,): int(is_loaded) for name, is_loaded in loaded.items()}
        lines = [
            *_lines("requests_total", "counter", ("route", "status"), self.requests),
            *_lines("request_seconds_total", "counter", ("route",), self.seconds),
            *_lines("replies_total", "counter", ("ended",), self.replies),
            *_lines("prompt_tokens_total", "counter", (), {(): self.prompt_tokens}),
            *_lines("cached_tokens_total", "counter", (), {(): self.cached_tokens}),
            *_lines("completion_tokens_total", "counter", (), {(): self.completion_tokens}),
            *_lines("first_token_seconds_total", "counter", (), {(): self.first_token_seconds}),
            *_lines("replies_writing", "gauge", (), {(): writing}),
            *_lines("requests_waiting", "gauge", (), {(): waiting}),
            *_lines("model_loaded", "gauge", ("model",), models),
        ]
        return "\n".join(lines) + "\n"


def _lines(name: str, kind: str, labels: Label, values: Mapping[Label, float]) -> Iterable[str]:
    yield f"# TYPE localchat_{name} {kind}"
    for key in sorted(values):
        pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, key, strict=True))
        yield f"localchat_{name}{{{pairs}}} {values[key]}" if pairs else f"localchat_{name} {values[key]}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
